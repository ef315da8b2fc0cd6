"""Coverage: the share of occupied cells that a selection reaches."""

import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from ila_jax.compute import neighbours


def coverage(
  cell: Int[Array | np.ndarray, " n"],
  rows: Int[Array | np.ndarray, " k"],
  *,
  num_cells: int,
) -> dict[str, float | int]:
  """How much of the map some rows of the pool cover (docs/method.md 2.5).

  Args:
    cell: cell of every row of the pool; below 0: none.
    rows: the subset.
    num_cells: all cells, occupied or not.

  Returns:
    `pool_cells` and `occupied_cells`, the cells that the pool and the subset
    occupy; `coverage` = occupied / pool cells; `coverage_all` = occupied / all;
    `effective_cells` = exp(entropy of the subset over the cells). An empty
    subset, or pool, covers 0.

  >>> covered = coverage(np.array([0, 0, 3]), np.array([0, 1]), num_cells=4)
  >>> covered["coverage"], covered["coverage_all"], covered["effective_cells"]
  (0.5, 0.25, 1.0)
  """
  cell = np.asarray(cell)
  pool_cells = len(np.unique(cell[cell >= 0]))
  chosen = cell[np.asarray(rows)]
  counts = np.unique(chosen[chosen >= 0], return_counts=True)[1]
  share = counts / max(counts.sum(), 1)
  return {
    "pool_cells": pool_cells,
    "occupied_cells": len(counts),
    "coverage": len(counts) / max(pool_cells, 1),
    "coverage_all": len(counts) / max(num_cells, 1),
    "effective_cells": float(np.exp(-np.sum(share * np.log(share))))
    if len(counts)
    else 0.0,
  }


def coverage_curve(
  cell: Int[Array | np.ndarray, " n"],
  order: Int[Array | np.ndarray, " k"],
  budgets: Int[Array | np.ndarray, " b"],
) -> Float[np.ndarray, " b"]:
  """Coverage of the pool's cells by every prefix order[:budget].

  >>> cell, order = np.array([0, 0, 1, 2]), np.array([1, 0, 3, 2])
  >>> coverage_curve(cell, order, np.array([0, 1, 2, 4])).round(2).tolist()
  [0.0, 0.33, 0.33, 1.0]
  """
  cell = np.asarray(cell)
  pool_cells = len(np.unique(cell[cell >= 0]))
  cells, first = np.unique(cell[np.asarray(order)], return_index=True)
  opened = np.searchsorted(np.sort(first[cells >= 0]), budgets, side="left")
  return opened / max(pool_cells, 1)


def nearest_distance(
  x: Float[Array | np.ndarray, "n d"], rows: Int[Array | np.ndarray, " k"]
) -> Float[Array, " n"]:
  """Distance of every example to the nearest of a subset (docs/method.md 2.5).

  Coverage without cells: min_{s in rows} |x_j - x_s|, Euclidean, 0 for the
  subset itself, infinite if it is empty.

  Args:
    x: embeddings, float32. Rows may be sharded; then so is the answer.
    rows: the subset.

  >>> nearest_distance(np.array([[0.0], [1.0], [3.0]]), np.array([1])).tolist()
  [1.0, 0.0, 2.0]
  """
  if not len(rows):
    return jnp.full(len(x), jnp.inf)
  x = jnp.asarray(x, jnp.float32)
  near = neighbours.nearest(x, neighbours.take_whole(x, rows), k=1)
  return jnp.sqrt(near.squared[:, 0])


def distance_summary(
  distance: Float[Array | np.ndarray, " n"],
) -> dict[str, float]:
  """Mean and 95th percentile (interpolated) of distances; infinite if one is.

  >>> distance_summary(np.array([1.0, 0.0, 2.0]))
  {'mean': 1.0, 'p95': 1.9}
  """
  distance = np.asarray(distance, np.float64)
  if np.isinf(distance).any():
    return {"mean": np.inf, "p95": np.inf}
  return {
    "mean": float(distance.mean()),
    "p95": float(np.percentile(distance, 95)),
  }
