"""Ids that records had before a run read them: files of scores often have them.

A text and a number that are written alike are one id: tables write all cells as
texts.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt64

# Fields of ids, in the order in which they are tried.
NAMES = (
  *("id", "_id", "uid", "uuid", "guid", "idx", "index", "key"),
  *("example_id", "sample_id", "record_id", "prompt_id", "question_id"),
  *("conversation_id", "conv_id"),
)
# The ids of a pool's examples in a field of this name, by `numbers`.
Read = Callable[[str], UInt64[np.ndarray, " n"]]


def name(record: Mapping[str, Any]) -> str:
  """The field that holds a record's id; "": there is none.

  >>> name({"uid": "a7", "score": 3}), name({"id": None, "score": 3})
  ('uid', '')
  """
  return next((one for one in NAMES if number(record.get(one))), "")


def number(value: Any) -> int:
  """A number of 64 bits that stands for an id; 0: this is none.

  >>> number(17) == number("17") == number(17.0) != number("q17")
  True
  >>> number(None), number(" "), number([17]), number(True)
  (0, 0, 0, 0)
  """
  if isinstance(value, float) and value.is_integer():
    value = int(value)
  if isinstance(value, bool) or not isinstance(value, int | str):
    return 0
  text = str(value).strip()
  if not text:
    return 0
  digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8)
  return int.from_bytes(digest.digest()) or 1


def numbers(
  records: Iterable[Mapping[str, Any]], field: str
) -> UInt64[np.ndarray, " n"]:
  """The id of each record; 0 where it has none, or one that another has, too.

  >>> numbers([{"id": 3}, {"id": "q"}, {"id": 3}, {}], "id") > 0
  array([False,  True, False, False])
  """
  found = np.fromiter((number(one.get(field)) for one in records), np.uint64)
  _, place, count = np.unique(found, return_inverse=True, return_counts=True)
  return np.where(count[place] == 1, found, np.uint64(0))


def is_among(known: UInt64[np.ndarray, " n"], key: int) -> bool:
  """Whether a number is one of some that ascend.

  >>> is_among(np.array([3, 9], np.uint64), 9), is_among(np.zeros(0, "u8"), -1)
  (True, False)
  """
  if not 0 <= key < 2**64:
    return False
  place = int(np.searchsorted(known, np.uint64(key)))
  return place < len(known) and int(known[place]) == key
