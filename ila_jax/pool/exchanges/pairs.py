"""Pairs: objects in a conversation that hold a question and its answer.

Each is read as a record of its fields is read, by the same code.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import dialogues, messages, values, weights
from ila_jax.pool.shapes import fields, structures, verdicts

# Reads a record with a prompt and its response: where it keeps what, and which
# of a list of answers counts.
ReadRecord = Callable[
  [Mapping[str, Any], fields.Fields, str, unread.Notes], Sequence[records.Turn]
]


def is_record(value: Any) -> bool:
  """Whether an object holds a prompt and its response; columns are none.

  >>> is_record({"problem": "1 + 1?", "solution": "2"})
  True
  >>> is_record({"user": ["1 + 1?", "2 + 2?"], "assistant": ["2", "4"]})
  False
  """
  if not isinstance(value, Mapping) or structures.is_message(value):
    return False
  if all(held is None or isinstance(held, list) for held in value.values()):
    return False
  detected = fields.detect(value)
  return detected is not None and bool(detected.prompt)


class Reader(NamedTuple):
  """Reads an object that names no speaker.

  Attributes:
    answers: which of a list of answers counts.
    read_record: reads a record with a prompt and its response.

  >>> def read_record(record, read, answers, notes):
  ...   return [records.Turn("user", record[read.prompt])]
  >>> reader = Reader("first", read_record)
  >>> item = {"problem": "1 + 1?", "solution": "2"}
  >>> reader.whole(item, unread.Notes())[0].text
  '1 + 1?'
  """

  answers: str
  read_record: ReadRecord

  def whole(
    self, item: Mapping[str, Any], notes: unread.Notes
  ) -> list[records.Turn]:
    """The turns of an object that is all that a conversation holds.

    Raises:
      records.Reject: it cannot be read.
    """
    known = (*weights.WEIGHTS, *weights.MASKS)
    masks = {n: v for n, v in item.items() if unread.plain_name(n) in known}
    rest = {n: v for n, v in item.items() if n not in masks}
    record = structures.opened(rest)
    if _has_parts(item) or not is_record(record):
      return dialogues.of_pair(item, notes)
    read, own = fields.resolve(record, fields.Fields()), unread.Notes()
    is_learnt, _ = verdicts.found(record, read, own)
    is_learnt &= weights.is_learnt(masks, own)
    said = [*self.read_record(record, read, self.answers, own)]
    if records.lookup(record, read.response) is None:
      said.pop()
    notes.weights |= own.weights
    notes.unread |= {n if " " in n else f"messages.{n}" for n in own.unread}
    masked = weights.Listed("", (is_learnt,) * len(said))
    return weights.masked(said, [masked])

  def pair(
    self, item: Mapping[str, Any], notes: unread.Notes
  ) -> list[records.Turn]:
    """The turns of one object of several: it has no tools of its own.

    Raises:
      records.Reject: it cannot be read.
    """
    said = self.whole(item, notes)
    if any(turn.role == "tools" for turn in said):
      notes.unread.add("tools of a pair")
    kept = (turn for turn in said if turn.role != "tools")
    return [t for t in kept if t.role != "system" or t.text.strip()]


def _has_parts(item: Mapping[str, Any]) -> bool:
  """Whether a side of a pair is of parts, as what a message says may be."""
  names = dialogues.sides(item)
  if names is None:
    return False
  question, answer = (item[name] for name in names)
  if isinstance(question, Mapping):
    return not (_has_role(question) or "messages" in question)
  if isinstance(answer, Mapping) and "parts" in answer:
    return True
  held = [side for side in (question, answer) if isinstance(side, list)]
  objects = [p for side in held for p in side if isinstance(p, Mapping)]
  if any(isinstance(p.get("type"), str) and not _has_role(p) for p in objects):
    return True
  is_list = isinstance(question, list) and len(question) > 1
  return is_list and all(isinstance(text, str) for text in question)


def _has_role(value: Mapping[str, Any]) -> bool:
  return values.first(value, messages.ROLE_KEYS) is not None
