"""The head of the total order of a pool, from what its cells keep (2.6)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ila_jax import cell_state, entries


class Kept(NamedTuple):
  """The candidates that a state holds, in the total order of ILA [m]."""

  row: Int[np.ndarray, " m"]  # place in the stream
  cell: Int[np.ndarray, " m"]
  round: Int[np.ndarray, " m"]  # from 1
  depth: Float[np.ndarray, " m"]


def ranking(state: cell_state.CellState, *, budget: int | None = None) -> Kept:
  """What is kept, in the total order of ILA: `ordering.total_order` of all.

  Every row of the rounds 1 to keep is kept, and no other, so that this is a
  prefix of the order of the whole pool: all of it is exact.

  Args:
    state: of the pool; parts on several devices are joined by one all-to-all.
    budget: rows wanted; None: all that are kept.

  Raises:
    ValueError: the budget is above what is kept; a candidate without a finite
      depth or with a cell out of range has passed; an id repeats.

  >>> pool = np.array([1, 1]), np.array([5.0, 9.0]), (), np.ones(2, bool)
  >>> state = cell_state.empty(num_cells=2, keep=1)
  >>> state = cell_state.update(state, *pool, first_row=0)
  >>> ranking(state)  # doctest: +NORMALIZE_WHITESPACE
  Kept(row=array([1], dtype=int32), cell=array([1], dtype=int32),
       round=array([1], dtype=int32), depth=array([9.], dtype=float32))
  """
  fields = cell_state.lists(state)
  keep = fields.shape[2]
  held = np.flatnonzero(fields[0].ravel() < entries.NONE).astype(np.int32)
  budget = len(held) if budget is None else budget
  if budget > len(held):
    raise ValueError(
      f"{budget} rows are wanted, and {len(held)} are kept, {keep} of a cell "
      "at most; keep more"
    )
  cell, place = np.divmod(held, np.int32(keep))
  shallow, *words, row = (field.ravel()[held] for field in fields)
  if words and _repeats(words):
    raise ValueError("ids repeat; the order of the pool would be ambiguous")
  order = np.lexsort((row, *words[::-1], shallow, place))[:budget]
  return Kept(row[order], cell[order], place[order] + 1, _depth(shallow[order]))


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
