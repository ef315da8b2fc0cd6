"""LLaMA-Factory's format: role and text; each call is JSON in its own turn.

Its `openai` formatting, with tags of our choice: all fields are text, so that
no column is filled up with nulls.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ila_jax.export import example as example_lib
from ila_jax.export import rows
from ila_jax.pool import records
from ila_jax.pool.tokens import messages as messages_lib

# The name under which LLaMA-Factory knows the data set.
NAME = "ila_selection"
INFO_FILE = "dataset_info.json"
_ABLE = messages_lib.Abilities(
  system=True, tools=True, tool=True, calls="mapping"
)
_ASKING = ("user", "tool")


def info(file: str) -> dict[str, Any]:
  """The content of `dataset_info.json`.

  >>> info("train.jsonl")["ila_selection"]["file_name"]
  'train.jsonl'
  """
  return {
    NAME: {
      "file_name": file,
      "formatting": "openai",
      "columns": {"messages": "messages", "tools": "tools"},
      "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": "tool",
        "function_tag": "function_call",
        "system_tag": "system",
      },
    }
  }


def row(example: example_lib.Example) -> dict[str, Any]:
  r"""A line of the file.

  A thought stands before its answer as `<think>`, thought and `</think>`.
  Questions in a row are one, with a blank line between.

  Raises:
    records.Reject: LLaMA-Factory would drop the record, lose some of its text,
      or learn an answer that is not to be learnt.

  >>> from ila_jax.pool.records import Turn
  >>> turns = [Turn("user", "1 + 1?"), Turn("assistant", "2", thought="easy")]
  >>> made = row(
  ...   example_lib.Example("0" * 16, "a", 1, 0.0, 0, 1.0, 1.0, 1, turns, ""))
  >>> made["messages"][1]["content"]
  '<think>\neasy\n</think>\n\n2'
  """
  example_lib.check_all_learnt(example.turns)
  beside = _text_beside_calls(example.turns)
  adapted = [turn for _, turn in messages_lib.adapt(example.turns, _ABLE)]
  tools: list[dict[str, Any]] = []
  if adapted[0].role == "tools":
    tools = [tool["function"] for tool in messages_lib.tools(adapted[0].text)]
    adapted = adapted[1:]
  if beside and any(turn.calls for turn in adapted):
    raise records.Reject("text stands beside a call", beside)
  said = list(_said(adapted))
  _check_order(said)
  return {
    "messages": said,
    "tools": rows.json_text(tools) if tools else "",
    "id": example.id,
    "rank": example.rank,
  }


def _text_beside_calls(turns: Sequence[records.Turn]) -> str:
  """Names the first turn that both says something and calls; "" if none."""
  for place, turn in enumerate(turns):
    if turn.calls and turn.text.strip():
      return records.where(turns, place)
  return ""


def _said(turns: Sequence[records.Turn]) -> Iterator[dict[str, str]]:
  """Messages of role and content; questions in a row become one."""
  pending = ""
  for place, turn in enumerate(turns):
    role, text = turn.role, turn.text
    if turn.calls:
      calls = messages_lib.calls(turn.calls, "mapping")
      functions = [
        {key: call["function"][key] for key in ("name", "arguments")}
        for call in calls
      ]
      # What is left of the text is a thought.
      role = "function_call"
      text += rows.json_text(functions)
    if role == "user":
      text = f"{pending}\n\n{text}" if pending else text
      pending = text
      if place + 1 < len(turns) and turns[place + 1].role == "user":
        continue
    pending = ""
    yield {"role": role, "content": text}


def _check_order(said: Sequence[dict[str, str]]) -> None:
  """Refuses what LLaMA-Factory skips: turns that do not alternate."""
  rest = said[1:] if said[0]["role"] == "system" else said
  before = ""
  asks = True
  for message in rest:
    role = message["role"]
    if role == "tool" and before == "tool":
      continue  # Answers of tools in a row are put together by its reader.
    if (role in _ASKING) != asks or role == "system":
      raise records.Reject(
        "questions and answers do not alternate", f"{role} after {before}"
      )
    asks, before = not asks, role
