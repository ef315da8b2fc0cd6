"""Labels and domains of records (Sections 2.2 and 2.3)."""

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ila_jax import records

_canonical = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SEPARATORS = re.compile(r"[,;|\n]")
_COUNT = re.compile(r"\d{1,9}(\.0*)?")
# A domain is a label; columns of text have the width of their widest.
_DOMAIN_CHARACTERS = 100


def count(record: Mapping[str, Any], path: str) -> int | None:
  """K of section 2.2: distinct labels, at least 1; None where there are none.

  A list counts its distinct members, those of lists in it included; an object
  its keys, but for those whose value is null, false or 0. A number counts
  itself, also where it is written as a text. Any other text is a list where it
  is written as one, with brackets or with commas, semicolons or bars between;
  else it is one label. 0, an empty list and an empty text are no labels.

  Raises:
    records.Reject: when the field holds anything else.

  >>> count({"label": {"ability": ["math", "code", "math"]}}, "label.ability")
  2
  >>> count({"k": "math, code, logic"}, "k"), count({"k": "3"}, "k")
  (3, 3)
  """
  value = records.lookup(record, path)
  if value is None or value is records.MISSING:
    return None
  if isinstance(value, str):
    value = _parsed(value.strip())
  if isinstance(value, list | dict):
    return len({_canonical(label) for label in _members(value)}) or None
  number = isinstance(value, int | float) and not isinstance(value, bool)
  if number and value >= 0 and value == value // 1 and value < 2**31:
    return int(value) or None
  raise records.Reject(
    "labels are neither a list nor a count", repr(value)[:80]
  )


def _parsed(text: str) -> list[Any] | int:
  """What a text of labels says: a count, or a list."""
  if _COUNT.fullmatch(text):
    return int(float(text))
  if text.startswith("[") and text.endswith("]"):
    for read in (json.loads, ast.literal_eval):
      try:
        found = read(text)
      except (ValueError, SyntaxError, MemoryError, RecursionError):
        continue
      if isinstance(found, list):
        return found
  return [part.strip() for part in _SEPARATORS.split(text)]


def _members(value: Any) -> Iterator[Any]:
  if isinstance(value, list):
    for item in value:
      yield from _members(item)
  elif isinstance(value, Mapping):
    yield from (key for key, held in value.items() if held or held == "")
  elif value is not None and value != "":
    yield value


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
