"""Dialogues: their turns, whatever the items look like.

Known are objects with a role (OpenAI, ShareGPT, Gemini), pairs of question and
answer, pairs of role and text, and texts in turn.
"""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ila_jax import records, tool_calls, unread

# Roles whose text is a call.
_CALLERS = ("function_call", "tool_call", "tool_calls")
ROLES = {
  **dict.fromkeys(("system", "developer"), "system"),
  **dict.fromkeys(("user", "human", "prompter", "customer"), "user"),
  **dict.fromkeys(
    (
      *("tool", "function", "observation", "ipython", "environment"),
      *("tool_response", "tool_result"),
      *("function_response", "function_result"),
    ),
    "tool",
  ),
  **dict.fromkeys(
    (
      *("assistant", "gpt", "chatgpt", "model", "bot", "chatbot", "ai"),
      *_CALLERS,
    ),
    "assistant",
  ),
}
ROLE_KEYS = ("role", "from", "speaker", "author")
_CONTENT_KEYS = ("content", "value", "text", "parts", "message")
_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking", "thought")
# An answer is learnt unless one of the first is 0, or one of the second is 1.
_WEIGHTS = (
  *("weight", "loss_weight", "loss", "loss_mask", "compute_loss"),
  *("train", "training", "trainable", "learn", "is_learnt"),
)
_MASKS = ("mask", "masked", "ignore")
# Weights of parts of an answer: nothing here can follow them.
_PART_WEIGHTS = ("train_detail", "training_detail", "token_weights")
_READ = {
  *(*ROLE_KEYS, *_CONTENT_KEYS, *_THOUGHT_KEYS, *tool_calls.KEYS),
  *(*_WEIGHTS, *_MASKS, *_PART_WEIGHTS),
}
# Sides of a pair, where an item is an object without a role.
_PAIR_KEYS = (
  ("user", "assistant"),
  ("human", "assistant"),
  ("user", "bot"),
  ("human", "bot"),
  ("human", "gpt"),
  ("input", "output"),
  ("prompt", "response"),
  ("prompt", "completion"),
  ("instruction", "output"),
  ("question", "answer"),
  ("query", "response"),
)


def text_of(value: Any, what: str) -> str:
  """A text, or the text of a number or of true and false; "" for none.

  Raises:
    records.Reject: for anything else; `what` names it.

  >>> text_of(12, "response"), text_of(True, "response"), text_of(None, "x")
  ('12', 'true', '')
  """
  if isinstance(value, str):
    return value
  if value is None or value is records.MISSING:
    return ""
  if isinstance(value, bool | int):
    return json.dumps(value)
  if isinstance(value, float):
    if math.isfinite(value):
      return json.dumps(value)
    raise records.Reject(f"{what} is not text", "a number out of range")
  raise records.Reject(f"{what} is not text", type(value).__name__)


def content_of(value: Any, what: str = "content") -> tuple[str, str]:
  """Text and thought of what a message holds: a text, or a list of parts.

  Parts are texts, or objects that hold one as `text`, `value` or `content`;
  those of type `thinking` are thought.

  Raises:
    records.Reject: for parts of another kind, such as images.

  >>> content_of([{"type": "text", "value": "4"}, {"text": "2"}])
  ('42', '')
  """
  if isinstance(value, Mapping) and "parts" in value:
    value = value["parts"]
  if isinstance(value, Mapping):
    value = [value]
  if not isinstance(value, list):
    return text_of(value, what), ""
  texts, thoughts = [], []
  for part in value:
    if not isinstance(part, Mapping):
      texts.append(text_of(part, what))
      continue
    kind = part.get("type")
    if kind in ("thinking", "reasoning"):
      keys, into = ("thinking", "reasoning", "text", "content"), thoughts
    elif kind in (None, "text", "input_text", "output_text"):
      keys, into = ("text", "value", "content"), texts
    else:
      raise records.Reject(f"{what} is not text", f"part of type {kind!r}")
    found = next((part[k] for k in keys if part.get(k) is not None), None)
    if found is None:
      raise records.Reject(
        f"{what} is not text", f"a part with {', '.join(part) or 'nothing'}"
      )
    into.append(text_of(found, what))
  return "".join(texts), "".join(thoughts)


def _flag(name: str, value: Any) -> float:
  """A weight as a number of at least 0."""
  if isinstance(value, str):
    value = {"true": 1, "false": 0}.get(value.strip().lower(), value)
  try:
    if isinstance(value, str | bool | int | float) and float(value) >= 0:
      return float(value)
  except (ValueError, OverflowError):
    pass
  raise records.Reject(
    "weight is no number of at least 0", f"{name}: {value!r}"[:80]
  )


def is_learnt(
  holder: Mapping[str, Any],
  notes: unread.Notes,
  *,
  weights: Sequence[str] = _WEIGHTS,
  masks: Sequence[str] = _MASKS,
) -> bool:
  """Whether what stands in a message, or a record, is to be learnt.

  Raises:
    records.Reject: a weight that is none, or weights of parts of an answer.

  >>> is_learnt({"content": "Four.", "weight": 0}, unread.Notes())
  False
  """
  learnt = True
  named = {unread.plain_name(key): value for key, value in holder.items()}
  for name in (*weights, *masks):
    value = named.get(name)
    if value is None:
      continue
    number = _flag(name, value)
    notes.weights.add(name)
    if name in masks:
      number = 1.0 - min(number, 1.0)
    if number not in (0.0, 1.0):
      notes.unread.add(f"{name} other than 0 and 1")
    learnt &= number > 0
  if holder.get("label") is False:  # As preference data mark a bad answer.
    notes.weights.add("label")
    learnt = False
  return learnt


@functools.lru_cache(maxsize=1024)
def _unknown_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
  return tuple(
    k
    for k in keys
    if unread.plain_name(k) not in _READ and not unread.is_ignored(k)
  )


def _first(item: Mapping[str, Any], keys: Sequence[str]) -> Any:
  return next((item[k] for k in keys if item.get(k) is not None), None)


def _message(item: Mapping[str, Any], notes: unread.Notes) -> records.Turn:
  """An object with a role."""
  name = _first(item, ROLE_KEYS)
  plain = unread.plain_name(name) if isinstance(name, str) else ""
  if plain not in ROLES:
    raise records.Reject("unknown role", repr(name)[:80])
  unknown = _unknown_keys(tuple(item))
  if unknown:
    notes.leave(item, unknown, "messages.")
  text, thought = content_of(_first(item, _CONTENT_KEYS))
  role = ROLES[plain]
  if role != "assistant":
    notes.leave(item, [k for k in tool_calls.KEYS if k in item], "messages.")
    return records.Turn(role, text)
  if thought_beside := _first(item, _THOUGHT_KEYS):
    beside, deeper = content_of(thought_beside, "thought")
    thought = (beside or deeper) + thought
  for key in _PART_WEIGHTS:
    if item.get(key):
      raise records.Reject("parts of an answer have weights", key)
  calls = tool_calls.of_message(item)
  if plain in _CALLERS and not calls:
    calls = tool_calls.json_list(text) or ""
    text = "" if calls else text
  return records.Turn(role, text, is_learnt(item, notes), thought, calls)


@functools.lru_cache(maxsize=1024)
def _sides(keys: tuple[str, ...]) -> tuple[str, str] | None:
  """The two names of a pair; None where the keys are not those of one."""
  plain = {unread.plain_name(key): key for key in keys}
  for question, answer in _PAIR_KEYS:
    if question in plain and answer in plain:
      return plain[question], plain[answer]
  return None


def _pair(item: Mapping[str, Any], notes: unread.Notes) -> list[records.Turn]:
  """An object with a question and its answer, and perhaps a system text."""
  sides = _sides(tuple(item))
  if sides is None:
    raise records.Reject(
      "message has no role", f"fields: {', '.join(item)}"[:200]
    )
  question, answer = sides
  turns = []
  if item.get("system"):
    turns.append(records.Turn("system", text_of(item["system"], "system")))
  turns.append(records.Turn("user", text_of(item[question], "content")))
  if item[answer] is not None:
    text = text_of(item[answer], "content")
    turns.append(records.Turn("assistant", text, is_learnt(item, notes)))
  read = (question, answer, "system", *_WEIGHTS, *_MASKS)
  names = [n for n in item if n not in read and not unread.is_ignored(n)]
  notes.leave(item, names, "messages.")
  return turns


def _item(item: Any, position: int, notes: unread.Notes) -> list[records.Turn]:
  if isinstance(item, str):
    return [records.Turn("assistant" if position % 2 else "user", item)]
  if isinstance(item, Mapping):
    if not any(key in item for key in ROLE_KEYS):
      item = {unread.plain_name(key): held for key, held in item.items()}
    if any(key in item for key in ROLE_KEYS):
      return [_message(item, notes)]
    return _pair(item, notes)
  if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str):
    first, second = item
    role = ROLES.get(unread.plain_name(first))
    if role:
      return [records.Turn(role, text_of(second, "content"))]
    return [
      records.Turn("user", first),
      records.Turn("assistant", text_of(second, "content")),
    ]
  raise records.Reject(
    "message is neither text nor an object", type(item).__name__
  )


def read(value: Any, notes: unread.Notes) -> list[records.Turn]:
  """The turns of a conversation, in order and none left out.

  A list of messages; a JSON list in a string; the struct of lists that
  columnar files make of a list of structs; or one message alone.

  Raises:
    records.Reject: it is none of these, or an item of it cannot be read.

  >>> turns = read([["human", "1 + 1?"], ["gpt", "2"]], unread.Notes())
  >>> [(turn.role, turn.text) for turn in turns]
  [('user', '1 + 1?'), ('assistant', '2')]
  """
  if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
    try:
      value = json.loads(value)
    except (ValueError, RecursionError) as error:
      raise records.Reject("conversation is not a list", "no JSON") from error
  if isinstance(value, Mapping):
    columns = [column for column in value.values() if column is not None]
    if columns and all(isinstance(column, list) for column in columns):
      if len(set(map(len, columns))) > 1:
        raise records.Reject(
          "columns of a conversation differ in length",
          ", ".join(str(len(column)) for column in columns)[:80],
        )
      names = [name for name in value if value[name] is not None]
      rows = zip(*columns, strict=True)
      value = [dict(zip(names, row, strict=True)) for row in rows]
    elif any(key in value for key in ROLE_KEYS) or _sides(tuple(value)):
      value = [value]
  if not isinstance(value, list):
    raise records.Reject("conversation is not a list", type(value).__name__)
  if len({isinstance(item, str) for item in value}) > 1:
    raise records.Reject("conversation mixes texts and messages")
  turns = []
  for position, item in enumerate(value):
    try:
      turns += _item(item, position, notes)
    except records.Reject as reject:
      place = f"turn {position + 1} of {len(value)}"
      detail = f"{place}: {reject.detail}" if reject.detail else place
      raise records.Reject(reject.reason, detail) from reject
  return turns
