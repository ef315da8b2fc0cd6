"""A pool that passes shard by shard, and the head of its order.

See docs/method.md 6.
"""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int, Shaped

from ila_jax.compute import mesh as mesh_lib
from ila_jax.selection import cell_lists, cell_state


class Shard(NamedTuple):
  """The next rows of a pool, as `consume` takes them.

  Attributes:
    cell: cell of each row [n].
    depth: float32 [n].
    words: what breaks ties, ascending, the first decides; see `id_words`.
    candidate: rows that may win; None: all [n].
  """

  cell: Int[np.ndarray, " n"]
  depth: Float[np.ndarray, " n"]
  words: tuple[Int[np.ndarray, " n"], ...] = ()
  candidate: Bool[np.ndarray, " n"] | None = None


class Kept(NamedTuple):
  """The candidates that a state holds, in the total order of ILA [m]."""

  row: Int[np.ndarray, " m"]  # place in the stream
  cell: Int[np.ndarray, " m"]
  round: Int[np.ndarray, " m"]  # from 1
  depth: Float[np.ndarray, " m"]


def id_words(
  ids: Shaped[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
  """The 64 bits of ids of 16 hex digits, as two integers in their order.

  Args:
    ids: strings of the pool, 16 digits of 0-9 and a-f each [n].

  Returns:
    The upper and the lower half, int32 [n]; (upper, lower) sorts as the ids.

  Raises:
    ValueError: another kind of id.

  >>> id_words(np.array(["0000000000000000", "ffffffff00000001"]))
  ... # doctest: +NORMALIZE_WHITESPACE
  (array([-2147483648,  2147483647], dtype=int32),
   array([-2147483648, -2147483647], dtype=int32))
  """
  codes = np.zeros((0, 16), np.uint32)
  if len(ids):
    codes = np.ascontiguousarray(ids).view(np.uint32).reshape(len(ids), -1)
  is_digit = (codes >= ord("0")) & (codes <= ord("9"))
  is_letter = (codes >= ord("a")) & (codes <= ord("f"))
  if codes.shape[1] != 16 or not (is_digit | is_letter).all():
    raise ValueError("ids must be 16 hex digits, in lower case, to be streamed")
  digits = np.where(is_digit, codes - ord("0"), codes - ord("a") + 10)
  places = np.uint32(1) << np.arange(28, -4, -4, dtype=np.uint32)
  halves = (digits.reshape(-1, 2, 8) * places).sum(2, dtype=np.uint32)
  # Integers without sign, in the order of those with one.
  halves = (halves ^ np.uint32(2**31)).view(np.int32)
  return halves[:, 0], halves[:, 1]


def consume(
  shards: Iterable[Shard],
  *,
  num_cells: int,
  keep: int,
  shard_rows: int,
  words: int = 2,
  mesh: Mesh | None = None,
) -> cell_state.CellState:
  """The state of a whole pool, whose shards are made while devices work.

  Two shards are on the devices at a time, the one that passes and the next,
  filled up to `shard_rows`, so that one program serves all.

  Args:
    shards: the pool, in the order of its rows; longer ones are cut. Their
      arrays must not be written to afterwards.
    num_cells: c.
    keep: candidates of a cell that are held.
    shard_rows: rows that pass at once.
    words: integers that break ties.
    mesh: devices to spread over; None: one.

  >>> parts = [Shard(np.array([0, 2]), np.array([5.0, 1.0])),
  ...   Shard(np.array([0]), np.array([9.0]))]
  >>> state = consume(parts, num_cells=3, keep=1, shard_rows=2, words=0)
  >>> ranking(state).row.tolist()
  [2, 1]
  """
  state = cell_state.empty(
    num_cells=num_cells, keep=keep, words=words, mesh=mesh
  )
  shard_rows += -shard_rows % len(state.refused)
  put = jnp.asarray
  if mesh is not None:
    put = functools.partial(mesh_lib.put, mesh=mesh)
  first_row = 0
  for whole in shards:
    for start in range(0, len(whole.cell), shard_rows):
      part = jax.tree.map(put, _fill(whole, start, shard_rows))
      jax.block_until_ready(state)
      state = cell_state.update(state, *part, first_row=first_row)
      first_row += min(shard_rows, len(whole.cell) - start)
  return state


def ranking(state: cell_state.CellState) -> Kept:
  """What is kept, in the total order of ILA: `ordering.total_order` of all.

  Every row of the rounds 1 to keep is kept, and no other, so that this is a
  prefix of the order of the whole pool: all of it is exact.

  Args:
    state: of the pool; parts on several devices are joined by one all-to-all.

  Raises:
    ValueError: a candidate without a finite depth or with a cell out of range
      has passed; an id repeats.

  >>> pool = np.array([1, 1]), np.array([5.0, 9.0]), (), np.ones(2, bool)
  >>> state = cell_state.empty(num_cells=2, keep=1)
  >>> state = cell_state.update(state, *pool, first_row=0)
  >>> ranking(state)  # doctest: +NORMALIZE_WHITESPACE
  Kept(row=array([1], dtype=int32), cell=array([1], dtype=int32),
       round=array([1], dtype=int32), depth=array([9.], dtype=float32))
  """
  fields = cell_state.lists(state)
  keep = fields.shape[2]
  held = np.flatnonzero(fields[0].ravel() < cell_lists.NONE).astype(np.int32)
  cell, place = np.divmod(held, np.int32(keep))
  shallow, *words, row = (field.ravel()[held] for field in fields)
  if words and _repeats(words):
    raise ValueError("ids repeat; the order of the pool would be ambiguous")
  order = np.lexsort((row, *words[::-1], shallow, place))
  return Kept(row[order], cell[order], place[order] + 1, _depth(shallow[order]))


def _fill(shard: Shard, start: int, rows: int) -> tuple:
  """Some rows of a shard as `update` takes them; what is missing never wins."""

  def cut(array, dtype):
    part = np.asarray(array[start : start + rows], dtype)
    missing = rows - len(part)
    return np.pad(part, (0, missing)) if missing else part

  if shard.candidate is None:
    candidate = np.ones(rows, np.bool_)
    candidate[len(shard.cell) - start :] = False
  else:
    candidate = cut(shard.candidate, np.bool_)
  return (
    cut(shard.cell, np.int32),
    cut(shard.depth, np.float32),
    tuple(cut(word, np.int32) for word in shard.words),
    candidate,
  )


def _depth(shallow: np.ndarray) -> np.ndarray:
  """The depths again: `ordering.sortable` is its own inverse."""
  bits = ~shallow
  first = np.iinfo(np.int32).min
  return np.where(bits < 0, first - bits, bits).astype(np.int32).view("f4")


def _repeats(words: list[np.ndarray]) -> bool:
  """Whether two rows have all words alike."""
  order = np.lexsort(words)
  same = np.ones(max(len(order) - 1, 0), bool)
  for word in words:
    same &= np.diff(word[order]) == 0
  return bool(same.any())
