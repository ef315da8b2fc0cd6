"""Calls to tools, what tools answer, and the tools, as JSON lists."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import values

# Where a message keeps its calls; the second is OpenAI's older form.
KEYS = ("tool_calls", "function_call", "function_calls", "tool_call")
# Parts and items that are a call, and those that are what a tool answers; they
# stand as `type`, or name the field that holds the rest.
_CALLS = ("tool_use", "tool_call", "function_call", "tool_invocation")
_RESULTS = (
  *("tool_result", "tool_response", "tool_call_output", "tool_output"),
  *("function_call_output", "function_response", "function_result"),
)
ID_KEYS = ("tool_call_id", "call_id", "tool_use_id")
NAME_KEYS = ("name", "tool_name", "function_name")
_ARGUMENTS = ("arguments", "parameters", "args", "input")
ANSWER_KEYS = ("content", "output", "result", "response")
# What calls and results have beside that nothing need read.
_OF_PARTS = (
  *("id", "type", "status", "is_error", "caller", "cache_control", "signature"),
  *("thought_signature", "role", "object"),
)


def unpadded(value: Any) -> Any:
  """A value without the nulls that columnar files fill up objects with.

  >>> unpadded({"name": "say", "arguments": {"words": "hi", "x": None}})
  {'name': 'say', 'arguments': {'words': 'hi'}}
  """
  if isinstance(value, Mapping):
    return {k: unpadded(v) for k, v in value.items() if v is not None}
  if isinstance(value, list):
    return [unpadded(item) for item in value]
  return value


def _holds(value: Any) -> bool:
  """Whether anything is left of a value without nulls."""
  if isinstance(value, Mapping):
    return any(map(_holds, value.values()))
  return any(map(_holds, value)) if isinstance(value, list) else True


def json_list(value: Any) -> str | None:
  """A JSON list of objects as text: as written, or made from what is parsed.

  One object counts as a list of one, and a text in a list as the JSON of an
  object; None: it is nothing of the kind.

  >>> json_list('{"name": "say"}'), json_list([]), json_list("say it")
  ('[{"name": "say"}]', '', None)
  """
  text = value if isinstance(value, str) else None
  if text is not None:
    try:
      value = json.loads(text)
    except (ValueError, RecursionError):
      return "" if text.strip() in ("", "None") else None
  if value is None or value in ([], {}, [None]):
    return ""
  items = value if isinstance(value, list) else [value]
  if all(isinstance(item, str) for item in items):
    lists = [json_list(item) for item in items]
    if None in lists:
      return None
    return f"[{', '.join(item[1:-1] for item in lists if item)}]"
  if not all(isinstance(item, Mapping) for item in items):
    return None
  if text is not None:
    return text if isinstance(value, list) else f"[{text}]"
  items = [item for item in map(unpadded, items) if _holds(item)]
  return json.dumps(items, ensure_ascii=False) if items else ""


def of_message(item: Mapping[str, Any]) -> str:
  """All calls of a message as one JSON list; "" without any.

  Raises:
    records.Reject: what stands there is no call.

  >>> of_message({"function_call": {"name": "say", "arguments": "{}"}})
  '[{"name": "say", "arguments": "{}"}]'
  """
  lists = []
  for key in KEYS:
    calls = json_list(item.get(key))
    if calls is None and isinstance(item[key], str):
      calls = json_list(values.calls(item[key]) or 0)
    if calls is None:
      raise records.Reject("tool call is no JSON object", repr(item[key])[:80])
    if calls and calls not in lists:
      lists.append(calls)
  return joined(lists)


def joined(lists: Sequence[str]) -> str:
  """JSON lists as one; a single one as it is written, "" for none.

  >>> joined(['[{"name": "say"}]', '[{"name": "see"}]'])
  '[{"name": "say"}, {"name": "see"}]'
  """
  if len(lists) < 2:
    return "".join(lists)
  both = [call for calls in lists for call in json.loads(calls)]
  return json.dumps(both, ensure_ascii=False)


def _opened(
  part: Mapping[str, Any], kinds: Sequence[str]
) -> dict[str, Any] | None:
  """A part's fields by plain name; None where it is of none of the kinds."""
  held = {unread.plain_name(k): v for k, v in part.items() if v is not None}
  kind = held.get("type")
  kind = unread.plain_name(kind) if isinstance(kind, str) else None
  if kind is None:
    kind = next((k for k in kinds if isinstance(held.get(k), Mapping)), None)
  if kind not in kinds:
    return None
  inner = held.get(kind)
  if isinstance(inner, Mapping):
    held |= {unread.plain_name(k): v for k, v in inner.items()}
  return held


def unread_of_part(part: Mapping[str, Any]) -> list[str]:
  """The fields of a call or a result that say something and are not read.

  >>> unread_of_part({"type": "tool_use", "name": "f", "thought": "I call."})
  ['thought']
  """
  is_call = _opened(part, _CALLS) is not None
  kinds, inside = (_CALLS, _ARGUMENTS) if is_call else (_RESULTS, ANSWER_KEYS)
  read = {*kinds, *inside, *ID_KEYS, *NAME_KEYS, *_OF_PARTS}
  held = [part, *(v for k, v in part.items() if unread.plain_name(k) in kinds)]
  return [
    name
    for fields in held
    if isinstance(fields, Mapping)
    for name, value in fields.items()
    if unread.plain_name(name) not in read
    and not unread.is_ignored(name)
    and value is not False
    and unread.says(value)
  ]


def _id(call: Mapping[str, Any]) -> Any:
  return values.first(call, (*ID_KEYS, "id"))


def of_part(part: Mapping[str, Any]) -> dict[str, Any] | None:
  """The call that a part of a message, or an item of a list, is.

  >>> of_part({"type": "tool_use", "id": "c1", "name": "say", "input": {}})
  {'id': 'c1', 'type': 'function', 'function': {'name': 'say', 'arguments': {}}}
  >>> of_part({"type": "text", "text": "Hi"})
  """
  held = _opened(part, _CALLS)
  if held is None:
    return None
  name = values.first(held, NAME_KEYS)
  if not isinstance(name, str):
    raise records.Reject("tool call is no JSON object", repr(part)[:80])
  arguments = unpadded(values.first(held, _ARGUMENTS))
  function = {"name": name, "arguments": {} if arguments is None else arguments}
  known = {} if _id(held) is None else {"id": _id(held)}
  return known | {"type": "function", "function": function}


class Result(NamedTuple):
  """What a tool answers.

  Attributes:
    value: the answer, of any kind.
    call_id: of the call that it answers, or "".
    name: of the tool, or "".
  """

  value: Any
  call_id: str = ""
  name: str = ""


def result_of_part(part: Mapping[str, Any]) -> Result | None:
  """The tool's answer that a part of a message, or an item of a list, holds.

  >>> result_of_part({"type": "tool_result", "tool_use_id": "c1", "content": 4})
  Result(value=4, call_id='c1', name='')
  >>> result_of_part({"type": "text", "text": "Hi"})
  """
  held = _opened(part, _RESULTS)
  if held is None:
    return None
  call_id, name = _id(held), values.first(held, NAME_KEYS)
  return Result(
    values.first(held, ANSWER_KEYS),
    "" if call_id is None else str(call_id),
    name if isinstance(name, str) else "",
  )


def parsed(text: str) -> list[dict[str, Any]]:
  """Calls of one form; [] where the text is no list of calls.

  Args:
    text: JSON of the calls, each {"function": {"name", "arguments"}}, or the
      inner object alone, also with `parameters`, `args` or `input`.

  >>> parsed('[{"name": "add", "parameters": {"x": 1}, "id": "c1"}]')[0]["id"]
  'c1'
  """
  try:
    made = json.loads(text)
  except (ValueError, RecursionError):
    return []
  calls = []
  for call in made if isinstance(made, list) else ():
    if not isinstance(call, dict):
      return []
    given = _id(call)
    if not isinstance(call.get("function"), dict):
      others = (*ID_KEYS, "id", "type")
      inner = {k: v for k, v in call.items() if k not in others}
      call = {"type": "function", "function": inner}
    call = call if given is None else call | {"id": given}
    function = dict(call["function"])
    if not isinstance(function.get("name"), str):
      return []
    key = next((k for k in _ARGUMENTS if function.get(k) is not None), None)
    arguments = {} if key is None else function.pop(key)
    function["arguments"] = {} if arguments == "" else arguments
    calls.append(call | {"function": function})
  return calls


def ids(calls: str) -> list[str]:
  """The ids of a JSON list of calls, those without one left out.

  >>> ids('[{"name": "add", "id": "c1"}, {"name": "add"}]')
  ['c1']
  """
  named = [_id(call) for call in json.loads(calls)] if calls else []
  return [str(given) for given in named if given is not None]


def answered(turns: Sequence[records.Turn]) -> list[dict[str, Any] | None]:
  """The call that each turn of a tool answers.

  It is the one of its id; without an id the first that is open, of its name
  where it has one.

  Returns:
    A call for each turn, of the form of `parsed`; None for turns that are no
    tool's, and where no call is known.

  >>> call = '[{"id": "c1", "name": "add"}, {"id": "c2", "name": "sub"}]'
  >>> turns = [records.Turn("assistant", "", calls=call),
  ...   records.Turn("tool", "2", call_id="c2"), records.Turn("tool", "1")]
  >>> [call and call["id"] for call in answered(turns)]
  [None, 'c2', 'c1']
  """
  answered_calls: list[dict[str, Any] | None] = []
  latest: list[dict[str, Any]] = []
  open_calls: list[dict[str, Any]] = []
  before = ""
  for turn in turns:
    call = None
    if turn.calls:
      made = parsed(turn.calls)
      # Calls in turns that follow each other are open together.
      open_calls = (open_calls if before else []) + made
      latest = made[::-1] + latest
    if turn.role == "tool":
      call = _answered(turn, open_calls, latest)
      open_calls = [other for other in open_calls if other is not call]
    before = turn.calls
    answered_calls.append(call)
  return answered_calls


def _answered(
  turn: records.Turn,
  open_calls: list[dict[str, Any]],
  latest: list[dict[str, Any]],
) -> dict[str, Any] | None:
  with_ids = [call for call in latest if call.get("id") is not None]
  if turn.call_id and with_ids:
    same = (call for call in with_ids if str(call["id"]) == turn.call_id)
    return next(same, None)
  named = [
    call for call in open_calls if turn.name in ("", call["function"]["name"])
  ]
  return named[0] if named else None


def check(turns: Sequence[records.Turn]) -> None:
  """Rejects a tool's answer whose id belongs to no call before it.

  Where calls have no ids at all, answers follow in their order.

  Raises:
    records.Reject: names the turn.

  >>> call = '[{"id": "c1", "name": "add"}]'
  >>> check([records.Turn("assistant", "", calls=call),
  ...        records.Turn("tool", "4", call_id="c1")])
  """
  made, known = False, set()
  for place, turn in enumerate(turns):
    made |= bool(turn.calls)
    known.update(ids(turn.calls))
    if not turn.call_id or turn.call_id in known or (made and not known):
      continue
    raise records.Reject(
      "tool result answers no call",
      f"{records.where(turns, place)}: id {turn.call_id!r}"[:200],
    )
