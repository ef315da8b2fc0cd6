"""N-grams as 64-bit hashes, and sorted tables of them.

The hash of n words w is the sum of h(w_i) c_i modulo 2^64, for random h(w) and
odd c_i: to hash all windows of a text takes n additions of arrays, and the
hashes of fewer words are made on the way.
"""

import functools
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt64

# A word is looked up far oftener than it is new.
_KNOWN_WORDS = 2**18


def text_hash(text: str) -> int:
  """Hashes a text to 64 bits, the same in every process.

  >>> f"{text_hash('word'):016x}"
  '4aa4cf27d7c78e95'
  """
  digest = hashlib.blake2b(
    text.encode(errors="surrogatepass"), digest_size=8
  ).digest()
  return int.from_bytes(digest, "big")


_word_hash = functools.lru_cache(maxsize=_KNOWN_WORDS)(text_hash)


@functools.cache
def _factor(place: int) -> np.uint64:
  return np.uint64(text_hash(f"place {place}") | 1)


def windows(
  words: Sequence[str], widths: Sequence[int]
) -> Iterator[tuple[int, UInt64[np.ndarray, " k"]]]:
  """Yields the hashes of all n-grams of a text, for each n in turn.

  Args:
    words: of the text.
    widths: each n, ascending; those that are longer than the text are left
      out.

  >>> a, b = (dict(windows(list(text), [2, 3])) for text in ("abcab", "cab"))
  >>> bool(a[2][0] == a[2][3]), bool(b[3][0] == a[3][2]), len(a[3])
  (True, True, 3)
  """
  hashed = np.fromiter(map(_word_hash, words), np.uint64, len(words))
  total = np.zeros(len(words) + 1, np.uint64)
  reached = 0
  for width in widths:
    if width > len(words):
      return
    for place in range(reached, width):
      count = len(words) - place
      total = total[:count] + hashed[place:] * _factor(place)
    reached = width
    yield width, total


class Table:
  """A table from n-grams to records: 12 bytes an n-gram.

  >>> table = Table(np.array([7, 3, 7], np.uint64), np.array([0, 1, 2]))
  >>> table.lookup(np.array([7, 4, 3], np.uint64)).tolist(), len(table)
  ([0, -1, 1], 2)
  """

  def __init__(
    self, hashes: UInt64[np.ndarray, " n"], record: Int[np.ndarray, " n"]
  ):
    """Keeps the first record of each hash."""
    self._hashes, first = np.unique(hashes, return_index=True)
    self._record = record[first].astype(np.int32)

  def __len__(self) -> int:
    return len(self._hashes)

  def lookup(self, hashes: UInt64[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
    """Returns the record that has each hash; -1: none."""
    if not len(self._hashes):
      return np.full(len(hashes), -1, np.int32)
    place = np.searchsorted(self._hashes, hashes)
    place = np.minimum(place, len(self._hashes) - 1)
    return np.where(self._hashes[place] == hashes, self._record[place], -1)


def is_common(
  hashes: UInt64[np.ndarray, " n"],
  group: Int[np.ndarray, " n"],
  *,
  limit: float | int,
) -> Bool[np.ndarray, " n"]:
  """Whether each n-gram is in more than `limit` groups of records.

  >>> hashes = np.array([5, 5, 5, 9], np.uint64)
  >>> is_common(hashes, np.array([0, 1, 1, 1]), limit=1).tolist()
  [True, True, True, False]
  """
  if not len(hashes):
    return np.zeros(0, np.bool_)
  order = np.lexsort((group, hashes))
  hashes, group = hashes[order], group[order]
  begins = np.append(True, hashes[1:] != hashes[:-1])
  is_new = begins | np.append(True, group[1:] != group[:-1])
  starts = np.flatnonzero(begins)
  groups = np.add.reduceat(is_new, starts, dtype=np.int64)
  lengths = np.diff(np.append(starts, len(hashes)))
  common = np.zeros(len(hashes), np.bool_)
  common[order] = np.repeat(groups > limit, lengths)
  return common
