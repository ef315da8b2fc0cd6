"""A selection, compared with those of other strategies."""

import re
from typing import Any

import jax.numpy as jnp
import numpy as np

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours
from ila_jax.embed import rows as rows_lib
from ila_jax.landscape import coverage as coverage_lib
from ila_jax.landscape.trust import agreement
from ila_jax.methods import candidates as candidates_lib
from ila_jax.methods import table as table_lib
from ila_jax.methods.baselines import random_order
from ila_jax.methods.diversity import novelselect
from ila_jax.methods.features import feature_coverage
from ila_jax.methods.labels import instag
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress, tables, units
from ila_jax.run.disk import files
from ila_jax.score.signals import tags as tags_lib
from ila_jax.selection import scored_pool
from ila_jax.selection.measures import overlap

# Budgets at which the coverage curves are drawn.
_CURVE_POINTS = 40
# Examples whose distance to the chosen is measured; of a larger pool those of
# the lowest ids, which are hashes, so that this is a fair draw.
_DISTANCE_EXAMPLES = 2**16
# Examples whose distances are measured together.
_PART_ROWS = 2**14
# Of a selection, where all its distances are sorted; of a larger one so many
# members, of the lowest ids, stand for all. Of more than the last none is told:
# a block of members would have distances of over half a GB.
_NOVELSUM_EXAMPLES, _NOVELSUM_MEMBERS, _NOVELSUM_MOST = 2**13, 2**11, 2**17
# Examples of a disagreement that are named on each side.
_SHOWN = 8
# The signal of feature coverage, and how often a feature is often.
_FEATURES = "sae_features"
OFTEN = 10
# How methods say that they order a head and leave nothing out.
_ENOUGH = re.compile(r"[^.]*, as many as the budget may buy\.")


def compare(
  run: context.Run,
  pool: scored_pool.ScoredPool,
  ranking: candidates_lib.Ranking,
  account: account_lib.Account,
) -> dict[str, Any]:
  """Coverage of the strategy and its rivals, each cut at the same budget.

  Args:
    run: with cells and embeddings.
    pool: what was scored.
    ranking: of config.select.strategy.
    account: is told the seconds of each rival's order, by its name.

  Returns:
    `table`, a row for each strategy (with InsTag's numbers of each where
    one reads tags); `candidates`, what all candidates would
    have there; `curves`, coverage by budget; `distance_examples`, over which
    the table's distances are taken; and where there are rivals `overlap`,
    `disagreement` and, if one needs them, `features`.
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
      with account.part(strategy):
        ranking = scored_pool.rank(config, pool, strategy)
    order = ranking.order
    k, lack = _cut(run, pool, ranking, strategy)
    chosen[strategy] = order[:k]
    row = {"strategy": strategy, **_about(c, order[:k], num_cells=num_cells)}
    # That a method orders no more than are wanted is no loss.
    if ranking.rest and not _ENOUGH.fullmatch(ranking.rest):
      progress.say(f"  {strategy} leaves some out: {ranking.rest}")
      row["left_out"] = ranking.rest
    warning = f"{lack} {ranking.warning}".strip()
    if warning:
      progress.say(f"  warning: {strategy}: {warning}")
      row["warning"] = warning
    table.append(row)
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
  featured = _add_features(c, table, chosen)
  _add_tags(run, c, table, chosen)
  _add_novelsum(run, pool, table, chosen)
  every = _about(c, np.flatnonzero(c.candidate), num_cells=num_cells)
  found = {
    "table": table,
    "candidates": every,
    "curves": curves,
    "distance_examples": len(distances[config.select.strategy]),
  }
  found |= featured
  return found | (_agreement(pool, chosen) if len(chosen) > 1 else {})


def _cut(
  run: context.Run,
  pool: scored_pool.ScoredPool,
  ranking: candidates_lib.Ranking,
  strategy: str,
) -> tuple[int, str]:
  """How many the budget pays for, and what a rival has too few of.

  A rival that orders less than the budget asks for gives what it has: the
  others can be compared all the same.

  Raises:
    errors.InputError: the strategy orders less, or a rival nothing.
  """
  try:
    return scored_pool.cut(run.config, pool, ranking, strategy), ""
  except errors.InputError:
    held = len(ranking.order)
    if strategy == run.config.select.strategy or not held:
      raise
    return held, f"it orders {held:,} examples, fewer than the budget buys."


def _about(
  c: candidates_lib.Candidates, rows: np.ndarray, *, num_cells: int
) -> dict[str, Any]:
  """What some chosen rows cover, how deep they are and how long."""
  covered = coverage_lib.coverage(c.cell, rows, num_cells=num_cells)
  domains = coverage_lib.coverage(c.domain, rows, num_cells=1)
  tokens, depth = c.n_tokens[rows], c.depth[rows]
  return {
    "n_examples": len(rows),
    "n_tokens": int(tokens.sum()),
    "median_tokens": float(np.median(tokens)) if len(rows) else None,
    "mean_depth": float(depth.mean(dtype=np.float64)) if len(rows) else None,
    "pool_cells": covered["coverage"],
    "all_cells": covered["coverage_all"],
    "effective_cells": covered["effective_cells"],
    "domains": domains["occupied_cells"],
    "effective_domains": domains["effective_cells"],
  }


def _add_features(
  c: candidates_lib.Candidates,
  table: list[dict[str, Any]],
  chosen: dict[str, np.ndarray],
) -> dict[str, Any]:
  """Adds feature coverage, where a method of the table needs the features.

  Else they are no input of the stage, and may be there or not.

  Returns:
    `features`, those that the strategy has on and a rival does not, and the
    other way round: random, if it is among them. {} without a rival.
  """
  if not any(_FEATURES in table_lib.METHODS[name].needs for name in chosen):
    return {}
  features, counts = c.inputs[_FEATURES], {}
  pool = feature_coverage.rows_with(
    features, np.flatnonzero(c.candidate), desc="features of the candidates"
  )
  for row in table:
    name = row["strategy"]
    counts[name] = feature_coverage.rows_with(
      features, np.sort(chosen[name]), desc=f"features of {name}"
    )
    for field, times in (("features", 1), ("features_often", OFTEN)):
      row[field] = feature_coverage.feature_coverage(
        counts[name], pool, times=times
      )
  ours, *rivals = counts
  if not rivals:
    return {}
  by_chance = random_order.METHOD.name
  rival = by_chance if by_chance in rivals else rivals[0]
  found: dict[str, Any] = {"rival": rival}
  for side, one, other in (("gained", ours, rival), ("lost", rival, ours)):
    total, latents = feature_coverage.gained(
      counts[one], counts[other], count=_SHOWN
    )
    found[side] = {
      "features": total,
      "shown": [
        {
          "latent": latent,
          "chosen": int(counts[one][latent]),
          "pool": int(pool[latent]),
        }
        for latent in latents.tolist()
      ],
    }
  return {"features": found}


def _agreement(
  pool: scored_pool.ScoredPool, chosen: dict[str, np.ndarray]
) -> dict[str, Any]:
  """How alike the selections are, and the examples on which they differ."""
  c = pool.candidates
  found = overlap.disagreement(chosen, c.ids, count=_SHOWN)

  def said(places: np.ndarray) -> list[dict[str, Any]]:
    return [
      {
        "row": int(pool.row[place]),
        "id": id_text,
        "depth": float(c.depth[place]),
        "n_tokens": int(c.n_tokens[place]),
        "chosen_by": found.is_chosen[int(place)],
      }
      for place, id_text in zip(
        places,
        units.id_text(c.ids[places]).astype(np.str_).tolist(),
        strict=True,
      )
    ]

  return {
    "overlap": {
      "strategies": list(chosen),
      "jaccard": overlap.jaccard(chosen),
      "by_chance": agreement.jaccard_by_chance(
        max(map(len, chosen.values())), pool.n_candidates
      ),
    },
    "disagreement": {
      "missed": said(found.missed),
      "alone": said(found.alone),
      "counts": found.counts,
    },
  }


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


def _add_novelsum(
  run: context.Run,
  pool: scored_pool.ScoredPool,
  table: list[dict[str, Any]],
  chosen: dict[str, np.ndarray],
) -> None:
  """Adds NovelSum of each selection; of a large one by some of its members."""
  x = rows_lib.Rows(run.workdir, pool.row)
  sample = _distance_places(pool)
  for row in progress.progress(table, desc="NovelSum", unit="methods"):
    rows, members = chosen[row["strategy"]], None
    row["novelsum"] = None
    if not 2 <= len(rows) <= _NOVELSUM_MOST:
      continue
    if len(rows) > _NOVELSUM_EXAMPLES:
      ids = pool.candidates.ids[rows]
      members = np.argpartition(ids, _NOVELSUM_MEMBERS)[:_NOVELSUM_MEMBERS]
    if len(sample) > novelselect.NEIGHBOURS:
      row["novelsum"] = novelselect.novelsum(
        x, rows, sample=sample, members=members
      )


def _distance_places(pool: scored_pool.ScoredPool) -> np.ndarray:
  """Examples that stand for all where distances are taken, ascending."""
  if len(pool.row) <= _DISTANCE_EXAMPLES:
    return np.arange(len(pool.row))
  lowest = np.argpartition(pool.candidates.ids, _DISTANCE_EXAMPLES)
  return np.sort(lowest[:_DISTANCE_EXAMPLES])


def _distances(
  run: context.Run,
  pool: scored_pool.ScoredPool,
  chosen: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """Distance of what was scored to the nearest chosen, method by method."""
  x = rows_lib.Rows(run.workdir, pool.row)
  places = _distance_places(pool)
  if len(places) < len(pool.row):
    progress.say(
      f"  distances of {len(places):,} examples, drawn by id, stand for those "
      f"of all {len(pool.row):,}"
    )
  sample = np.asarray(x[places])
  size = min(_PART_ROWS, len(sample))
  found = {}
  for strategy in progress.progress(chosen, desc="coverage", unit="methods"):
    own = x[np.sort(chosen[strategy])]
    points = mesh_lib.put(own, run.mesh, mesh_lib.REPLICATED)
    distances = []
    for at in range(0, len(sample), size):
      part = sample[at : at + size]
      # The last part is filled up, so that one program serves all.
      filled = np.pad(part, ((0, size - len(part)), (0, 0)))
      queries = mesh_lib.put_rows(filled, run.mesh)
      near = neighbours.nearest(queries, points, k=1)
      distance = mesh_lib.fetch(jnp.sqrt(near.squared[:, 0]))
      distances.append(distance[: len(part)])
    found[strategy] = np.concatenate(distances)
  return found
