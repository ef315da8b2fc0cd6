"""Cells of the map, and how much of the map a subset covers (2.4, 2.5)."""

import functools

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from ila_jax import errors, neighbours

Corner = Float[np.ndarray, " m"]
_MAX_CELLS = 2**31 - 1  # Cells are int32.
_MAX_FLAGS = 2**25  # One byte a cell; more cells than these are sorted.


def bounding_box(xy: Float[Array | np.ndarray, "n m"]) -> tuple[Corner, Corner]:
  """The lowest and the highest of every axis; 0 and 1 of an empty map.

  >>> bounding_box(np.array([[1.0, 5.0], [2.0, 4.0]]))
  (array([1., 4.], dtype=float32), array([2., 5.], dtype=float32))
  """
  if not len(xy):
    m = xy.shape[1]
    return np.zeros(m, np.float32), np.ones(m, np.float32)
  xy = jnp.asarray(xy, jnp.float32)
  return np.asarray(xy.min(axis=0)), np.asarray(xy.max(axis=0))


def grid_cells(
  xy: Float[Array | np.ndarray, "n m"],
  *,
  grid: int,
  low: Corner | None = None,
  high: Corner | None = None,
  clip: bool = False,
) -> Int[Array, " n"]:
  """Cell ix * grid + iy of every point, by the edge rule of numpy.histogram2d.

  In m dimensions (ix * grid + iy) * grid + iz and so on, by that of
  numpy.histogramdd. A cell holds its lower edges and not its upper ones, but
  the last of a row or column holds both. Exactly the rule of real numbers, as
  NumPy's in float64. An axis without extent is widened by 0.5 on either side,
  as NumPy does.

  Args:
    xy: positions, float32. Rows may be sharded; then so is the answer.
    grid: cells per axis, so many that int32 can number all: up to 46,340 in the
      plane, 1,290 in space.
    low: lower corner of the box; that of the points if None.
    high: upper corner.
    clip: whether points outside the box belong to the nearest cell, as those
      do that join a map; else they have none.

  Returns:
    int32 cells below grid^m, and -1 for points outside the box and for NaN.

  Raises:
    InputError: a grid out of range.

  >>> xy = np.array([[0.0, 0.0], [0.5, 0.0], [1.0, 1.0]], np.float32)
  >>> grid_cells(xy, grid=2).tolist()
  [0, 2, 3]
  """
  m = xy.shape[1]
  finest = finest_grid(m)
  if not 1 <= grid <= finest:
    raise errors.InputError(
      f"config.landscape.grid is {grid}; allowed: 1 to {finest} cells per"
      f" axis of a map in {m} dimensions, or 'auto'."
    )
  box = bounding_box(xy)
  low = box[0] if low is None else low
  high = box[1] if high is None else high
  edges = [_edges(low[a], high[a], grid) for a in range(m)]
  return _locate(jnp.asarray(xy, jnp.float32), np.stack(edges), grid, clip)


def axes(dimensions: int) -> list[str]:
  """Names of the columns that hold positions.

  >>> axes(2), axes(5)
  (['x', 'y'], ['x', 'y', 'z', 'x4', 'x5'])
  """
  return [*"xyz"[:dimensions], *(f"x{i}" for i in range(4, dimensions + 1))]


def finest_grid(dimensions: int) -> int:
  """The most cells per axis that int32 can number.

  >>> finest_grid(2), finest_grid(3)
  (46340, 1290)
  """
  finest = round(_MAX_CELLS ** (1 / dimensions))
  return finest if finest**dimensions <= _MAX_CELLS else finest - 1


def auto_grid(
  xy: Float[Array | np.ndarray, "n m"],
  *,
  max_cells: int,
  max_grid: int = 4096,
) -> int:
  """The finest grid whose occupied cells do not exceed a budget (Section 2.6).

  Doubling until the budget is passed, then bisection. A grid occupies at least
  the cells of any grid that it refines, but it may occupy a few less than a
  coarser one that it does not refine. What is promised: the answer g has
  occupied(g) <= max_cells, and g + 1 has more. A grid finer still may fit again
  by the luck of its edges; it is not sought.

  Where the search comes to `max_grid`, the pool has fewer places than the
  budget has cells, and finer grids add empty cells alone. Then g occupies as
  many as `max_grid` does, at least, and g - 1 does not (or more than allowed).

  Args:
    xy: positions, float32. Memory grows with the points, not with grid^m.
    max_cells: the budget in cells. One cell is always granted.
    max_grid: where the search ends; in more than two dimensions, where int32
      ends, if that is less.

  >>> xy = np.array([[0.0, 0.0], [0.1, 0.0], [1.0, 1.0]], np.float32)
  >>> [auto_grid(xy, max_cells=cells) for cells in (1, 2, 3, 4)]
  [1, 9, 10, 10]
  """
  xy = jnp.asarray(xy, jnp.float32)
  low, high = bounding_box(xy)
  m = xy.shape[1]
  max_cells, max_grid = max(max_cells, 1), min(max_grid, finest_grid(m))

  def occupied(grid):
    cell = grid_cells(xy, grid=grid, low=low, high=high)
    size = _padded(grid) ** m
    size = size if size <= _MAX_FLAGS else None
    return int(_count_occupied(cell, size=size))

  fine, too_fine = 1, 2
  while too_fine <= max_grid and occupied(too_fine) <= max_cells:
    fine, too_fine = too_fine, 2 * too_fine
  too_fine = min(too_fine, max_grid + 1)
  while too_fine - fine > 1:
    middle = (fine + too_fine) // 2
    fits = occupied(middle) <= max_cells
    fine, too_fine = (middle, too_fine) if fits else (fine, middle)
  if fine < max_grid:
    return fine
  most, coarse = occupied(fine), 0
  while fine - coarse > 1:
    middle = (coarse + fine) // 2
    all_apart = most <= occupied(middle) <= max_cells
    fine, coarse = (middle, coarse) if all_apart else (fine, middle)
  return fine


def coverage(
  cell: Int[Array | np.ndarray, " n"],
  rows: Int[Array | np.ndarray, " k"],
  *,
  num_cells: int,
) -> dict[str, float | int]:
  """How much of the map some rows of the pool cover (Section 2.5).

  Args:
    cell: cell of every row of the pool; below 0: none.
    rows: the subset.
    num_cells: all cells, occupied or not.

  Returns:
    `pool_cells` and `occupied_cells`, the cells that the pool and the subset
    occupy; `coverage` = occupied / pool cells; `coverage_all` = occupied / all;
    `effective_cells` = exp(entropy of the subset over the cells). An empty
    subset, or pool, covers 0.

  >>> found = coverage(np.array([0, 0, 3]), np.array([0, 1]), num_cells=4)
  >>> found["coverage"], found["coverage_all"], found["effective_cells"]
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
  """Distance of every example to the nearest of a subset (Section 2.5).

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
  found = neighbours.nearest(x, neighbours.take_whole(x, rows), k=1)
  return jnp.sqrt(found.squared[:, 0])


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


def _padded(grid):
  """Next power of two: few shapes, few compilations in a search."""
  return 1 << (grid - 1).bit_length()


def _edges(low, high, grid):
  """Edges as the least float32 numbers that are not below the exact ones."""
  low, high = float(np.float32(low)), float(np.float32(high))
  if low == high:
    low, high = low - 0.5, high + 0.5
  exact = np.linspace(low, high, grid + 1)
  edges = exact.astype(np.float32)
  up = np.nextafter(edges, np.float32(np.inf))
  edges = np.where(edges < exact, up, edges)
  return np.pad(edges, (0, _padded(grid) - grid), constant_values=np.inf)


@jax.jit
def _locate(xy, edges, grid, clip):
  def bin_of(values, edges):
    index = jnp.searchsorted(edges, values, side="right").astype(jnp.int32) - 1
    index = jnp.where(values == edges[grid], grid - 1, index)
    return jnp.where(clip, jnp.clip(index, 0, grid - 1), index)

  cell, inside = jnp.int32(0), ~jnp.any(jnp.isnan(xy), axis=1)
  for axis, axis_edges in enumerate(edges):
    index = bin_of(xy[:, axis], axis_edges)
    inside = inside & (index >= 0) & (index < grid)
    cell = cell * grid + index
  return jnp.where(inside, cell, -1)


@functools.partial(jax.jit, static_argnames="size")
def _count_occupied(cell, *, size):
  if size is not None:
    return jnp.sum(jnp.zeros(size, bool).at[cell].set(True))
  cell = jnp.sort(cell)
  return jnp.sum(cell[1:] != cell[:-1]) + min(len(cell), 1)
