"""Messages: each names its speaker, and becomes one turn or several.

Its content may be a text, or parts: texts, thoughts, calls to tools and what
tools answer.
"""

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import contents, tool_calls, values, weights

# Roles whose text is a call.
_CALLERS = ("function_call", "tool_call", "tool_calls")
ROLES = {
  **dict.fromkeys(("system", "developer"), "system"),
  **dict.fromkeys(("user", "human", "prompter", "customer"), "user"),
  **dict.fromkeys(
    (
      *("tool", "function", "observation", "ipython", "environment"),
      *("tool_response", "tool_result", "tool_output"),
      *("function_response", "function_result", "function_output"),
    ),
    "tool",
  ),
  **dict.fromkeys(
    (
      *("assistant", "gpt", "chatgpt", "chat_gpt", "model", "bot", "chatbot"),
      *("chat_bot", "ai", "agent", "bing", "bard", *_CALLERS),
    ),
    "assistant",
  ),
}
ROLE_KEYS = ("role", "from", "speaker", "author", "sender")
CONTENT_KEYS = ("content", "value", "text", "parts", "message", "utterance")
THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking", "thought")
# Weights of parts of an answer: nothing here can follow them.
_PART_WEIGHTS = ("train_detail", "training_detail", "token_weights")
_READ = {
  *(*ROLE_KEYS, *CONTENT_KEYS, *THOUGHT_KEYS, *tool_calls.KEYS),
  *(*weights.WEIGHTS, *weights.MASKS, *_PART_WEIGHTS),
}
# Where a message keeps the tools that may be called.
_TOOL_KEYS = ("tools", "functions")
# What is read of a tool's turn beside.
_READ_OF_TOOLS = {
  *(*tool_calls.ID_KEYS, *tool_calls.NAME_KEYS, *tool_calls.ANSWER_KEYS),
}


@functools.lru_cache(maxsize=1024)
def _unknown_keys(keys: tuple[str, ...], role: str) -> tuple[str, ...]:
  read = _READ | _READ_OF_TOOLS if role == "tool" else _READ
  return tuple(
    k
    for k in keys
    if unread.plain_name(k) not in read and not unread.is_ignored(k)
  )


def role_of(name: Any) -> str:
  """The role that a record means by a name, of `records.Turn`.

  Raises:
    records.Reject: nobody knows the name.

  >>> role_of("GPT"), role_of("Function Response")
  ('assistant', 'tool')
  """
  plain = unread.plain_name(name) if isinstance(name, str) else ""
  if plain not in ROLES:
    raise records.Reject("unknown role", repr(name)[:80])
  return ROLES[plain]


def turn_of(name: str, text: str) -> records.Turn:
  """What somebody says in plain text; the text of a caller is a call.

  Raises:
    records.Reject: nobody knows the name.

  >>> turn_of("function_call", '{"name": "add"}').calls
  '[{"name": "add"}]'
  """
  role = role_of(name)
  calls = ""
  if unread.plain_name(name) in _CALLERS:
    calls = tool_calls.json_list(text) or ""
  return records.Turn(role, "" if calls else text, calls=calls)


def _role(named: Mapping[str, Any]) -> tuple[str, str]:
  """The role of a message, and its name."""
  name = values.first(named, ROLE_KEYS)
  role = role_of(name)
  others = [named.get(key) for key in ROLE_KEYS[:2]]
  others = [ROLES.get(unread.plain_name(n), role) for n in others if n]
  if set(others) - {role}:
    raise records.Reject("message has two roles", ", ".join(others))
  return role, unread.plain_name(name)


def _content(named: Mapping[str, Any], role: str, notes: unread.Notes) -> Any:
  """What a message holds: the first of its fields that holds something."""
  keys = CONTENT_KEYS + (tool_calls.ANSWER_KEYS if role == "tool" else ())
  keys = [key for key in dict.fromkeys(keys) if key in named]
  if not keys and not any(named.get(key) for key in tool_calls.KEYS):
    raise records.Reject(
      "message has no content", f"fields: {', '.join(named)}"[:200]
    )
  key = values.name(named, keys)
  content = "" if key is None or named[key] in (None, []) else named[key]
  notes.leave(named, [k for k in keys if named[k] != content], "messages.")
  return content


def read(
  item: Mapping[str, Any], notes: unread.Notes, *, ids: Collection[str] = ()
) -> list[records.Turn]:
  """The turns of a message: one, but where it holds what tools answered.

  Args:
    item: an object with a role.
    notes: gets what nobody reads.
    ids: of the calls before it; an `id` of what a tool answers is one of them,
      or the message's own.

  Raises:
    records.Reject: no role, no content, or a content that is not text.

  >>> [turn] = read({"role": "User", "content": "1 + 1?"}, unread.Notes())
  >>> turn.role, turn.text
  ('user', '1 + 1?')
  """
  filled = {k: v for k, v in item.items() if not values.is_blank(v)}
  named: dict[str, Any] = {unread.plain_name(k): v for k, v in item.items()}
  named |= {unread.plain_name(key): held for key, held in filled.items()}
  flags = [k for k in tool_calls.KEYS if isinstance(named.get(k), bool)]
  notes.leave(named, flags, "messages.")
  named = {key: held for key, held in named.items() if key not in flags}
  others = [k for k in filled if named.get(unread.plain_name(k)) != filled[k]]
  notes.leave(item, others, "messages.")
  role, name = _role(named)
  unknown = _unknown_keys(tuple(item), role)
  unknown = [key for key in unknown if item[key] != "message"]  # Its `type`.
  head, told = _tools(named, role)
  unknown = [key for key in unknown if unread.plain_name(key) != told]
  notes.leave(item, unknown, "messages.")
  content = _content(named, role, notes)
  if role == "assistant":
    return [_answer(named, name, content, notes)]
  others = [k for k in (*tool_calls.KEYS, *THOUGHT_KEYS) if k in named]
  notes.leave(named, others, "messages.")
  if role == "system":
    return [*head, records.Turn(role, contents.plain(content, "content"))]
  if role == "user":
    spoken = _spoken(contents.parts(content), role)
    return [*head, *(spoken or [records.Turn(role, "")])]
  return _result(named, content, ids)


def _tools(
  named: Mapping[str, Any], role: str
) -> tuple[list[records.Turn], str]:
  """The tools that a question or a system text brings, and their field."""
  key = values.name(named, _TOOL_KEYS) if role in ("system", "user") else None
  tools = tool_calls.json_list(named[key]) if key else ""
  return ([records.Turn("tools", tools)], str(key)) if tools else ([], "")


def _spoken(parts: Sequence[contents.Part], role: str) -> list[records.Turn]:
  """Texts of a side, and what tools answered, in order."""
  turns = []
  for part in parts:
    if part.kind not in ("text", "result"):
      raise records.Reject("content is not text", f"a {part.kind} of {role}")
    speaker = role if part.kind == "text" else "tool"
    if part.kind == "result" or part.text.strip() or len(parts) == 1:
      turns.append(
        records.Turn(speaker, part.text, call_id=part.call_id, name=part.name)
      )
  return turns


def _result(
  named: Mapping[str, Any], content: Any, ids: Collection[str]
) -> list[records.Turn]:
  """What a tool answers; a list may hold the answers of several."""
  held = content if isinstance(content, list) else [content]
  objects = [item for item in held if isinstance(item, Mapping)]
  if any(map(tool_calls.result_of_part, objects)):
    return _spoken(contents.parts(content), "tool")
  call_id = values.first(named, tool_calls.ID_KEYS)
  if call_id is None and str(named.get("id")) in ids:
    call_id = named["id"]  # Else it is the message's own.
  name = values.first(named, tool_calls.NAME_KEYS)
  return [
    records.Turn(
      "tool",
      contents.data(content),
      call_id="" if call_id is None else str(call_id),
      name=name if isinstance(name, str) else "",
    )
  ]


def _thought(
  named: Mapping[str, Any], text: str, thought: str, notes: unread.Notes
) -> tuple[str, str]:
  """Text and thought of an answer, with the thought that stands beside."""
  beside = [k for k in THOUGHT_KEYS if not values.is_blank(named.get(k))]
  thoughts = [
    k
    for k in beside
    if isinstance(named[k], str | list) and not contents.is_flag(k, named[k])
  ]
  if thoughts:
    held = named[thoughts[0]]
    own = "".join(part.text for part in contents.parts(held, "thought"))
    if thought.strip() not in ("", own.strip()):
      raise records.Reject("an answer has two thoughts", thought[:80])
    thought = own
    beside = [k for k in beside if named[k] != held]
  notes.leave(named, beside, "messages.")
  return contents.beside_thought(text, thought), thought


def _answer(
  named: Mapping[str, Any], name: str, content: Any, notes: unread.Notes
) -> records.Turn:
  """An assistant's message: its text, its thought and its calls."""
  said: dict[str, list[str]] = {"text": [], "thought": [], "call": []}
  for part in contents.parts(content):
    if part.kind not in said:
      raise records.Reject("content is not text", f"a {part.kind} of assistant")
    if part.kind != "call" and said["call"] and part.text.strip():
      raise records.Reject("text after a tool call", part.text[:80])
    said[part.kind].append(part.text)
  text, thought = "".join(said["text"]), "".join(said["thought"])
  text, thought = _thought(named, text, thought, notes)
  for key in _PART_WEIGHTS:
    if named.get(key):
      raise records.Reject("parts of an answer have weights", key)
  lists = [
    *(f"[{call}]" for call in said["call"]),
    tool_calls.of_message(named),
  ]
  calls = tool_calls.joined([calls for calls in lists if calls])
  if name in _CALLERS and not calls:
    text, calls = turn_of(name, text).text, turn_of(name, text).calls
  return records.Turn(
    "assistant", text, weights.is_learnt(named, notes), thought, calls
  )
