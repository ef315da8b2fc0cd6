"""Messages: a conversation as a chat template takes it.

What a template can show (a system turn, tools, calls, thoughts) it is given in
the fields that it reads; the rest becomes text of the turn that it belongs to.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ila_jax.pool import records
from ila_jax.pool.conversations import tool_calls


class Abilities(NamedTuple):
  """What a chat template shows of a conversation.

  Attributes:
    system: system turns.
    tools: the list of tools that may be called.
    tool: what a tool answers, in a turn of its own.
    thought: an assistant's reasoning, as a field beside the text.
    calls: an assistant's calls, with arguments as a `mapping` or as `text`;
      "" where it shows none.
  """

  system: bool = True
  tools: bool = False
  tool: bool = False
  thought: bool = False
  calls: str = ""


PLAIN = Abilities()


def adapt(
  turns: Sequence[records.Turn], able: Abilities
) -> list[tuple[int, records.Turn]]:
  r"""The turns that a template can show, each with its place in the record.

  * tools: JSON after the system text, or a system turn of their own;
  * a thought: `<think>`, thought and `</think>`, a line each, and a blank line
    before the answer;
  * calls: their JSON in the line after the answer;
  * what a tool answers: a user turn;
  * a system turn: before the user turn that follows, after the one that went
    before if an answer follows, with a blank line between.

  >>> turns = [
  ...   records.Turn("tools", '[{"name": "add"}]'), records.Turn("user", "1+1"),
  ...   records.Turn("assistant", "2", thought="easy")]
  >>> [turn.text for _, turn in adapt(turns, PLAIN)]
  ['[{"name": "add"}]', '1+1', '<think>\neasy\n</think>\n\n2']
  """
  adapted = [
    (place, _adapt_turn(turn, able)) for place, turn in enumerate(turns, 1)
  ]
  first = adapted[0][1]
  if first.role == "tools" and not (able.tools and tools(first.text)):
    adapted = _tools_in_system(adapted)
  if not able.system:
    adapted = _system_in_user(adapted)
  return adapted


def _adapt_turn(turn: records.Turn, able: Abilities) -> records.Turn:
  if turn.role == "tool" and not able.tool:
    return turn._replace(role="user")
  if turn.role != "assistant":
    return turn
  text = turn.text
  if turn.thought and not able.thought:
    text = f"<think>\n{turn.thought}\n</think>\n\n{text}"
    turn = turn._replace(thought="")
  if turn.calls and not (able.calls and calls(turn.calls, able.calls)):
    text = f"{text}\n{turn.calls}" if text else turn.calls
    turn = turn._replace(calls="")
  return turn._replace(text=text)


def _join(first: str, second: str) -> str:
  return "\n\n".join(text for text in (first, second) if text.strip())


def _tools_in_system(
  turns: list[tuple[int, records.Turn]],
) -> list[tuple[int, records.Turn]]:
  (place, described), *rest = turns
  text = described.text
  if rest and rest[0][1].role == "system":
    (place, system), *rest = rest
    text = _join(system.text, text)
  return [(place, records.Turn("system", text)), *rest]


def _system_in_user(
  turns: list[tuple[int, records.Turn]],
) -> list[tuple[int, records.Turn]]:
  joined: list[tuple[int, records.Turn]] = []
  pending = ""
  for place, turn in turns:
    if turn.role == "system":
      pending = _join(pending, turn.text)
      continue
    if pending and turn.role == "user":
      turn = turn._replace(text=_join(pending, turn.text))
    elif pending and joined and joined[-1][1].role == "user":
      before, user = joined[-1]
      joined[-1] = before, user._replace(text=_join(user.text, pending))
    elif pending:
      # Nobody to join: the template says what it thinks of it.
      joined.append((place - 1, records.Turn("system", pending)))
    pending = ""
    joined.append((place, turn))
  return joined


def _parsed(text: str) -> list[dict[str, Any]]:
  """A JSON list of objects; [] where it is none."""
  try:
    values = json.loads(text)
  except (ValueError, RecursionError):
    return []
  if not isinstance(values, list) or not all(
    isinstance(value, dict) for value in values
  ):
    return []
  return values


def tools(text: str) -> list[dict[str, Any]]:
  """The tools as templates read them; [] where the text is no list of tools.

  >>> tools('[{"name": "add", "parameters": {}}]')
  [{'type': 'function', 'function': {'name': 'add', 'parameters': {}}}]
  """
  made = []
  for tool in _parsed(text):
    if "function" not in tool:
      tool = {"type": "function", "function": tool}
    function = tool["function"]
    if not isinstance(function, dict) or not isinstance(
      function.get("name"), str
    ):
      return []
    made.append(tool)
  return made


def calls(text: str, arguments: str) -> list[dict[str, Any]]:
  """Calls as templates read them; [] where the text is no list of calls.

  Args:
    text: JSON of the calls, as `tool_calls.parsed` takes it; arguments are an
      object or its JSON.
    arguments: what the template wants them to be, `mapping` or `text`.

  >>> calls('[{"name": "add", "arguments": "{\\\\"x\\\\": 1}"}]', "mapping")
  [{'type': 'function', 'function': {'name': 'add', 'arguments': {'x': 1}}}]
  """
  made = []
  for call in tool_calls.parsed(text):
    given = call["function"]["arguments"]
    if arguments == "text" and not isinstance(given, str):
      given = json.dumps(given, ensure_ascii=False)
    if arguments == "mapping" and isinstance(given, str):
      given = _mapping(given)
    function = call["function"] | {"arguments": given}
    made.append(call | {"function": function})
  return made


def _mapping(text: str) -> Any:
  """The object that a JSON text holds; the text where it holds none."""
  try:
    value = json.loads(text)
  except (ValueError, RecursionError):
    return text
  return value if isinstance(value, dict) else text


def make(
  turns: Sequence[records.Turn], able: Abilities
) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
  """The messages and the tools that `apply_chat_template` takes.

  What a tool answers has the id and the name that the record gives it, else
  those of the call that it answers (`tool_calls.answered`).

  Args:
    turns: of `adapt`.
    able: what the template shows.

  >>> make([records.Turn("user", "Hi")], PLAIN)
  ([{'role': 'user', 'content': 'Hi'}], None)
  """
  messages: list[dict[str, Any]] = []
  described = None
  for turn, call in zip(turns, tool_calls.answered(turns), strict=True):
    if turn.role == "tools":
      described = tools(turn.text)
      continue
    message: dict[str, Any] = {"role": turn.role, "content": turn.text}
    if turn.thought:
      message["reasoning_content"] = turn.thought
    if turn.calls:
      message["tool_calls"] = calls(turn.calls, able.calls)
    if turn.role == "tool":
      message |= _of_call(turn, call or {"function": {}})
    messages.append(message)
  return messages, described


def _of_call(turn: records.Turn, call: Mapping[str, Any]) -> dict[str, Any]:
  """Name and id of the call that a tool answers, where there are some."""
  name = turn.name or call["function"].get("name", "")
  call_id = call.get("id", turn.call_id)
  named = {"name": name, "tool_call_id": call_id}
  return {key: held for key, held in named.items() if held != ""}
