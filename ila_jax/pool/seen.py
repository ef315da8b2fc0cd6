"""Ids that were read before, 8 bytes each however many there are."""

import numpy as np

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
    if len(self._recent) < _RECENT:
      return
    ids = np.fromiter(self._recent, np.uint64, len(self._recent))
    self._recent = set()
    while self._sorted and len(self._sorted[-1]) <= len(ids):
      ids = np.concatenate([self._sorted.pop(), ids])
    ids.sort()
    self._sorted.append(ids)


def _holds(ids: np.ndarray, number: np.uint64) -> bool:
  place = ids.searchsorted(number)
  return bool(place < len(ids) and ids[place] == number)
