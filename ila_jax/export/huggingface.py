"""A data set for `datasets.load_dataset`: Parquet files with all that is known.

Its rows can be read as a pool again; but for those with tools and calls, which
are written in one form here, they have the ids that they had.
"""

import pathlib
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from ila_jax.export import example as example_lib
from ila_jax.export import messages
from ila_jax.export import rows as rows_lib
from ila_jax.pool import records

FOLDER = "data"
_CALL = pa.struct(
  {
    "id": pa.string(),
    "type": pa.string(),
    "function": pa.struct({"name": pa.string(), "arguments": pa.string()}),
  }
)
# Beside role and content, a message has what some message of the selection has:
# chat templates ask whether a field is there, and take null for content.
_KEYS = {
  "reasoning_content": pa.string(),
  "tool_calls": pa.list_(_CALL),
  "tool_call_id": pa.string(),
  "name": pa.string(),
  "train": pa.bool_(),
}
NUMBERS = {
  "id": pa.string(),
  "source": pa.string(),
  "rank": pa.int64(),
  "depth": pa.float32(),
  "cell": pa.int32(),
  "nll_base": pa.float32(),
  "nll_sft": pa.float32(),
  "n_tokens": pa.int32(),
}


def row(example: example_lib.Example) -> dict[str, Any]:
  """A row: `messages`, `tools` as JSON text, the numbers and the record."""
  has_mask = any(not turn.is_learnt for turn in example.turns)
  said, tools = messages.uniform(
    example.turns, marks={True: True, False: False} if has_mask else None
  )
  for message in said:
    if "tool_calls" in message:
      message["tool_calls"] = list(map(_call, message["tool_calls"]))
  return {
    "messages": said,
    "tools": rows_lib.json_text(tools) if tools else None,
    **example_lib.about(example),
    **({"scores": dict(example.scores)} if example.scores else {}),
    "record": example.record,
  }


def _call(call: dict[str, Any]) -> dict[str, Any]:
  """A call in the fields that the column has; arguments as JSON text."""
  function, call_id = call["function"], call.get("id")
  arguments = function["arguments"]
  return {
    "id": None if call_id is None else str(call_id),
    "type": "function",
    "function": {
      "name": function["name"],
      "arguments": rows_lib.escaped(arguments),
    },
  }


def _keys(turns: Iterable[records.Turn]) -> set[str]:
  """The fields of messages that turns may need beside role and content."""
  needs = {
    "reasoning_content": lambda turn: turn.thought,
    "tool_calls": lambda turn: turn.calls,
    "tool_call_id": lambda turn: turn.role == "tool",
    "name": lambda turn: turn.role == "tool",
    "train": lambda turn: not turn.is_learnt,
  }
  turns = list(turns)
  return {name for name, has in needs.items() if any(map(has, turns))}


def schema(examples: Iterable[example_lib.Example]) -> pa.Schema:
  """The columns of the Parquet files, for these examples.

  >>> schema([]).field("messages").type.value_type
  StructType(struct<role: string, content: string>)
  """
  keys: set[str] = set()
  scores: dict[str, pa.DataType] = {}
  for example in examples:
    keys |= _keys(example.turns)
    scores = scores or dict.fromkeys(example.scores, pa.float32())
  own = {name: kind for name, kind in _KEYS.items() if name in keys}
  message = pa.struct({"role": pa.string(), "content": pa.string(), **own})
  return pa.schema(
    {
      "messages": pa.list_(message),
      "tools": pa.string(),
      **NUMBERS,
      **({"scores": pa.struct(scores)} if scores else {}),
      "record": pa.string(),
    }
  )


def save(
  folder: pathlib.Path,
  rows: Iterable[dict[str, Any]],
  examples: Iterable[example_lib.Example],
) -> None:
  """Writes the Parquet files into `data/`.

  Args:
    folder: that is written.
    rows: of `row`.
    examples: of which they are; gone through once before.
  """
  (folder / FOLDER).mkdir()
  rows_lib.write_parquet(folder / FOLDER, rows, schema(examples))
