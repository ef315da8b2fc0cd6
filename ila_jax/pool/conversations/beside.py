"""Objects in which fields are read, and what stands beside those.

A path such as `data.question` opens the object `data`. What else it holds is
read or told as if it stood in the record itself.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from ila_jax.pool import records, unread

# Names under which an object may hold the messages of a conversation.
_LISTS = ("messages", "conversations", "conversation", "turns", "chunks")


class Holder(NamedTuple):
  """An object that holds a field that is read.

  Attributes:
    prefix: of the paths of its fields; "" for the record itself.
    fields: all that it holds.
    read: the names of those that are read, or opened.
  """

  prefix: str
  fields: Mapping[str, Any]
  read: frozenset[str]


@functools.lru_cache(maxsize=4096)
def _plain(paths: tuple[str, ...]) -> frozenset[str] | None:
  """The paths, where each is the name of a field in the record itself."""
  is_plain = not any("." in path or "," in path for path in paths)
  return frozenset(filter(None, paths)) if is_plain else None


def holders(record: Mapping[str, Any], paths: tuple[str, ...]) -> list[Holder]:
  """The record, and the objects that paths open in it.

  Args:
    record: with structures as such.
    paths: of what is read, such as `fields.Fields`; some may name several, with
      commas between.

  >>> record = {"data": {"question": "q", "note": "n"}, "answer": "a"}
  >>> [(h.prefix, sorted(h.read))
  ...  for h in holders(record, ("data.question", "answer"))]
  [('', ['answer', 'data']), ('data.', ['question'])]
  """
  plain = _plain(paths)
  if plain is not None:
    return [Holder("", record, plain)]
  named = (part for path in paths for part in records.paths(record, path))
  opened: dict[str, tuple[Mapping[str, Any], set[str]]] = {"": (record, set())}
  for path in filter(None, named):
    parts = [path] if path in record else path.split(".")
    held: Any = record
    for place, part in enumerate(parts):
      if isinstance(held, Mapping):
        prefix = "".join(f"{name}." for name in parts[:place])
        opened.setdefault(prefix, (held, set()))[1].add(part)
        held = held.get(part)
      elif isinstance(held, list) and part.isdecimal():
        held = held[int(part)] if int(part) < len(held) else None
      else:
        break
  return [
    Holder(p, held, frozenset(read)) for p, (held, read) in opened.items()
  ]


def opened(record: Mapping[str, Any], path: str) -> str:
  """The path of messages, where an object holds them beside other things.

  >>> opened({"chat": {"system": "s", "messages": [["a", "b"]]}}, "chat")
  'chat.messages'
  """
  held = records.lookup(record, path)
  while isinstance(held, Mapping):
    names = [
      name
      for name, value in held.items()
      if unread.plain_name(name) in _LISTS and isinstance(value, list | dict)
    ]
    if len(names) != 1 or not held[names[0]]:
      break
    path, held = f"{path}.{names[0]}", held[names[0]]
  return path


@functools.lru_cache(maxsize=4096)
def _left(names: tuple[str, ...], read: frozenset[str]) -> tuple[str, ...]:
  return tuple(n for n in names if n not in read and not unread.is_ignored(n))


def left(holder: Holder) -> tuple[str, ...]:
  """The fields that are neither read nor in the closed list.

  >>> left(Holder("", {"prompt": 0, "id": 0, "hint": 0}, frozenset(["prompt"])))
  ('hint',)
  """
  return _left(tuple(holder.fields), holder.read)
