"""A selection beside those of other strategies."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from ila_jax import config as config_lib
from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours
from ila_jax.embed import rows as rows_lib
from ila_jax.landscape import coverage as coverage_lib
from ila_jax.run import progress, tables
from ila_jax.run.disk import files
from ila_jax.selection import scored_pool

# Budgets at which the coverage curves are drawn.
_CURVE_POINTS = 40


def compare(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: Mesh,
  pools: dict[str, scored_pool.ScoredPool],
) -> dict[str, Any]:
  """Coverage of the strategy and its rivals, each cut at the same budget."""
  cells = files.read_json(tables.MAP.path(workdir))
  orders, chosen = {}, {}
  for strategy, pool in pools.items():
    ranking = scored_pool.rank(config, pool, strategy)
    orders[strategy] = ranking.order
    chosen[strategy] = ranking.order[
      : scored_pool.cut(config, pool, ranking, strategy)
    ]
  distances = _distances(
    workdir,
    mesh,
    {name: pools[name].row[rows] for name, rows in chosen.items()},
  )
  table, curves = [], {}
  longest = len(orders[config.select.strategy])
  budgets = np.unique(np.geomspace(1, longest, _CURVE_POINTS).astype(np.int64))
  for strategy, pool in pools.items():
    # Cells of examples that are not held count as cells of the pool.
    cell = np.concatenate([pool.occupied, pool.candidates.cell])
    order = orders[strategy] + len(pool.occupied)
    k = len(chosen[strategy])
    found = coverage_lib.coverage(cell, order[:k], num_cells=cells["num_cells"])
    summary = coverage_lib.distance_summary(distances[strategy])
    table.append(
      {
        "strategy": strategy,
        "n_examples": k,
        "n_tokens": int(pool.candidates.n_tokens[chosen[strategy]].sum()),
        "pool_cells": found["coverage"],
        "all_cells": found["coverage_all"],
        "effective_cells": found["effective_cells"],
        "mean_distance": summary["mean"],
        "p95_distance": summary["p95"],
      }
    )
    # The order of a rival may be shorter.
    at = np.union1d(budgets[budgets <= len(order)], [k])
    curves[strategy] = {
      "budgets": at.tolist(),
      "coverage": coverage_lib.coverage_curve(cell, order, at).tolist(),
    }
  return {"table": table, "curves": curves}


def _distances(
  workdir: epath.Path, mesh: Mesh, chosen: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Distance of what was scored to the nearest chosen, a shard at a time."""
  scored = scored_pool.scored_rows(workdir)
  nearest = {
    strategy: mesh_lib.put(
      rows_lib.load(workdir, np.sort(rows)), mesh, mesh_lib.REPLICATED
    )
    for strategy, rows in chosen.items()
  }
  found: dict[str, list] = {strategy: [] for strategy in chosen}
  paths = rows_lib.paths(workdir)
  start, size = 0, None
  for path in progress.progress(paths, desc="coverage", unit="shards"):
    part = files.read_array(path)
    begin, end = np.searchsorted(scored, [start, start + len(part)])
    wanted = scored[begin:end] - start
    start += len(part)
    # The last shard is filled up, so that one program serves all.
    size = size or len(part)
    filled = np.pad(part, ((0, size - len(part)), (0, 0)))
    queries = mesh_lib.put_rows(filled, mesh)
    for strategy, points in nearest.items():
      near = neighbours.nearest(queries, points, k=1)
      distance = mesh_lib.fetch(jnp.sqrt(near.squared[:, 0]))
      found[strategy].append(distance[wanted])
  return {name: np.concatenate(parts) for name, parts in found.items()}
