"""Turns: what a record's conversation says, whatever its shape.

A prompt x is all that the model is given, a response y all that it must
produce (docs/method.md 3): Alpaca, prompt and completion, question and answer,
preference pairs, pairs of turns, ShareGPT and messages all become a tuple of
turns.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import (
  contents,
  dialogues,
  messages,
  tool_calls,
  transcripts,
  values,
)
from ila_jax.pool.exchanges import continued, listed, pairs
from ila_jax.pool.shapes import (
  choices,
  fields,
  responses,
  structures,
  verdicts,
)

_NOTHING = fields.Fields()
_INDEXED = re.compile(r"(.+)\.0\.[^.]+")


def _input(value: Any) -> str:
  """The text of an input; "" for `<noinput>`, `No input required.` and such."""
  if values.is_blank(value):
    return ""
  if isinstance(value, list) and [*map(type, value)] == [str]:
    [value] = value
  text = contents.text_of(value, "input")
  return "" if values.is_no_input(text) else text


def _prompt(value: Any, notes: unread.Notes) -> list[records.Turn]:
  if isinstance(value, list) and not responses.are_texts(value):
    return dialogues.read(value, notes)
  if isinstance(value, Mapping) and {"messages", *messages.ROLE_KEYS} & {
    *value
  }:
    return dialogues.read(value, notes)
  if isinstance(value, list):
    if len(value) != 1 and not any(isinstance(v, str) for v in value):
      raise records.Reject(
        "prompt is a list of numbers", f"{len(value)} of them"
      )
    if len(value) != 1:
      raise records.Reject("prompt is a list of texts", f"{len(value)} of them")
    value = value[0]
  text = contents.text_of(value, "prompt")
  return transcripts.asked(text) or [records.Turn("user", text)]


def _beside(
  record: Mapping[str, Any],
  read: fields.Fields,
  prompt: str,
  notes: unread.Notes,
) -> tuple[str, list[tuple[str, str]]]:
  """What follows a prompt after a blank line, and the choices it has.

  Input always does; context and choices where the prompt does not hold them.
  """
  parts = [_input(records.lookup(record, read.input))]
  for path in records.paths(record, read.context) if read.context else ():
    value = records.lookup(record, path)
    texts = contents.passages(value, "context")
    for held in value if isinstance(value, list) else [value]:
      if isinstance(held, Mapping):
        rest = [
          n for n in held if n not in ("title", contents.passage_key(held))
        ]
        rest = [name for name in rest if not unread.is_ignored(name)]
        notes.leave(held, rest, f"{path}.")
    texts = [text for text in texts if not values.is_no_input(text)]
    parts += [text for text in texts if text.strip() not in prompt]
  offered = choices.of(record, read.choices) if read.choices else []
  if offered and not choices.stand_in(prompt, offered):
    parts.append(choices.lines(offered))
  return "\n\n".join(part for part in parts if part.strip()), offered


def _request(
  record: Mapping[str, Any], read: fields.Fields, notes: unread.Notes
) -> tuple[list[records.Turn], list[tuple[str, str]]]:
  """What is asked in a prompt-response record, and the choices it gives."""
  prompt = records.lookup(record, read.prompt)
  if prompt is records.MISSING:
    raise records.Reject(
      "prompt field missing", f"{read.prompt}; fields: {', '.join(record)}"
    )
  asked = _prompt(prompt, notes)
  text = "\n\n".join(turn.text for turn in asked)
  more, offered = _beside(record, read, text, notes)
  if not more:
    return asked, offered
  if len(asked) == 1 and text.strip() and not isinstance(prompt, list):
    return [records.Turn("user", f"{text}\n\n{more}")], offered
  return [*(t for t in asked if t.text), records.Turn("user", more)], offered


def _head(record: Mapping[str, Any], read: fields.Fields) -> list[records.Turn]:
  """Tools, which come first, and the system text of a record."""
  turns = []
  tools = records.lookup(record, read.tools)
  if isinstance(tools, str) and values.is_no_input(tools):
    tools = records.MISSING
  text = "" if tools is records.MISSING else tool_calls.json_list(tools)
  if text:
    turns.append(records.Turn("tools", text))
  system = records.lookup(record, read.system)
  if system is records.MISSING:
    system = None
  said = None if system is None else contents.plain(system, "system")
  if said and values.is_no_input(said):
    said = None
  if text is None:  # Tools in words stand where words are read.
    words = tools if isinstance(tools, str) else json.dumps(tools)
    said = f"{said}\n\n{words}" if said and said.strip() else words
  if said is not None:
    turns.append(records.Turn("system", said))
  return turns


def _merged(
  head: list[records.Turn], said: list[records.Turn]
) -> list[records.Turn]:
  """The conversation after its head; a system text stands in one of them."""
  tools = [turn for turn in (*head, *said) if turn.role == "tools"]
  head, said = ([t for t in part if t not in tools] for part in (head, said))
  if said and head and said[0].role == head[-1].role == "system":
    ours, theirs = head[-1].text.strip(), said[0].text.strip()
    if ours in ("", theirs):
      head = head[:-1]
    elif not theirs:
      said = said[1:]
  return [*_joined(tools), *head, *said]


def _joined(tools: list[records.Turn]) -> list[records.Turn]:
  """Tools in one turn; those that stand in two places count once."""
  if len(tools) < 2:
    return tools
  lists = {json.dumps(json.loads(t.text), sort_keys=True): t for t in tools}
  text = tool_calls.joined([turn.text for turn in lists.values()])
  return [records.Turn("tools", text)]


def _checked(
  turns: Sequence[records.Turn], notes: unread.Notes
) -> tuple[records.Turn, ...]:
  """Cuts what follows the last response; rejects what cannot be scored."""
  size = len(turns)
  while turns and turns[-1].role != "assistant":
    turns = turns[:-1]
  if not turns:
    raise records.Reject("no response")
  if len(turns) < size:
    notes.unread.add("turns after the last answer")
  tool_calls.check(turns)
  roles = [turn.role for turn in turns if turn.role != "tools"]
  is_asked = roles[0] != "assistant" and (
    roles[:2] != ["system", "assistant"] or turns[-len(roles)].text.strip()
  )
  if not is_asked:
    raise records.Reject(
      "no prompt before the first response", "assistant turn 1"
    )
  for position, turn in enumerate(turns):
    silent = turn.role in ("system", "tool") or turn.calls
    if not turn.text.strip() and not silent:
      what = "response" if turn.role == "assistant" else "prompt"
      raise records.Reject(f"empty {what}", records.where(turns, position))
    if turn.role == "assistant" and values.is_no_response(turn.text):
      detail = f"{records.where(turns, position)}: {turn.text.strip()}"
      raise records.Reject("empty response", detail)
  if not any(t.is_learnt and t.role == "assistant" for t in turns):
    raise records.Reject(
      "no answer is learnt", ", ".join(sorted(notes.weights))
    )
  return tuple(turns)


def to_turns(
  record: Mapping[str, Any],
  read: fields.Fields,
  *,
  answers: str = "first",
  named: fields.Fields = _NOTHING,
  notes: unread.Notes | None = None,
) -> tuple[records.Turn, ...]:
  r"""The turns of a record; the last is the assistant's.

  Input, context and choices join the prompt after blank lines; `<noinput>` and
  its like count as no input. Tools are the first turn, what a tool answers is a
  turn of its own, and a call to one belongs to the assistant's turn. Turns
  after the last response are left out, and noted.

  Args:
    record: as it was read.
    read: where it keeps what.
    answers: which of a list of answers is the response (`responses.RULES`).
    named: what the user has named of that. A response then replaces the answer
      with which a conversation ends; else it goes unread there.
    notes: gets what nothing of this reads.

  Raises:
    records.Reject: with a reason, when there is no usable prompt and response.

  >>> question, answer = to_turns(
  ...   {"question": "1 + 1?", "answer": 2},
  ...   fields.Fields(prompt="question", response="answer"))
  >>> question.role, question.text, answer.role, answer.text
  ('user', '1 + 1?', 'assistant', '2')
  """
  notes = unread.Notes() if notes is None else notes
  record = structures.opened(record)
  lists = verdicts.of_record(record, read, notes)
  if read.conversation:
    head, reader = _head(record, read), pairs.Reader(answers, _of_prompt)
    said, text = continued.held(record, read, lists, notes, reader)
    if text:
      head = [transcripts.unmarked(turn) for turn in head]
    said = continued.answered(
      record,
      read,
      said,
      named=named,
      text=text,
      answers=answers,
      notes=notes,
    )
    asked = "\n\n".join(t.text for t in said if t.role in ("system", "user"))
    more, _ = _beside(record, read._replace(choices=""), asked, notes)
    past = continued.history(record, read, notes, reader)
    said = continued.joined(record, read, said, past=past, more=more)
    return _checked(_merged(head, said), notes)
  return _checked(_of_prompt(record, read, answers, notes), notes)


def _of_prompt(
  record: Mapping[str, Any],
  read: fields.Fields,
  answers: str,
  notes: unread.Notes,
) -> Sequence[records.Turn]:
  """The turns of a record with a prompt and its response."""
  head, reader = _head(record, read), pairs.Reader(answers, _of_prompt)
  asked = continued.history(record, read, notes, reader)
  request, offered = _request(record, read, notes)
  asked += request
  choices.check_one(records.lookup(record, read.response), offered)
  value, more = responses.of(record, read.response, answers, notes)
  if turns := listed.in_turn(record, read, value):
    return _merged(head, [*asked[: -len(request)], *turns])
  beyond = _INDEXED.fullmatch(read.response)
  if beyond and len(records.lookup(record, beyond[1])) > 1:
    notes.unread.add(f"all of `{beyond[1]}` but one")
  text = records.lookup(record, read.prompt)
  is_text = isinstance(text, str) and isinstance(value, str)
  if is_text and not request[0].text.startswith(text):  # It was a transcript.
    value = transcripts.answer(text, value)
  value = choices.answer(
    value, offered, field=read.response, fields=read.choices
  )
  last = continued.reply(record, read, value, more, notes)
  said = continued.repeated(asked, value) or responses.join(asked, last)
  return _merged(head, said)
