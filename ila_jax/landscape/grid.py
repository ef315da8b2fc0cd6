"""Cells of the map: a uniform grid (docs/method.md 2.4)."""

import functools

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ila_jax import errors

Corner = Float[np.ndarray, " m"]
_MAX_CELLS = 2**31 - 1  # Cells are int32.
_MAX_FLAGS = 2**25  # Cells counted by flags, a byte each; more by a sort.


def bounding_box(xy: Float[Array | np.ndarray, "n m"]) -> tuple[Corner, Corner]:
  """The lowest and the highest of every axis; 0 and 1 if the map is empty.

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
  the last of a row or column holds both. The rule holds exactly, as NumPy's
  does in float64. An axis without extent is widened by 0.5 on either side,
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
  low: Corner | None = None,
  high: Corner | None = None,
) -> int:
  """The finest grid whose occupied cells do not exceed a budget.

  See docs/method.md 2.6. The grid is doubled until the budget is passed, then
  bisected. A grid occupies at least the cells of any grid that it refines, but
  it may occupy a few less than a coarser one that it does not refine. The
  answer g has occupied(g) <= max_cells, and g + 1 has more. A grid finer still
  may fit again by the luck of its edges; it is not sought.

  Where the search comes to `max_grid`, the pool has fewer places than the
  budget has cells, and finer grids add empty cells alone. Then g occupies as
  many as `max_grid` does, at least, and g - 1 does not (or more than allowed).

  Args:
    xy: positions, float32. Memory grows with the points, not with grid^m.
    max_cells: the budget in cells. One cell is always granted.
    max_grid: where the search ends; in more than two dimensions, where int32
      ends, if that is less.
    low: lower corner of the box, which has all points; theirs if None.
    high: upper corner.

  >>> xy = np.array([[0.0, 0.0], [0.1, 0.0], [1.0, 1.0]], np.float32)
  >>> [auto_grid(xy, max_cells=cells) for cells in (1, 2, 3, 4)]
  [1, 9, 10, 10]
  >>> auto_grid(xy, max_cells=2, high=np.array([2.0, 2.0], np.float32))
  19
  """
  xy = jnp.asarray(xy, jnp.float32)
  box = bounding_box(xy)
  low = box[0] if low is None else low
  high = box[1] if high is None else high
  m = xy.shape[1]
  max_cells, max_grid = max(max_cells, 1), min(max_grid, finest_grid(m))

  def occupied(grid: int) -> int:
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


def _padded(grid: int) -> int:
  """Next power of two: few shapes, few compilations in a search."""
  return 1 << (grid - 1).bit_length()


def _edges(
  low: np.floating, high: np.floating, grid: int
) -> Float[np.ndarray, " e"]:
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
def _locate(
  xy: Float[Array, "n m"],
  edges: Float[Array, "m e"],
  grid: Int[Array, ""],
  clip: Bool[Array, ""],
) -> Int[Array, " n"]:
  """`grid_cells`, compiled, from the edges of every axis."""

  def bin_of(
    values: Float[Array, " n"], edges: Float[Array, " e"]
  ) -> Int[Array, " n"]:
    index = _last_not_above(edges, values, grid)
    index = jnp.where(values == edges[grid], grid - 1, index)
    return jnp.where(clip, jnp.clip(index, 0, grid - 1), index)

  cell, inside = jnp.int32(0), ~jnp.any(jnp.isnan(xy), axis=1)
  for axis, axis_edges in enumerate(edges):
    index = bin_of(xy[:, axis], axis_edges)
    inside = inside & (index >= 0) & (index < grid)
    cell = cell * grid + index
  return jnp.where(inside, cell, -1)


def _last_not_above(
  edges: Float[Array, " e"], values: Float[Array, " n"], grid: Int[Array, ""]
) -> Int[Array, " n"]:
  """The last edge that is not above each value; -1 where all are.

  Edges lie evenly but for rounding, so that one is guessed, and corrected by
  one step until it is right: most need one look, where a search takes many.
  """
  low, high = edges[0], edges[grid]
  guess = jnp.floor((values - low) * (grid / (high - low)))
  index = jnp.clip(jnp.nan_to_num(guess), -1, grid).astype(jnp.int32)
  bounds = jnp.pad(edges, 1, constant_values=(-jnp.inf, jnp.inf))

  def step(
    carry: tuple[Int[Array, " n"], Bool[Array, ""]],
  ) -> tuple[Int[Array, " n"], Bool[Array, ""]]:
    index, _ = carry
    up = values >= bounds.at[index + 2].get(mode="clip")
    down = values < bounds.at[index + 1].get(mode="clip")
    moved = index + (up & (index < grid)) - (down & (index >= 0))
    return moved, jnp.any(moved != index)

  return lax.while_loop(lambda carry: carry[1], step, (index, True))[0]


@functools.partial(jax.jit, static_argnames="size")
def _count_occupied(
  cell: Int[Array, " n"], *, size: int | None
) -> Int[Array, ""]:
  """The number of distinct cells: by `size` flags, or by a sort if None."""
  if size is not None:
    return jnp.sum(jnp.zeros(size, bool).at[cell].set(True))
  cell = jnp.sort(cell)
  return jnp.sum(cell[1:] != cell[:-1]) + min(len(cell), 1)
