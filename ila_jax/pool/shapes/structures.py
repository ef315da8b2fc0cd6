"""Structures: lists and objects that a record writes as texts.

A table holds messages and lists of answers as JSON, or as Python or NumPy
print them. An answer may be JSON as well, and is none of these.
"""

import re
from collections.abc import Mapping
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import messages, values
from ila_jax.pool.shapes import field_names

_ROLE = re.compile(rf"""["'](?:{"|".join(messages.ROLE_KEYS)})["']\s*:""", re.I)
# Names of fields that hold several answers, and others that hold structures.
_ANSWERS = ("answers", "responses", "completions")
# Names of fields that go into a prompt as they are.
_TEXTS = (*field_names.CONTEXTS, "system", "system_prompt", "tools")
_LISTS = (
  *("messages", "conversations", "conversation", "history", "chat_history"),
  *("conversation_history", "instances", "tool_calls"),
)

# ... which a text that writes an empty list or object leaves empty.
_EMPTIED = (
  *(*_LISTS, *_ANSWERS, *field_names.TOOLS, *field_names.CHOICES),
  *field_names.CONTEXTS,
)
# The longest text that writes nothing: `[null, null]`.
_EMPTY_CHARACTERS = 80


def opened(record: Mapping[str, Any]) -> Mapping[str, Any]:
  """A record with its structures as such; the record itself without any.

  A text is one where it writes a list of messages, or stands under a name such
  as `answers` or `conversations` and writes what belongs there.

  >>> opened({"answers": "['a', 'b']", "output": "[1, 2]"})
  {'answers': ['a', 'b'], 'output': '[1, 2]'}
  """
  has_prompt = "instruction" in record or "prompt" in record
  structures = {
    name: value
    for name, text in record.items()
    if isinstance(text, str)
    and not (has_prompt and name == "input")
    and text.lstrip()[:1] in ("[", "{")
    and (value := _structure(name, text)) is not None
  }
  structures |= {
    name: items
    for name, held in record.items()
    if isinstance(held, list)
    and (items := values.objects(held))
    and all(map(is_message, items))
  }
  return {**record, **structures} if structures else record


def _structure(name: str, text: str) -> list[Any] | dict[str, Any] | None:
  """What a text writes, where it is a structure."""
  plain = unread.plain_name(name)
  if plain in _EMPTIED and len(text) < _EMPTY_CHARACTERS:
    held = records.literal(text)
    if held is not None and values.is_blank(held):
      return []
  if plain in _TEXTS:
    return None
  if plain not in (*_ANSWERS, *_LISTS) and not _ROLE.search(text):
    return None
  value = records.literal(text)
  if not value:
    return None
  if plain in _LISTS:
    return value
  if isinstance(value, list):
    has_messages = all(map(is_message, value))
    kinds = {type(item) for item in value}
    is_of_answers = plain in _ANSWERS and kinds in ({str}, {dict})
    return value if has_messages or is_of_answers else None
  is_of_texts = plain in _ANSWERS and isinstance(value.get("text"), list)
  return value if is_of_texts or _is_said(plain, value) else None


def _is_said(plain: str, value: Mapping[str, Any]) -> bool:
  """Whether an object is a message of the side that its field is of."""
  if not is_message(value) or values.name(value, messages.CONTENT_KEYS) is None:
    return False
  role = messages.role_of(values.first(value, messages.ROLE_KEYS))
  return role == ("user" if plain in field_names.RESPONSES else "assistant")


def texts(text: Any) -> list[str]:
  """The texts of a list that a text writes; none where it writes no such.

  >>> texts('["a", null]'), texts("[1, 2]"), texts(["a"])
  (['a', ''], [], [])
  """
  is_list = isinstance(text, str) and text.lstrip()[:1] == "["
  held = records.literal(text) if is_list else None
  if not isinstance(held, list) or not any(isinstance(v, str) for v in held):
    return []
  is_of_texts = all(v is None or isinstance(v, str) for v in held)
  return [v or "" for v in held] if is_of_texts else []


def is_message(item: Any) -> bool:
  """Whether an item says who speaks, and what.

  >>> is_message({"from": "gpt", "value": "Hi"}), is_message({"role": "user"})
  (True, False)
  """
  if not isinstance(item, Mapping) or len(item) < 2:
    return False
  name = values.first(item, messages.ROLE_KEYS)
  return isinstance(name, str) and unread.plain_name(name) in messages.ROLES
