"""Continued conversations: the turns of a record, and what stands beside them.

The answer may stand in a field of its own, and so may its thought; so may
earlier turns, and a passage that is asked about, where somebody names them.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import (
  beside,
  contents,
  dialogues,
  numbered,
  tool_calls,
  transcripts,
  values,
  weights,
)
from ila_jax.pool.exchanges import pairs
from ila_jax.pool.shapes import field_names, fields, responses

# What is part of one question, and says nothing of a conversation.
_OF_A_QUESTION = ("prompt", "choices")


def held(
  record: Mapping[str, Any],
  read: fields.Fields,
  lists: Sequence[weights.Listed],
  notes: unread.Notes,
  reader: pairs.Reader,
) -> tuple[list[records.Turn], str]:
  """The turns of a conversation, and the text in which they stood, if one.

  Args:
    record: with structures as such.
    read: where it keeps the conversation, and its own tools.
    lists: of weights beside it.
    notes: gets what is not read.
    reader: of objects that name no speaker.

  Raises:
    records.Reject: it is none, or cannot be read.

  >>> reader = pairs.Reader("first", lambda *record: [])
  >>> read = fields.Fields(conversation="chat")
  >>> turns, text = held({"chat": ["a", "b"]}, read, [], unread.Notes(), reader)
  >>> [turn.text for turn in turns], text
  (['a', 'b'], '')
  """
  path = read.conversation
  paths = records.paths(record, path)
  if len(paths) > 1:
    numbers = {p: records.lookup(record, p) for p in paths}
    return weights.masked(numbered.read(numbers, notes, reader.pair), lists), ""
  value = records.lookup(record, path)
  if value is records.MISSING:
    raise records.Reject("conversation field missing", path)
  value = _parsed(value)
  if pairs.is_record(value):
    # What stands in the record itself goes before.
    own = reader.pair if read.tools else reader.whole
    turns = own(value, notes)
    return weights.masked(turns, lists, [0] * len(turns)), ""
  turns = transcripts.split(value) if isinstance(value, str) else None
  if turns:
    return weights.masked(turns, lists), value
  said = dialogues.read(value, notes, lists=lists, read_pair=reader.pair)
  return said, ""


def history(
  record: Mapping[str, Any],
  read: fields.Fields,
  notes: unread.Notes,
  reader: pairs.Reader,
) -> list[records.Turn]:
  """The earlier turns that stand in a field of their own.

  Raises:
    records.Reject: they are no list of pairs or messages, and no transcript.

  >>> record = {"past": [["a", "b"]]}
  >>> reader = pairs.Reader("first", lambda *record: [])
  >>> read = fields.Fields(history="past")
  >>> turns = history(record, read, unread.Notes(), reader)
  >>> [turn.text for turn in turns]
  ['a', 'b']
  """
  value = records.lookup(record, read.history)
  if value is None or value is records.MISSING or value == "":
    return []
  if isinstance(value, str) and values.is_no_input(value):
    return []
  value = _parsed(value)
  turns = transcripts.split(value) if isinstance(value, str) else None
  if turns:
    return turns
  if isinstance(value, list) and all(
    isinstance(item, Mapping) or (isinstance(item, list) and len(item) == 2)
    for item in value
  ):
    return dialogues.read(value, notes, read_pair=reader.pair)
  raise records.Reject("history is not a list of pairs", type(value).__name__)


def _parsed(value: Any) -> Any:
  """What a text of a list or an object holds; all else as it is."""
  parsed = records.literal(value) if isinstance(value, str) else None
  return value if parsed is None else parsed  # Llama 2 begins with [INST].


def thoughtful(turn: records.Turn, thought: Any) -> records.Turn:
  """An answer with the thought that stands beside it, if there is one.

  Raises:
    records.Reject: the answer has another thought.

  >>> thoughtful(records.Turn("assistant", "4"), "Two and two.").thought
  'Two and two.'
  """
  thought = contents.text_of(thought, "thought")
  if not thought.strip() or values.is_no_input(thought):
    return turn
  if turn.thought.strip() not in ("", thought.strip()):
    raise records.Reject("an answer has two thoughts", turn.thought[:80])
  text = contents.beside_thought(turn.text, thought)
  return turn._replace(text=text, thought=thought)


def reply(
  record: Mapping[str, Any],
  read: fields.Fields,
  value: Any,
  said: Sequence[records.Turn],
  notes: unread.Notes,
) -> list[records.Turn]:
  """The turns of an answer, with the thought that stands beside it.

  Args:
    record: what holds the thought.
    read: where.
    value: of the answer.
    said: its turns, where it has some; a thought goes with a single answer
      alone.
    notes: gets a thought that is not read.

  >>> read = fields.Fields(thought="why")
  >>> [turn] = reply({"why": "Two and two."}, read, 4, [], unread.Notes())
  >>> turn.text, turn.thought
  ('4', 'Two and two.')
  """
  thought = records.lookup(record, read.thought)
  if not said:
    text = contents.text_of(value, "response")
    turn = records.Turn("assistant", text, calls=_calls(record, text, notes))
    return [thoughtful(turn, thought)]
  *before, last = said
  answers = [turn for turn in said if turn.role == "assistant"]
  if answers == [last] and not last.thought.strip():
    return [*before, thoughtful(last, thought)]
  _leave(record, read.thought, notes)
  return list(said)


def _calls(record: Mapping[str, Any], text: str, notes: unread.Notes) -> str:
  """The calls beside an empty answer: they are all that it says."""
  if text.strip():
    return ""
  held = {
    name: value
    for name, value in record.items()
    if name in tool_calls.KEYS and isinstance(value, str | list | dict)
  }
  notes.unread -= held.keys()
  return tool_calls.of_message(held)


def answered(
  record: Mapping[str, Any],
  read: fields.Fields,
  said: Sequence[records.Turn],
  *,
  named: fields.Fields,
  text: str,
  answers: str,
  notes: unread.Notes,
) -> list[records.Turn]:
  """A conversation with the answer and the thought that stand beside it.

  Args:
    record: with structures as such.
    read: where it keeps what.
    said: the turns of the conversation.
    named: what the user says of that. A response that is named replaces the
      conversation's own answer; a thought goes with that answer. What is only
      detected goes unread beside a conversation that has its answer.
    text: of a transcript; "" for all else.
    answers: which of a list of answers counts.
    notes: gets what is not read.

  Raises:
    records.Reject: the last question has no answer that is read, but a field
      beside the conversation may hold one; or it cannot be read.

  >>> asked = [records.Turn("user", "1 + 1?")]
  >>> read = fields.Fields(conversation="chat", response="output")
  >>> said = answered({"output": "2"}, read, asked, named=fields.Fields(),
  ...                 text="", answers="first", notes=unread.Notes())
  >>> said[-1].text
  '2'
  """
  said = list(said)
  if read.response and text and said[-1][:2] == ("assistant", ""):
    said.pop()  # The format asks for the response.
  while named.response and said and said[-1].role == "assistant":
    said.pop()
    notes.unread.add(f"the answer that `{read.response}` replaces")
  is_answered = bool(said) and said[-1].role == "assistant"
  if read.response and not is_answered:
    value, more = responses.of(record, read.response, answers, notes)
    if isinstance(value, str) and text:
      value = transcripts.answer(text, value)
    return responses.join(said, reply(record, read, value, more, notes))
  if not is_answered:
    _check_read(record, read, said)
  _leave(record, read.response, notes)
  places = [n for n, turn in enumerate(said) if turn.role == "assistant"]
  if named.thought and places:
    thought = records.lookup(record, read.thought)
    said[places[-1]] = thoughtful(said[places[-1]], thought)
  else:
    _leave(record, read.thought, notes)
  return said


def repeated(asked: Sequence[records.Turn], value: Any) -> list[records.Turn]:
  r"""The turns of an answer in one text that repeats the prompt before it.

  >>> asked = [records.Turn("user", "1 + 1?")]
  >>> said = repeated(asked, "\n\nHuman: 1 + 1?\n\nAssistant: 2")
  >>> [turn.text for turn in said], repeated(asked, "2")
  (['1 + 1?', '2'], [])
  """
  try:
    turns = transcripts.split(value) if isinstance(value, str) else None
    repeats = turns and any(turn.role == "user" for turn in turns)
    return responses.join([*asked], turns) if repeats else []
  except records.Reject:
    return []  # An answer may quote a transcript.


def _leave(record: Mapping[str, Any], path: str, notes: unread.Notes) -> None:
  """Notes a field that is known, and not read."""
  paths = records.paths(record, path)
  notes.unread.update(
    p for p in paths if not values.is_blank(records.lookup(record, p))
  )


def _check_read(
  record: Mapping[str, Any], read: fields.Fields, said: Sequence[records.Turn]
) -> None:
  """Rejects a question whose answer may stand in a field that is not read."""
  if not said or said[-1].role != "user" or not said[-1].text.strip():
    return
  for prefix, held, names in beside.holders(record, read):
    for name in held:
      may_answer = field_names.MAY_ANSWER.fullmatch(unread.plain_name(name))
      is_read = name in names or unread.is_ignored(name)
      is_blank = values.is_blank(held[name]) or isinstance(held[name], bool)
      if may_answer and not (is_read or is_blank):
        path = prefix + name
        raise records.Reject(
          "no response",
          f"`{path}` may be it: --config.pool.fields.response="
          f"{shlex.quote(path)}",
        )


def joined(
  record: Mapping[str, Any],
  read: fields.Fields,
  said: Sequence[records.Turn],
  *,
  past: Sequence[records.Turn],
  more: str,
) -> list[records.Turn]:
  r"""A conversation with earlier turns, and with a passage that is asked about.

  Args:
    record: what holds them.
    read: where; the user has named what else stands beside a conversation.
    said: the turns of the conversation.
    past: goes before them, after a system text.
    more: follows the first question, so that each answer can draw on it.

  Raises:
    records.Reject: a field is named that only a single question can have.

  >>> asked = [records.Turn("user", "Who?")]
  >>> read = fields.Fields(conversation="chat", context="page")
  >>> joined({}, read, asked, past=[], more="A page.")[-1].text
  'Who?\n\nA page.'
  """
  for name in _OF_A_QUESTION:
    path = getattr(read, name)
    held = [records.lookup(record, p) for p in records.paths(record, path)]
    if not all(map(values.is_blank, held)):
      raise records.Reject(
        "a named field belongs to no conversation", f"{name} = {path}"
      )
  begins = (
    n for n, turn in enumerate(said) if turn.role not in ("tools", "system")
  )
  begin = next(begins, len(said))
  said = [*said[:begin], *past, *said[begin:]]
  asked = (n for n, turn in enumerate(said) if turn.role == "user")
  if more:
    place = next(asked, -1)
    if place < 0:
      said.insert(begin, records.Turn("user", more))
    else:
      parts = filter(str.strip, (said[place].text, more))
      said[place] = said[place]._replace(text="\n\n".join(parts))
  return said
