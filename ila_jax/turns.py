"""Turns: what a record's conversation says, whatever its shape.

A prompt x is all that the model is given, a response y all that it must
produce (design section 2): Alpaca, prompt and completion, question and answer,
pairs of turns, ShareGPT and messages all become a tuple of turns.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from ila_jax import records

_ROLES = {
  "system": "system",
  "developer": "system",
  "user": "user",
  "human": "user",
  "prompter": "user",
  "observation": "user",
  "tool": "user",
  "function": "user",
  "ipython": "user",
  "assistant": "assistant",
  "gpt": "assistant",
  "chatgpt": "assistant",
  "model": "assistant",
  "bot": "assistant",
  "function_call": "assistant",
}


def _text(value: Any, what: str) -> str:
  if value is None or value is records.MISSING:
    return ""
  if isinstance(value, str):
    return value
  raise records.Reject(f"{what} is not text", type(value).__name__)


def _content(value: Any) -> str:
  """Text of a message: a string, or a list of parts of type text."""
  if not isinstance(value, list):
    return _text(value, "content")
  parts = []
  for part in value:
    if isinstance(part, Mapping):
      if part.get("type", "text") != "text":
        raise records.Reject(
          "content is not text", f"part of type {part['type']!r}"
        )
      part = part.get("text")
    parts.append(_text(part, "content"))
  return "".join(parts)


def _message(item: Any, position: int) -> records.Turn:
  if isinstance(item, str):
    return records.Turn("assistant" if position % 2 else "user", item)
  if not isinstance(item, Mapping):
    raise records.Reject(
      "message is neither text nor an object", type(item).__name__
    )
  role = item.get("role", item.get("from"))
  if not isinstance(role, str) or role.lower() not in _ROLES:
    raise records.Reject("unknown role", repr(role))
  text = _content(item.get("content", item.get("value")))
  if item.get("tool_calls"):
    calls = json.dumps(item["tool_calls"], ensure_ascii=False)
    text = f"{text}\n{calls}" if text else calls
  return records.Turn(_ROLES[role.lower()], text)


def _conversation(value: Any) -> list[records.Turn]:
  if isinstance(value, Mapping) and all(
    isinstance(column, list) for column in value.values()
  ):
    # Columnar files keep a sequence of structs as a struct of sequences.
    rows = zip(*value.values(), strict=False)
    value = [dict(zip(value, row, strict=True)) for row in rows]
  if not isinstance(value, list):
    raise records.Reject("conversation is not a list", type(value).__name__)
  return [_message(item, position) for position, item in enumerate(value)]


def _side(value: Any, role: str) -> list[records.Turn]:
  """A prompt or response: text, or a list of messages."""
  if isinstance(value, list):
    return _conversation(value)
  return [
    records.Turn(role, _text(value, "prompt" if role == "user" else "response"))
  ]


def _history(value: Any) -> list[records.Turn]:
  if value is None or value is records.MISSING:
    return []
  if not isinstance(value, list) or not all(
    isinstance(pair, list) and len(pair) == 2 for pair in value
  ):
    raise records.Reject("history is not a list of pairs", type(value).__name__)
  roles = ("user", "assistant")
  return [
    records.Turn(role, _text(text, "history"))
    for pair in value
    for role, text in zip(roles, pair, strict=True)
  ]


def _is_no_input(text: str) -> bool:
  """Alpaca's annotators wrote `<noinput>`, `No input.` and the like."""
  return len(text) < 20 and re.sub(r"[\W_]", "", text).lower() == "noinput"


def _request(
  record: Mapping[str, Any], fields: records.Fields
) -> list[records.Turn]:
  """Everything before the response of a prompt-response record."""
  prompt = records.lookup(record, fields.prompt)
  if prompt is records.MISSING:
    raise records.Reject(
      "prompt field missing", f"{fields.prompt}; fields: {', '.join(record)}"
    )
  turns = _side(prompt, "user")
  extra = _text(records.lookup(record, fields.input), "input")
  if not extra.strip() or _is_no_input(extra):
    return turns
  if isinstance(prompt, str) and prompt.strip():
    return [records.Turn("user", f"{prompt}\n\n{extra}")]
  return [*(t for t in turns if t.text), records.Turn("user", extra)]


def _system(
  record: Mapping[str, Any], fields: records.Fields
) -> list[records.Turn]:
  parts = [_text(records.lookup(record, fields.system), "system")]
  tools = records.lookup(record, fields.tools)
  if tools and tools is not records.MISSING:
    if not isinstance(tools, str):
      tools = json.dumps(tools, ensure_ascii=False)
    # An empty list of tools is often kept as its text.
    parts.append("" if tools.strip() == "[]" else tools)
  text = "\n\n".join(part for part in parts if part.strip())
  return [records.Turn("system", text)] if text else []


def _checked(turns: list[records.Turn]) -> tuple[records.Turn, ...]:
  """Cuts what follows the last response; rejects what cannot be scored."""
  turns = [t for t in turns if t.role != "system" or t.text.strip()]
  while turns and turns[-1].role != "assistant":
    turns.pop()
  if not turns:
    raise records.Reject("no response")
  if turns[0].role == "assistant":
    raise records.Reject("no prompt before the first response")
  for position, turn in enumerate(turns):
    if not turn.text.strip():
      what = "response" if turn.role == "assistant" else "prompt"
      raise records.Reject(
        f"empty {what}", f"turn {position + 1} of {len(turns)}"
      )
  return tuple(turns)


def to_turns(
  record: Mapping[str, Any], fields: records.Fields
) -> tuple[records.Turn, ...]:
  r"""The turns of a record; the last is the assistant's.

  Input joins the prompt after a blank line; `<noinput>` and its like count as
  none. What a tool answers stands on the user's side, a call to a tool on the
  assistant's, the list of tools in the system turn. Turns after the last
  response are dropped.

  Raises:
    records.Reject: with a reason, when there is no usable prompt and response.

  >>> question, answer = to_turns(
  ...   {"question": "1 + 1?", "answer": "2"},
  ...   records.Fields(prompt="question", response="answer"))
  >>> question.role, question.text, answer.role, answer.text
  ('user', '1 + 1?', 'assistant', '2')
  """
  turns = _system(record, fields)
  if fields.conversation:
    value = records.lookup(record, fields.conversation)
    if value is records.MISSING:
      raise records.Reject("conversation field missing", fields.conversation)
    return _checked(turns + _conversation(value))
  if fields.history:
    turns += _history(records.lookup(record, fields.history))
  turns += _request(record, fields)
  response = records.lookup(record, fields.response)
  if response is records.MISSING:
    raise records.Reject(
      "response field missing",
      f"{fields.response}; fields: {', '.join(record)}",
    )
  return _checked(turns + _side(response, "assistant"))
