"""Sorting a pool cell by cell: the jitted mechanics below every strategy.

Depths are compared as integers of the same order: bits compare alike on every
device, where floats differ in what becomes of subnormal numbers, and -0.0
ties with 0.0. Everything fits int32, so that TPUs need no 64-bit mode.
"""

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

# How cells share the budget, where no number says it (docs/method.md 11).
CELL_WEIGHTS = ("target",)
(TARGET,) = CELL_WEIGHTS

_LAST = np.iinfo(np.int32).max
_FIRST = np.iinfo(np.int32).min


def total_order(
  cell: Int[Array | np.ndarray, " n"],
  depth: Float[Array | np.ndarray, " n"],
  id_rank: Int[Array | np.ndarray, " n"],
  candidate: Bool[Array | np.ndarray, " n"],
  weight: Float[np.ndarray, " n"] | None = None,
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
  """The total order of ILA (docs/method.md 2.6), by two jitted sorts.

  Round r takes the r-th deepest of every cell; inside a round the deeper comes
  first; ties go to the lower id. Where cells have weights, rounds come by
  `turns`. The inputs may be sharded over devices; the answer is the same.

  Args:
    cell: cell of each row [n].
    depth: float32, finite where `candidate` [n].
    id_rank: distinct; the tie-break [n].
    candidate: rows to order; the others are left out [n].
    weight: of the row's cell, above 0 [n]; None: all are alike.

  Returns:
    Rows best first and the round of each, from 1, int32 [m], where m counts
    the candidates.

  Raises:
    ValueError: the depth of a candidate is not finite.

  >>> order, turn = total_order(
  ...   np.array([0, 0, 1]), np.array([5.0, 9.0, 1.0]), np.arange(3),
  ...   np.ones(3, bool))
  >>> order, turn
  (array([1, 2, 0], dtype=int32), array([1, 1, 2], dtype=int32))
  """
  require_finite(depth, candidate)
  m = int(candidate.sum())
  place = place_in_cell(cell, (-depth,), id_rank, candidate)
  turn = place if weight is None else turns(np.asarray(place), weight)
  order = np.asarray(sort_rows((turn, -depth), id_rank, candidate))[:m]
  return order, np.asarray(place)[order] + 1


def turns(
  place: Int[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None
) -> Int[np.ndarray, " n"]:
  """When each row comes, if cells share the budget by weight.

  A cell of weight W gives its row of place r at (r + 1/2) / W, which is the
  apportionment of Sainte-Laguë: after any number of rows a cell has about the
  share W of them, and a larger budget only adds rows. Of equal times the lower
  place is first. With equal weights the answer has the order of the places.

  Args:
    place: in the cell, from 0 [n].
    weight: of the row's cell, above 0 [n]; None: all are alike.

  Returns:
    Numbers from 0 that sort as the times do, int32 [n]; the places themselves
    where there are no weights.

  >>> turns(np.array([0, 1, 0]), np.array([4.0, 4.0, 1.0])).tolist()
  [0, 1, 2]
  """
  if weight is None:
    return place
  # In float64, on the host: the order is that of every device.
  time = (place.astype(np.float64) + 0.5) / weight.astype(np.float64)
  return numbered(time, place)


def numbered(*keys: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
  """Numbers from 0 that sort as the keys do, of which the first decides.

  Devices then sort by integers what is float64 on the host.

  Args:
    keys: without NaN; of equal keys the number is the same [n].

  >>> numbered(np.array([0.5, 0.25, 0.5]), np.array([1, 7, 0])).tolist()
  [2, 0, 1]
  """
  order = np.lexsort(keys[::-1])
  is_new = np.zeros(len(order), np.bool_)
  for key in keys:
    ordered = key[order]
    is_new[1:] |= ordered[1:] != ordered[:-1]
  number = np.empty(len(order), np.int32)
  number[order] = np.cumsum(is_new)
  return number


def power_weights(
  cell: Int[np.ndarray, " n"],
  candidate: Bool[np.ndarray, " n"],
  power: float,
) -> Float[np.ndarray, " n"] | None:
  """The weight n_c^power of each row's cell, for its n_c candidates.

  With 0 all cells are alike, as published; with 1 they share a budget as the
  candidates lie in them.

  Args:
    cell: of each row, from 0 [n].
    candidate: rows that count [n].
    power: 0 or more.

  Returns:
    Weights above 0, float64 [n]; None with a power of 0. The rows of a cell
    without a candidate, which nobody orders, get 1.

  >>> three = np.ones(3, bool)
  >>> power_weights(np.array([7, 7, 2]), three, 1.0).tolist()
  [2.0, 2.0, 1.0]
  >>> power_weights(np.array([7, 7, 2]), three, 0.0) is None
  True
  """
  if power == 0:
    return None
  return counts(cell, candidate).astype(np.float64) ** power


def counts(
  cell: Int[np.ndarray, " n"], candidate: Bool[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
  """The candidates of each row's cell; 1 where there is none.

  >>> counts(np.array([7, 7, 2]), np.array([True, True, False])).tolist()
  [2, 2, 1]
  """
  _, number = np.unique(cell, return_inverse=True)
  size = np.bincount(number[candidate], minlength=number.max(initial=-1) + 1)
  return np.maximum(size, 1)[number]


@jax.jit
def place_in_cell(
  cell: Int[Array, " n"],
  keys: tuple[Shaped[Array, " n"], ...],
  id_rank: Int[Array, " n"],
  candidate: Bool[Array, " n"],
) -> Int[Array, " n"]:
  """How many candidates of its cell come before each row.

  Args:
    cell: cell of each row [n].
    keys: what a cell is sorted by, ascending; the first key decides [n].
    id_rank: distinct; the last key [n].
    candidate: rows that count; the others get no meaningful place [n].

  Returns:
    Places from 0, int32 [n].

  >>> depth = np.array([5.0, 9.0, 1.0])
  >>> place_in_cell(np.array([0, 0, 1]), (-depth,), np.arange(3),
  ...   np.ones(3, bool)).tolist()
  [1, 0, 0]
  """
  cell = jnp.where(candidate, cell, _LAST)
  rows = _sort((cell, *map(sortable, keys), id_rank))
  position = jnp.arange(len(cell), dtype=jnp.int32)
  cell = cell[rows]
  is_first = cell != jnp.roll(cell, 1)
  cell_start = lax.cummax(jnp.where(is_first, position, 0))
  return position.at[rows].set(position - cell_start, unique_indices=True)


@jax.jit
def sort_rows(
  keys: tuple[Shaped[Array, " n"], ...],
  id_rank: Int[Array, " n"],
  candidate: Bool[Array, " n"],
) -> Int[Array, " n"]:
  """Rows in ascending order of the keys, those that are no candidates last.

  Args:
    keys: the first key decides [n].
    id_rank: distinct; the last key [n].
    candidate: rows to order [n].

  Returns:
    Rows, int32 [n].

  >>> sort_rows((np.array([7, 3, 3]),), np.array([0, 2, 1]),
  ...   np.ones(3, bool)).tolist()
  [2, 1, 0]
  """
  return _sort((~candidate, *map(sortable, keys), id_rank))


def reaches_quantile(
  cell: Int[np.ndarray, " n"],
  depth: Float[np.ndarray, " n"],
  id_rank: Int[np.ndarray, " n"],
  candidate: Bool[np.ndarray, " n"],
  *,
  quantile: float,
) -> Bool[np.ndarray, " n"]:
  """Whether the depth of a row is at or above a quantile of its own cell.

  The quantile is one of the depths, the next one up where it falls between
  two (`numpy.quantile(..., method="higher")`).

  Args:
    cell: cell of each row, from 0 [n].
    depth: float32, finite where `candidate` [n].
    id_rank: distinct [n].
    candidate: rows that count [n].
    quantile: in [0, 1].

  Returns:
    bool [n], False for rows that are no candidates.

  >>> depth = np.array([1.0, 2.0, 3.0, 0.0], np.float32)
  >>> reaches_quantile(np.array([0, 0, 0, 1]), depth, np.arange(4),
  ...   np.ones(4, bool), quantile=0.5)
  array([False,  True,  True,  True])
  """
  # Of the cells that are occupied: a fine grid has far more than rows.
  _, cell = np.unique(cell, return_inverse=True)
  cell = cell.astype(np.int32)
  num_cells = cell.max(initial=-1) + 1
  place = np.asarray(place_in_cell(cell, (-depth,), id_rank, candidate))
  size = np.bincount(cell[candidate], minlength=num_cells)
  # The place, from the deepest down, of the smallest depth that is not below.
  last = size - 1 - np.ceil(quantile * (size - 1)).astype(np.int64)
  at_threshold = candidate & (place == last[cell])
  threshold = np.full(num_cells, np.inf, np.float32)
  threshold[cell[at_threshold]] = depth[at_threshold]
  return candidate & (depth >= threshold[cell])


def require_finite(
  depth: Float[Array | np.ndarray, " n"],
  candidate: Bool[Array | np.ndarray, " n"],
) -> None:
  """Raises a ValueError when the depth of a candidate is NaN or infinite.

  >>> require_finite(np.array([np.nan, 1.0]), np.array([False, True]))
  """
  bad = int((candidate & ~jnp.isfinite(depth)).sum())
  if bad:
    raise ValueError(
      f"the depth of {bad} candidates is not finite; reject them first"
    )


def sortable(x: Shaped[Array | np.ndarray, " n"]) -> Int[Array, " n"]:
  """int32 numbers in the order of `x`; -0.0 equals 0.0.

  >>> sortable(np.array([-1.0, -0.0, 0.0], np.float32)).tolist()
  [-1065353216, 0, 0]
  """
  x = jnp.asarray(x)
  if not jnp.issubdtype(x.dtype, jnp.floating):
    return x.astype(jnp.int32)
  bits = lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)
  # A negative float is a sign bit and a magnitude: its place is -magnitude.
  return jnp.where(bits < 0, _FIRST - bits, bits)


def _sort(keys: tuple[Shaped[Array, " n"], ...]) -> Int[Array, " n"]:
  """Rows by ascending keys. The last key, an id, decides every tie."""
  rows = jnp.arange(len(keys[0]), dtype=jnp.int32)
  *_, rows = lax.sort((*keys, rows), num_keys=len(keys), is_stable=False)
  return rows
