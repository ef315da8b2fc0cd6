"""A selection, compared with those of other strategies."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours
from ila_jax.embed import rows as rows_lib
from ila_jax.landscape import coverage as coverage_lib
from ila_jax.methods import candidates as candidates_lib
from ila_jax.methods import table as table_lib
from ila_jax.methods.diversity import instag
from ila_jax.run import context, progress, tables
from ila_jax.run.disk import files
from ila_jax.score.signals import tags as tags_lib
from ila_jax.selection import scored_pool

# Budgets at which the coverage curves are drawn.
_CURVE_POINTS = 40
# Examples whose distance to the chosen is measured; of a larger pool those of
# the lowest ids, which are hashes, so that this is a fair draw.
_DISTANCE_EXAMPLES = 2**16
# Examples whose distances are measured together.
_PART_ROWS = 2**14


def compare(
  run: context.Run,
  pool: scored_pool.ScoredPool,
  ranking: candidates_lib.Ranking,
) -> dict[str, Any]:
  """Coverage of the strategy and its rivals, each cut at the same budget.

  Args:
    run: with cells and embeddings.
    pool: what was scored.
    ranking: of config.select.strategy.

  Returns:
    `table`, a row for each strategy (with InsTag's numbers of each where one
    reads tags); `curves`, coverage by budget; and
    `distance_examples`, over which the table's distances are taken.
  """
  config = run.config
  num_cells = files.read_json(tables.MAP.path(run.workdir))["num_cells"]
  c = pool.candidates
  budgets = np.geomspace(1, len(ranking.order), _CURVE_POINTS)
  budgets = np.unique(budgets.astype(np.int64))
  table, curves, chosen = [], {}, {}
  for strategy in dict.fromkeys(
    (config.select.strategy, *config.select.compare)
  ):
    if strategy != config.select.strategy:
      ranking = scored_pool.rank(config, pool, strategy)
    order = ranking.order
    k = scored_pool.cut(config, pool, ranking, strategy)
    chosen[strategy] = order[:k]
    covered = coverage_lib.coverage(c.cell, order[:k], num_cells=num_cells)
    table.append(
      {
        "strategy": strategy,
        "n_examples": k,
        "n_tokens": int(c.n_tokens[order[:k]].sum()),
        "pool_cells": covered["coverage"],
        "all_cells": covered["coverage_all"],
        "effective_cells": covered["effective_cells"],
      }
    )
    # The order of a rival may be shorter; one may be that of a budget alone.
    smaller = budgets[budgets <= len(order)]
    is_nested = table_lib.METHODS[strategy].is_nested
    at = np.union1d(smaller if is_nested else [], [k]).astype(np.int64)
    curves[strategy] = {
      "budgets": at.tolist(),
      "coverage": coverage_lib.coverage_curve(c.cell, order, at).tolist(),
    }
  distances = _distances(run, pool, chosen)
  for row in table:
    summary = coverage_lib.distance_summary(distances[row["strategy"]])
    row["mean_distance"], row["p95_distance"] = summary["mean"], summary["p95"]
  _add_tags(run, c, table, chosen)
  measured = len(distances[config.select.strategy])
  return {"table": table, "curves": curves, "distance_examples": measured}


def _add_tags(
  run: context.Run,
  c: candidates_lib.Candidates,
  table: list[dict[str, Any]],
  chosen: dict[str, np.ndarray],
) -> None:
  """Adds InsTag's numbers of each selection, where tags have been read."""
  options = run.config.select.options
  needed = {n for name in chosen for n in table_lib.needed(name, options)}
  if tags_lib.NAME in needed:
    tags = c.inputs[tags_lib.NAME]
    for row in table:
      row |= instag.metrics(tags, chosen[row["strategy"]], c.candidate)


def _distances(
  run: context.Run,
  pool: scored_pool.ScoredPool,
  chosen: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """Distance of what was scored to the nearest chosen, part by part."""
  x = rows_lib.Rows(run.workdir, pool.row)
  nearest = {
    strategy: mesh_lib.put(x[np.sort(rows)], run.mesh, mesh_lib.REPLICATED)
    for strategy, rows in chosen.items()
  }
  places = np.arange(len(pool.row))
  if len(places) > _DISTANCE_EXAMPLES:
    lowest = np.argpartition(pool.candidates.ids, _DISTANCE_EXAMPLES)
    places = np.sort(lowest[:_DISTANCE_EXAMPLES])
    progress.say(
      f"  distances of {len(places):,} examples, drawn by id, stand for those "
      f"of all {len(pool.row):,}"
    )
  distances: dict[str, list] = {strategy: [] for strategy in chosen}
  parts = np.split(places, range(_PART_ROWS, len(places), _PART_ROWS))
  size = len(parts[0])
  for part in progress.progress(parts, desc="coverage", unit="parts"):
    # The last part is filled up, so that one program serves all.
    filled = np.pad(x[part], ((0, size - len(part)), (0, 0)))
    queries = mesh_lib.put_rows(filled, run.mesh)
    for strategy, points in nearest.items():
      near = neighbours.nearest(queries, points, k=1)
      distance = mesh_lib.fetch(jnp.sqrt(near.squared[:, 0]))
      distances[strategy].append(distance[: len(part)])
  return {name: np.concatenate(parts) for name, parts in distances.items()}
