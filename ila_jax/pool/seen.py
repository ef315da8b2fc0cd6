"""Ids that were read before, 8 bytes each however many there are."""

import numpy as np
from jaxtyping import Bool, UInt64

# Ids that are held as Python integers, before they are sorted into an array.
_RECENT = 2**20


class Seen:
  """A set of 64-bit ids that only grows.

  Recent ids are a Python set. When there are many they become a sorted array;
  arrays of like length are merged, so that few must be searched.

  >>> seen = Seen()
  >>> seen.add(7)
  >>> 7 in seen, 8 in seen, len(seen)
  (True, False, 1)
  """

  def __init__(self) -> None:
    """Begins empty."""
    self._recent: set[int] = set()
    self._sorted: list[np.ndarray] = []  # from the longest to the shortest

  def __len__(self) -> int:
    """The ids that were added."""
    return len(self._recent) + sum(map(len, self._sorted))

  def __contains__(self, number: int) -> bool:
    """Whether an id was added."""
    return number in self._recent or any(
      _holds(ids, np.uint64(number)) for ids in self._sorted
    )

  def add(self, number: int) -> None:
    """Adds an id that is not there."""
    self._recent.add(number)
    if len(self._recent) >= _RECENT:
      self._merge()

  def add_many(self, ids: UInt64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Adds ids that differ from each other; tells which were not there.

    >>> seen = Seen()
    >>> seen.add(7)
    >>> seen.add_many(np.array([8, 7], np.uint64)), len(seen)
    (array([ True, False]), 2)
    """
    is_new = np.ones(len(ids), np.bool_)
    for held in self._sorted:
      place = held.searchsorted(ids)
      inside = place < len(held)
      is_new[inside] &= held[place[inside]] != ids[inside]
    if self._recent:
      known = [number in self._recent for number in ids.tolist()]
      is_new &= ~np.array(known, np.bool_)
    self._recent.update(ids[is_new].tolist())
    if len(self._recent) >= _RECENT:
      self._merge()
    return is_new

  def _merge(self) -> None:
    """Moves the recent ids into an array, and merges arrays of like length."""
    ids = np.fromiter(self._recent, np.uint64, len(self._recent))
    self._recent = set()
    while self._sorted and len(self._sorted[-1]) <= len(ids):
      ids = np.concatenate([self._sorted.pop(), ids])
    ids.sort()
    self._sorted.append(ids)


def _holds(ids: np.ndarray, number: np.uint64) -> bool:
  place = ids.searchsorted(number)
  return bool(place < len(ids) and ids[place] == number)
