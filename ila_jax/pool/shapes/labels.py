"""Labels and domains of records (docs/method.md 2.2 and 2.3)."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ila_jax.pool import records
from ila_jax.pool.conversations import values

_SEPARATORS = re.compile(r"[,;|\t\n，、；]")
_COUNT = re.compile(r"\d{1,9}(\.0*)?")
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_BULLET = re.compile(r"^\s*([-*•]|\d+[.)])\s+")
# Labels with marks of their own, and what may stand between them.
_MARKED = (
  (re.compile(r"#([^\s#,]+)"), " \t\r\n,"),
  (re.compile(r"<([^<>]+)>"), " \t\r\n"),
)
# Where nothing is, in words.
_NONE = frozenset(("", "none", "n/a", "na", "nan", "null", "nil", "-", "--"))
# What names a label that is an object in a list.
_NAMES = (
  *("name", "label", "tag", "title", "text", "value", "category", "topic"),
  *("ability", "skill", "id"),
)
# A domain is a label; columns of text have the width of their widest.
_DOMAIN_CHARACTERS = 100


def count(record: Mapping[str, Any], path: str) -> int | None:
  """K of docs/method.md 2.2: distinct labels, at least 1; None without any.

  A list counts its distinct members, those of lists in it included, and of
  objects in it the name; letters count in any case. A list of 0 and 1, some of
  them twice, marks labels by place, and counts its 1. An object of numbers or
  switches counts its keys, but for those whose value is null, false or 0. A
  number counts itself, also where it is written as a text. Any other text is a
  list where it is written as one: as JSON or Python write it, with commas,
  semicolons, bars, line ends or slashes between, or as #tags; else it is one
  label. 0, an empty list, and what says none (`null`, `N/A`, `-`) are no
  labels.

  Raises:
    records.Reject: when the field holds anything else.

  >>> count({"label": {"ability": ["math", "Code", "code"]}}, "label.ability")
  2
  >>> count({"k": "math, code, logic"}, "k"), count({"k": "3"}, "k")
  (3, 3)
  """
  value = _value(record, path)
  if value is None:
    return None
  if isinstance(value, list):
    if (bits := _bits(value)) is not None:
      return sum(bits) or None  # One for each label, in turn.
    return len(set(_members(value))) or None
  number = isinstance(value, int | float) and not isinstance(value, bool)
  if number and value >= 0 and value == value // 1 and value < 2**31:
    return int(value) or None
  raise _no_labels(value)


def names(record: Mapping[str, Any], path: str) -> list[str]:
  """The labels that `count` counts, each once, in the form it compares.

  Returns:
    Names in the order of the record; [] where it has none, or a mere count. A
    label that is marked by place is called by it, from 0.

  Raises:
    records.Reject: as `count` does.

  >>> names({"k": "Math, code, math"}, "k"), names({"k": 3}, "k")
  (['math', 'code'], [])
  """
  value = _value(record, path)
  if not isinstance(value, list):
    return []
  if (bits := _bits(value)) is not None:
    return [str(place) for place, bit in enumerate(bits) if bit]
  return list(dict.fromkeys(_members(value)))


def _value(record: Mapping[str, Any], path: str) -> Any:
  """What a field of labels says: a list, or a number; None: nothing."""
  value = records.lookup(record, path)
  if value is records.MISSING:
    return None
  if isinstance(value, str):
    value = _parsed(value.strip())
  return _keys(value) if isinstance(value, Mapping) else value


def _bits(value: list[Any]) -> list[int] | None:
  """0 and 1 of a list that marks labels by place; None of another."""
  bits = [_number(item) for item in value]
  marks = {*bits} <= {0, 1} and len(bits) > max(len({*bits}), 2)
  return bits if marks else None


def _number(value: Any) -> int | float | None:
  """A number, or 1 and 0 for true and false; None for all else."""
  return int(value) if isinstance(value, bool) else values.number(value)


def _no_labels(value: Any) -> records.Reject:
  return records.Reject(
    "labels are neither a list nor a count", repr(value)[:80]
  )


def _parsed(text: str) -> list[Any] | dict[str, Any] | int | None:
  """What a text of labels says: a count, a list or an object."""
  if text.lower() in _NONE:
    return None
  if _COUNT.fullmatch(text):
    return int(float(text))
  if _NUMBER.fullmatch(text):
    raise _no_labels(text)
  value = records.literal(text)
  if value is not None:
    return value
  if text[0] + text[-1] in ("[]", "{}", "()"):
    text = text[1:-1]
  return _split(text)


def _split(text: str) -> list[str]:
  """The labels of a text in words."""
  for mark, between in _MARKED:
    if not mark.sub("", text).strip(between):
      return mark.findall(text)
  parts = _SEPARATORS.split(text)
  if len(parts) == 1:
    parts = text.split("/")
  return [_BULLET.sub("", part).strip(" \t'\"") for part in parts]


def _keys(value: Mapping[str, Any]) -> list[Any]:
  """The labels of an object: its keys, where its values say yes or no."""
  numbers = {key: _number(held) for key, held in value.items()}
  has_texts = any(isinstance(held, str) for held in value.values())
  if has_texts and not {*value}.isdisjoint(_NAMES):
    return _named(value)
  if all(
    values.is_blank(value[k]) or n is not None for k, n in numbers.items()
  ):
    return [key for key, number in numbers.items() if number]
  return _named(value)


def _named(value: Mapping[str, Any]) -> list[Any]:
  """The name of a label that is an object."""
  named = next((value[n] for n in _NAMES if value.get(n) is not None), None)
  if not isinstance(named, str | int):
    raise _no_labels(value)
  return [named]


def _members(value: Any) -> Iterator[str]:
  """The labels of a list, as they are compared."""
  if isinstance(value, list | tuple):
    for item in value:
      yield from _members(item)
  elif isinstance(value, Mapping):
    has_name = any(value.get(name) is not None for name in _NAMES)
    yield from _members(_named(value) if has_name else _keys(value))
  elif label := _compared(value):
    yield label


def _compared(value: Any) -> str:
  """A label in the form in which like ones are equal; "": it is none."""
  if isinstance(value, str):
    number = values.number(value)
    whole = str(number) if isinstance(number, int) else value
    label = " ".join(whole.split()).casefold()
    return "" if label in _NONE else label
  if isinstance(value, float) and not value.is_integer():
    raise _no_labels(value)
  return "" if value is None else str(int(value))


def domain(record: Mapping[str, Any], path: str) -> str:
  """The example's domain: a text, a number, or the first of a list; else "".

  A domain longer than 100 characters is cut, and ends in a hash of the whole,
  so that what differs stays apart.

  Raises:
    records.Reject: when the field holds anything else.

  >>> domain({"type": ["Algebra", "Geometry"]}, "type")
  'Algebra'
  """
  value = records.lookup(record, path)
  if isinstance(value, list):
    value = value[0] if value else None
  if value is None or value is records.MISSING:
    return ""
  if not isinstance(value, str | int | float):
    raise records.Reject("domain is not text", type(value).__name__)
  text = value if isinstance(value, str) else json.dumps(value)
  if len(text) <= _DOMAIN_CHARACTERS:
    return text
  digest = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
  return f"{text[: _DOMAIN_CHARACTERS - 10]}… {digest[:8]}"
