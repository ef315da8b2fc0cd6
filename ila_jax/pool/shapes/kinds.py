"""Kinds: what each field of a record holds, and the filled ones of a name."""

import re
import types
from collections.abc import Mapping
from typing import Any

from ila_jax.pool.conversations import values
from ila_jax.pool.shapes import field_names, structures


def of(value: Any) -> str:
  """What a field holds, in a word; "" where that is nothing.

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


def first(
  names: tuple[str, ...],
  there: Mapping[str, str],
  kinds: Mapping[str, str] = types.MappingProxyType({}),
) -> str:
  """The first field of some names, but one that is filled before others.

  Args:
    names: as `unread.plain_name` spells them.
    there: fields by such names.
    kinds: of the fields; without them none counts as filled.

  >>> first(("a", "b"), {"a": "A", "b": "B"}, {"A": "", "B": "text"})
  'B'
  """
  found = [there[name] for name in names if name in there]
  return next((n for n in found if kinds.get(n)), found[0] if found else "")


def family(kinds: Mapping[str, str], pattern: re.Pattern[str]) -> str:
  """The fields of one kind of names, of which some are filled, in order.

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
