"""OpenAI's format for fine-tuning: fields that it documents, and no others."""

import re
from collections.abc import Sequence
from typing import Any

from ila_jax.export import example as example_lib
from ila_jax.export import messages
from ila_jax.pool import records
from ila_jax.pool.conversations import tool_calls
from ila_jax.pool.tokens import messages as messages_lib

# What a description of a function may have.
_FUNCTION_KEYS = {"name", "description", "parameters", "strict"}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
# Examples that a job wants at least.
LEAST_EXAMPLES = 10


def row(example: example_lib.Example) -> dict[str, Any]:
  """A line of the file: `messages`, and `tools` where there are some.

  An answer that is not learnt has `weight` 0. Calls without an id are given
  one.

  Raises:
    records.Reject: the record has what the format has no field for.

  >>> from ila_jax.pool.records import Turn
  >>> turns = [Turn("user", "1 + 1?"), Turn("assistant", "2")]
  >>> row(example_lib.Example("0" * 16, "a", 1, 0.0, 0, 1.0, 1.0, 1, turns, ""))
  {'messages': [{'role': 'user', ...}, {'role': 'assistant', 'content': '2'}]}
  """
  _check_calls(example.turns)
  said, tools = messages.uniform(
    example.turns, marks={True: None, False: 0}, mark="weight"
  )
  spoken = [turn for turn in example.turns if turn.role != "tools"]
  ids = _Ids()
  found: dict[str, Any] = {
    "messages": [
      _message(message, turn, ids)
      for message, turn in zip(said, spoken, strict=True)
    ]
  }
  if tools:
    found["tools"] = [_tool(tool) for tool in tools]
  return found


def _check_calls(turns: Sequence[records.Turn]) -> None:
  """Refuses thoughts, and calls and tools that would become text."""
  for place, turn in enumerate(turns):
    where = records.where(turns, place)
    if turn.role == "tools" and not messages_lib.tools(turn.text):
      raise records.Reject("tools are no list of functions", turn.text[:80])
    if turn.thought:
      raise records.Reject("reasoning beside an answer has no field", where)
    if turn.calls and not tool_calls.parsed(turn.calls):
      raise records.Reject("a call is no function with arguments", where)


class _Ids:
  """Ids of calls, which the record may lack; each is given once.

  Attributes:
    open: calls that no tool has answered: (name, id of the record, id given).
  """

  def __init__(self) -> None:
    self.open: list[tuple[str, str, str]] = []
    self._count = 0

  def of_call(self, name: str, call_id: Any) -> str:
    """The id of a call; made where the record has none."""
    self._count += 1
    known = "" if call_id is None else str(call_id)
    given = known or f"call_{self._count}"
    self.open.append((name, known, given))
    return given

  def answered(self, name: str, call_id: str) -> str | None:
    """The id of the call that a tool answers; None where there is none."""
    for one in self.open:
      if (call_id and one[1] == call_id) or (
        not (call_id and one[1]) and name in ("", one[0])
      ):
        self.open.remove(one)
        return one[2]
    return None


def _message(
  message: dict[str, Any], turn: records.Turn, ids: _Ids
) -> dict[str, Any]:
  made = {"role": message["role"], "content": message["content"]}
  if message["role"] == "tool":
    known = ids.answered(turn.name, turn.call_id)
    if known is None:
      raise records.Reject("a tool answers no call", repr(turn.text)[:80])
    return made | {"tool_call_id": known}
  if ids.open:
    raise records.Reject("a call has no answer of a tool", ids.open[0][0])
  if "tool_calls" in message:
    made["tool_calls"] = [_call(call, ids) for call in message["tool_calls"]]
    if not made["content"]:
      del made["content"]
  if message.get("weight") is not None:
    made["weight"] = message["weight"]
  return made


def _call(call: dict[str, Any], ids: _Ids) -> dict[str, Any]:
  function = call["function"]
  name = _name(function)
  return {
    "id": ids.of_call(name, call.get("id")),
    "type": "function",
    "function": {"name": name, "arguments": function["arguments"]},
  }


def _name(function: dict[str, Any]) -> str:
  name = function["name"]
  if not _NAME.fullmatch(name):
    raise records.Reject(
      "the name of a function is not of letters, digits, _ and -", name[:80]
    )
  return name


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
  function = tool["function"]
  others = sorted(set(function) - _FUNCTION_KEYS)
  if others:
    raise records.Reject(
      "a tool has a field that the format has not", others[0]
    )
  _name(function)
  return {"type": "function", "function": function}
