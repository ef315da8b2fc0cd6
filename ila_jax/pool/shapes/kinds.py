"""Kinds of values, and which of several fields for one purpose is filled."""

import re
import types
from collections.abc import Mapping
from typing import Any

from ila_jax.pool import unread
from ila_jax.pool.conversations import contents, values
from ila_jax.pool.shapes import field_names, structures

_ADDRESS = re.compile(r"\s*(?:https?|ftp|file|s3|gs|hf)://\S+\s*|www\.\S+\s*")


def of(value: Any) -> str:
  """Names the kind of a value, in one word; "" for an empty one.

  >>> of("a"), of(["a", "b"]), of({"text": "a"}), of(0), of([None, " "])
  ('text', 'texts', 'object', 'number', '')
  """
  if values.is_blank(value):
    return ""
  if isinstance(value, str):
    return "text"
  if isinstance(value, dict):
    return "object"
  if not isinstance(value, list):
    return "number"
  if all(map(structures.is_message, value)):
    return "messages"
  return "texts" if isinstance(value[0], str) else "list"


def of_field(name: str, value: Any) -> str:
  """Returns the kind of a value, using its field's name as well.

  A word that says how to think is a `flag`; an object of passages is
  `passages`; what is no passage, but stands under the name of one, an `aside`.

  >>> of_field("thinking", "high"), of_field("article", 17)
  ('flag', 'aside')
  """
  if contents.is_flag(name, value):
    return "flag"
  held = of(value)
  if not held or unread.plain_name(name) not in field_names.CONTEXTS:
    return held
  if held == "object":
    return "passages" if contents.passage_key(value) else held
  return held if _is_passage(value) else "aside"


def _is_passage(value: Any) -> bool:
  """Whether a value may be asked about: no number, switch or address."""
  items = value if isinstance(value, list) else [value]
  if any(isinstance(item, list | dict) for item in items):
    return True  # Whatever it is, it is no single number.
  texts = (item for item in items if isinstance(item, str) and item.strip())
  return any(not _ADDRESS.fullmatch(text) for text in texts)


def first(
  names: tuple[str, ...],
  there: Mapping[str, str],
  kinds: Mapping[str, str] = types.MappingProxyType({}),
) -> str:
  """Returns the first field of some names, a filled one before empty ones.

  Args:
    names: as `unread.plain_name` spells them.
    there: fields by such names.
    kinds: of the fields; without them none counts as filled.

  >>> first(("a", "b"), {"a": "A", "b": "B"}, {"A": "", "B": "text"})
  'B'
  """
  filled = [there[name] for name in names if name in there]
  return next((n for n in filled if kinds.get(n)), filled[0] if filled else "")


def family(kinds: Mapping[str, str], pattern: re.Pattern[str]) -> str:
  """Returns the fields whose names match a pattern, if two or more are there.

  Args:
    kinds: of all fields of the record.
    pattern: of such names, as `field_names.families` takes it.

  Returns:
    Their names with commas between; "" for fewer than two.

  >>> family({"turn_2": "text", "turn_1": "", "A": ""}, field_names.TURN)
  'turn_1, turn_2'
  """
  families = field_names.families(tuple(kinds), pattern)
  sizes = [sum(bool(kinds[n]) for n in names.values()) for names in families]
  if not families or not max(sizes):
    return ""
  names = families[sizes.index(max(sizes))].values()
  return ", ".join(names) if len(names) > 1 else ""
