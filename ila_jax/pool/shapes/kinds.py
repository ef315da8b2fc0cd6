"""Kinds of values, and which of several fields for one purpose is filled."""

import re
import types
from collections.abc import Mapping
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import contents, transcripts, values
from ila_jax.pool.shapes import choices as choices_lib
from ila_jax.pool.shapes import field_names, structures

# Where a passage is: an address, or the name of a file or a record.
_ADDRESS = re.compile(
  r"\s*(?:(?:https?|ftp|file|s3|gs|hf)://\S+|www\.\S+"
  r"|(?=\S*[A-Za-z])[\w./\\-]{0,200}[._/\\-]\w{1,60})\s*",
  re.ASCII,
)
# One word that says of what kind something is, or how much: `high`.
_WORD = re.compile(r"\s*[a-z]{2,}\s*")
# A choice by its key, in an object of choices.
_CHOICE_KEY = re.compile(
  r"(?:(?:option|choice|answer)[_ ]?|op)?([A-Z]|\d{1,2})", re.IGNORECASE
)
_LETTER = re.compile(r"\W*[A-Ja-j]\W*")
# A label in an answer; `A` is a word as well.
_LABELLED = re.compile(r"\b[B-J]\b|\A\W*[Aa-j]\W*\Z")
# What may stand beside a prompt, and may be `None` or `N/A` in words.
_OPTIONAL = (
  *(*field_names.CHOICES, *field_names.HISTORIES),
  *(*field_names.SYSTEMS, *field_names.TOOLS),
)
# What a service has with each of its answers.
_SERVED = {"finish_reason", "logprobs", "message", "delta"}


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
  `passages`; what is no passage, no choices or no earlier turns, but stands
  under the name of such, an `aside`. `None` in words beside a prompt is empty.

  >>> of_field("thinking", "high"), of_field("article", 17)
  ('flag', 'aside')
  """
  if contents.is_flag(name, value):
    return "flag"
  held, plain = of(value), unread.plain_name(name)
  if (
    plain in _OPTIONAL and isinstance(value, str) and values.is_no_input(value)
  ):
    return ""
  if plain in field_names.HISTORIES and held == "text":
    is_said = transcripts.is_one(value) or records.literal(value) is not None
    return held if is_said else "aside"
  if plain in field_names.CHOICES and not _are_choices(value):
    return "aside" if held else ""
  if not held or plain not in field_names.CONTEXTS:
    return held
  if held == "object":
    return "passages" if contents.passage_key(value) else held
  return held if _is_passage(value) else "aside"


def _is_passage(value: Any) -> bool:
  """Whether a value may be asked about: no number, switch, address or word."""
  if isinstance(value, str) and values.is_no_input(value):
    return True  # It is left out where it is read.
  if isinstance(value, str) and _WORD.fullmatch(value):
    return False
  items = value if isinstance(value, list) else [value]
  if any(isinstance(item, list | dict) for item in items):
    return True  # Whatever it is, it is no single number.
  texts = (item for item in items if isinstance(item, str) and item.strip())
  return any(not _ADDRESS.fullmatch(text) for text in texts)


def _are_choices(value: Any) -> bool:
  """Whether a value may be choices: no settings, and no answers of a service.

  Settings have names, and numbers or switches.
  """
  if isinstance(value, str):
    value = records.literal(value)
    if value is None:
      return True  # It may write them in words.
  if isinstance(value, Mapping) and isinstance(value.get("text"), list):
    value = value["text"]
  if not isinstance(value, list | Mapping) or not value:
    return False
  if isinstance(value, Mapping):
    labels = [_CHOICE_KEY.fullmatch(str(key)) for key in value]
    has_labels = all(labels) and labels[0][1].upper() in ("A", "0", "1")
    return has_labels or all(
      isinstance(held, str) or values.is_blank(held) for held in value.values()
    )
  objects = [item for item in value if isinstance(item, Mapping)]
  return not any(_SERVED & item.keys() for item in objects)


def choices(every: Mapping[str, str], kinds: Mapping[str, str]) -> str:
  """Returns the field that holds choices, or the fields that hold one each.

  Args:
    every: fields by their plain names.
    kinds: of the fields.

  >>> choices({"options": "Options"}, {"Options": "texts"})
  'Options'
  """
  return family(kinds, field_names.CHOICE) or first(
    field_names.CHOICES, every, kinds
  )


def are_asked(record: Mapping[str, Any], path: str, response: str) -> bool:
  """Whether the choices of a record are those of its question.

  Numbers in fields of their own may be scores, a single choice a switch, and
  what has an `index` the answers of a service: they are choices where the
  answer may be one of them, by its label, its index or, of numbers, itself.

  Args:
    record: what holds all of them.
    path: of the choices, as `choices.of` takes it; "" for none.
    response: where the answer stands.

  >>> are_asked({"A": 0.3, "B": 0.7, "answer": "Nile"}, "A, B", "answer")
  False
  >>> are_asked({"A": 3, "B": 4, "answer": "4"}, "A, B", "answer")
  True
  """
  try:
    offered = choices_lib.of(record, path) if path else []
  except records.Reject:
    return True
  answer = records.lookup(record, response)
  is_index = unread.plain_name(response) in field_names.INDICES
  if not offered or is_index or not isinstance(answer, str | int | float):
    return True
  texts = {text.strip().lower() for _, text in offered if text.strip()}
  are_numbers = len(records.paths(record, path)) > 1 and all(
    text in ("true", "false") or values.number(text) is not None
    for text in texts
  )
  number, said = values.number(answer), str(answer)
  if are_numbers:
    words = {word.strip(".") for word in re.findall(r"[\w.]+", said.lower())}
    is_place = isinstance(number, int) and number in range(len(offered) + 1)
    return is_place or bool(words & texts or _LABELLED.search(said))
  is_sure = len(offered) > 1 and not _have_index(records.lookup(record, path))
  is_label = _LETTER.fullmatch(said) or isinstance(number, int)
  return is_sure or bool(is_label)


def _have_index(value: Any) -> bool:
  """Whether objects of a list have an index, and no label."""
  objects = value if isinstance(value, list) else []
  return any(
    isinstance(item, Mapping) and "index" in item and "label" not in item
    for item in objects
  )


def first(
  names: tuple[str, ...],
  there: Mapping[str, str],
  kinds: Mapping[str, str] = types.MappingProxyType({}),
) -> str:
  """Returns the first field of some names, a filled one before empty ones.

  An `aside` is none of them.

  Args:
    names: as `unread.plain_name` spells them.
    there: fields by such names.
    kinds: of the fields; without them none counts as filled.

  >>> first(("a", "b"), {"a": "A", "b": "B"}, {"A": "", "B": "text"})
  'B'
  """
  found = [there[name] for name in names if name in there]
  found = [field for field in found if kinds.get(field) != "aside"]
  return next((n for n in found if kinds.get(n)), found[0] if found else "")


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
