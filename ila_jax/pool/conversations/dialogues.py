"""Dialogues: their turns, whatever the items look like.

Known are objects with a role (OpenAI, ShareGPT, Gemini, Anthropic), calls and
what tools answer between them, pairs of question and answer, pairs of role and
text, and texts in turn.
"""

import functools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import (
  contents,
  messages,
  tool_calls,
  values,
  weights,
)

# Sides of a pair, where an item is an object without a role.
_PAIR_KEYS = (
  ("user", "assistant"),
  ("human", "assistant"),
  ("user", "bot"),
  ("human", "bot"),
  ("human", "gpt"),
  ("instruction", "output"),
  ("prompt", "response"),
  ("prompt", "completion"),
  ("question", "answer"),
  ("input", "output"),
  ("query", "response"),
  ("request", "response"),
  ("user_message", "assistant_message"),
  ("human", "ai"),
  ("user", "ai"),
  ("user", "model"),
  ("user", "agent"),
  ("customer", "agent"),
)
_SYSTEMS = ("system", "system_prompt")
ReadPair = Callable[[Mapping[str, Any], unread.Notes], list[records.Turn]]
# Names under which an object may hold the list of messages.
_LISTS = ("messages", "conversations", "conversation", "turns")
# Roles that LangChain has as the type of a message.
_TYPES = ("human", "ai", "system", "tool", "function")
# A text that begins with its role.
_ROLE = re.compile(r"\s*([A-Za-z][A-Za-z _-]{0,30}):\s")


@functools.lru_cache(maxsize=1024)
def _sides(keys: tuple[str, ...]) -> tuple[str, str] | None:
  """The two names of a pair; None where the keys are not those of one."""
  plain = {unread.plain_name(key): key for key in keys}
  for question, answer in _PAIR_KEYS:
    if question in plain and answer in plain:
      return plain[question], plain[answer]
  return None


def is_pair(item: Mapping[str, Any]) -> bool:
  """Whether an object without a role holds a question and its answer.

  >>> is_pair({"Human": "Hi", "Assistant": "Hello"}), is_pair({"output": "Hi"})
  (True, False)
  """
  return sides(item) is not None


def sides(item: Mapping[str, Any]) -> tuple[str, str] | None:
  """The names of question and answer: those that are filled, where both are.

  >>> sides({"Human": "Hi", "human": "", "Assistant": "Hello"})
  ('Human', 'Assistant')
  """
  filled = (name for name, held in item.items() if not values.is_blank(held))
  return _sides(tuple(filled)) or _sides(tuple(item))


def of_pair(item: Mapping[str, Any], notes: unread.Notes) -> list[records.Turn]:
  """The turns of an object with a question and its answer, and nothing more.

  It may also hold a system text.

  Raises:
    records.Reject: it holds no such sides, or one of them is no text.

  >>> [turn.text for turn in of_pair({"user": "Hi", "bot": "Hello"},
  ...                                unread.Notes())]
  ['Hi', 'Hello']
  """
  item = {unread.plain_name(key): held for key, held in item.items()}
  names = sides(item)
  if names is None and isinstance(item.get("type"), str):
    raise records.Reject("item of a type that is not read", item["type"][:80])
  if names is None:
    raise records.Reject(
      "message has no role", f"fields: {', '.join(item)}"[:200]
    )
  question, answer = names
  turns = []
  system = values.name(item, _SYSTEMS)
  if not values.is_blank(item.get(system)):
    text = contents.plain(item[system], "system")
    turns.append(records.Turn("system", text))
  turns.append(records.Turn("user", contents.plain(item[question], "content")))
  read = (question, answer, system, *weights.WEIGHTS, *weights.MASKS)
  left = [n for n in item if n not in read and not unread.is_ignored(n)]
  notes.leave(item, left, "messages.")
  if item[answer] is not None:
    text = contents.plain(item[answer], "content")
    learnt = weights.is_learnt(item, notes)
    turns.append(records.Turn("assistant", text, learnt))
  return turns


def _of_object(
  item: Mapping[str, Any],
  notes: unread.Notes,
  ids: Collection[str],
  read_pair: ReadPair,
) -> list[records.Turn]:
  """A message, a pair, or a call or its result that stands by itself."""
  whole = item
  if not any(key in item for key in messages.ROLE_KEYS):
    item = {unread.plain_name(key): held for key, held in item.items()}
  item = _with_role(item)
  if _is_call(item):
    [made] = contents.parts([item])
    return [records.Turn("assistant", "", calls=f"[{made.text}]")]
  if _is_typed(item) and tool_calls.result_of_part(item):
    [result] = contents.parts([item])
    return [
      records.Turn(
        "tool", result.text, call_id=result.call_id, name=result.name
      )
    ]
  if any(key in item for key in messages.ROLE_KEYS):
    return messages.read(item, notes, ids=ids)
  return read_pair(whole, notes)


def _with_role(item: Mapping[str, Any]) -> Mapping[str, Any]:
  """LangChain names the role `type`, and may put the rest under `data`."""
  if not _is_typed(item) or unread.plain_name(item["type"]) not in _TYPES:
    return item
  rest = {key: held for key, held in item.items() if key != "type"}
  if list(rest) == ["data"] and isinstance(rest["data"], Mapping):
    rest = {k: held for k, held in rest["data"].items() if k != "type"}
  return {"role": item["type"], **rest} if "content" in rest else item


def _has_role(item: Mapping[str, Any]) -> bool:
  return values.first(item, messages.ROLE_KEYS) is not None


def _is_typed(item: Any) -> bool:
  """Whether an item says what it is, as OpenAI's Responses have it."""
  is_object = isinstance(item, Mapping) and not _has_role(item)
  return is_object and isinstance(item.get("type"), str)


def _is_call(item: Any) -> bool:
  return _is_typed(item) and bool(tool_calls.of_part(item))


def _is_role(value: Any) -> bool:
  return isinstance(value, str) and unread.plain_name(value) in messages.ROLES


def _of_pair(pair: list[Any], *, by_role: bool) -> list[records.Turn]:
  """A list of two: a role and its text, or a question and its answer."""
  first, second = pair
  if by_role:
    turn = messages.turn_of(first, contents.plain(second, "content"))
    return [turn]
  return [
    records.Turn("user", contents.text_of(first, "content")),
    records.Turn("assistant", contents.text_of(second, "content")),
  ]


def of_texts(texts: Sequence[str], places: Sequence[int]) -> list[records.Turn]:
  """Texts in turn; or by role, where each begins with one and a colon.

  Args:
    texts: what is said.
    places: of each in the conversation; even ones are the user's.

  Raises:
    records.Reject: the texts begin with roles, and nobody knows one of them.

  >>> [turn.role for turn in of_texts(["Hi", "1 + 1?", "2"], [0, 2, 3])]
  ['user', 'user', 'assistant']
  """
  matches = [_ROLE.match(text) for text in texts]
  names = [unread.plain_name(match[1]) for match in matches if match]
  roles = {messages.ROLES.get(name) for name in names}
  if len(names) == len(texts) and roles >= {"user", "assistant"}:
    unknown = next((n for n in names if n not in messages.ROLES), None)
    if unknown is not None:
      where = f"turn {names.index(unknown) + 1} of {len(texts)}"
      raise records.Reject("unknown role", f"{where}: {unknown!r}")
    return [
      messages.turn_of(name, text[match.end() :].strip())
      for name, match, text in zip(names, matches, texts, strict=True)
    ]
  return [
    records.Turn("assistant" if place % 2 else "user", text)
    for place, text in zip(places, texts, strict=True)
  ]


def _is_list(value: Any) -> bool:
  """Whether a value is a list of objects."""
  is_list = isinstance(value, list) and bool(value)
  return is_list and all(isinstance(item, Mapping) for item in value)


def _items(value: Any) -> list[Any]:
  """The items of a conversation, whatever it is kept in."""
  if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
    value = records.literal(value)
    if value is None:
      raise records.Reject("conversation is not a list", "no JSON")
  if isinstance(value, Mapping) and len(value) == 1 and set(value) & {*_LISTS}:
    [value] = value.values()
  if isinstance(value, list) and len(value) == 1 and _is_list(value[0]):
    [value] = value
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
    elif _has_role(value) or is_pair(value):
      value = [value]
  if not isinstance(value, list):
    raise records.Reject("conversation is not a list", type(value).__name__)
  items = values.objects(value) or []
  if items and all(_has_role(item) or is_pair(item) for item in items):
    value = items
  if len({isinstance(item, str) for item in value}) > 1:
    raise records.Reject("conversation mixes texts and messages")
  return value


def read(
  value: Any,
  notes: unread.Notes,
  *,
  lists: Sequence[weights.Listed] = (),
  read_pair: ReadPair = of_pair,
) -> list[records.Turn]:
  """The turns of a conversation, in order and none left out.

  A list of messages; a JSON list in a string; the struct of lists that
  columnar files make of a list of structs; or one message alone. Calls that
  stand by themselves and follow each other are one turn.

  Args:
    value: what the record holds.
    notes: gets what nobody reads.
    lists: of weights beside it, one a message.
    read_pair: reads an object that names no speaker.

  Raises:
    records.Reject: it is none of these, or an item of it cannot be read, or
      there are more or fewer weights than messages.

  >>> turns = read([["human", "1 + 1?"], ["gpt", "2"]], unread.Notes())
  >>> [(turn.role, turn.text) for turn in turns]
  [('user', '1 + 1?'), ('assistant', '2')]
  """
  items = _items(value)
  if items and isinstance(items[0], str):
    turns = of_texts(items, range(len(items)))
    return weights.masked(turns, lists)
  pairs = [item for item in items if isinstance(item, list) and len(item) == 2]
  by_role = any(_is_role(first) for first, _ in pairs)
  turns: list[records.Turn] = []
  tools: list[records.Turn] = []
  places: list[int] = []
  ids: set[str] = set()
  for place, item in enumerate(items):
    try:
      if isinstance(item, Mapping):
        more = _of_object(item, notes, ids, read_pair)
      elif isinstance(item, list) and len(item) == 2:
        more = _of_pair(item, by_role=by_role)
      else:
        raise records.Reject(
          "message is neither text nor an object", type(item).__name__
        )
    except records.Reject as reject:
      where = f"turn {place + 1} of {len(items)}"
      detail = f"{where}: {reject.detail}" if reject.detail else where
      raise records.Reject(reject.reason, detail) from reject
    if place and _is_call(item) and _is_call(items[place - 1]):
      before = turns.pop()
      places.pop()
      calls = tool_calls.joined([before.calls, more[0].calls])
      more = [before._replace(calls=calls)]
    if more[0].role == "tools":
      if any(turn.role == "assistant" for turn in turns):
        notes.unread.add("tools of a message after an answer")
      else:
        tools.append(more[0])
      more = more[1:]
    turns += more
    places += [place] * len(more)
    ids.update(i for turn in more for i in tool_calls.ids(turn.calls))
  turns = weights.masked(turns, lists, places) if lists else turns
  return [*tools, *turns]
