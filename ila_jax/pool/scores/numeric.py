"""Numbers of records: what counts as a score, and where scores may be."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import values

# A record nested deeper than that is looked at no further, nor are more of its
# fields.
_DEPTH, _FIELDS = 4, 200
_TRUTHS = {"true": 1.0, "false": 0.0}


def score(value: Any) -> float:
  """The score that a value is or writes, as float32 holds it; NaN: none.

  True and false are 1 and 0, also as words; a text that writes a number is
  that number.

  >>> score(4), score("4.5"), score(True), score("false"), score("good")
  (4.0, 4.5, 1.0, 0.0, nan)
  """
  if isinstance(value, bool):
    return float(value)
  if isinstance(value, str) and value.strip().lower() in _TRUTHS:
    return _TRUTHS[value.strip().lower()]
  number = values.number(value)
  if number is None or abs(number) > float(np.finfo(np.float32).max):
    return float("nan")
  return float(number)


def at(record: Mapping[str, Any], path: str) -> tuple[float, bool]:
  """The score at a path, and whether something else than a number is there.

  >>> at({"judge": {"score": "4"}}, "judge.score"), at({"q": "N/A"}, "q")
  ((4.0, False), (nan, True))
  >>> at({"q": None}, "q")
  (nan, False)
  """
  value = records.lookup(record, path)
  found = score(value)
  return found, found != found and not values.is_blank(value)


def _leaves(
  record: Mapping[str, Any], prefix: str = "", depth: int = _DEPTH
) -> Iterator[tuple[str, Any]]:
  for name, value in list(record.items())[:_FIELDS]:
    if isinstance(value, Mapping):
      if depth:
        yield from _leaves(value, f"{prefix}{name}.", depth - 1)
    else:
      yield f"{prefix}{name}", value


def paths(
  held: Iterable[Mapping[str, Any]], *, read: Iterable[str] = ()
) -> list[str]:
  """The fields of some records that hold numbers, and nothing else.

  Args:
    held: records.
    read: fields that are read as text, and are no scores.

  Returns:
    Dotted paths, in the order of the first record that has each; without ids,
    dates, and what else says nothing by its name.

  >>> paths([{"id": 1, "q": "3", "m": {"ppl": None, "n": "x"}},
  ...        {"m": {"ppl": 1.5}}])
  ['q', 'm.ppl']
  """
  has_number: dict[str, bool] = {}
  is_other: set[str] = set(read)
  for record in held:
    for path, value in _leaves(record):
      found = score(value)
      has_number.setdefault(path, False)
      if found == found:
        has_number[path] = True
      elif not values.is_blank(value):
        is_other.add(path)
  return [
    path
    for path, has in has_number.items()
    if has
    and path not in is_other
    and not unread.is_ignored(path.rpartition(".")[2])
  ]
