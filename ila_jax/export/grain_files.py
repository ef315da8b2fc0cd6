"""Files for trainers in JAX (MaxText, Levanter, Tunix) and for Grain.

Each row has `messages` of role and text alone, which every chat template takes,
and the numbers of the example. The same rows are Parquet and ArrayRecord files.
"""

import pathlib
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from ila_jax.export import example as example_lib
from ila_jax.export import huggingface
from ila_jax.export import rows as rows_lib
from ila_jax.pool import records
from ila_jax.pool.tokens import messages as messages_lib

_MESSAGE = pa.struct({"role": pa.string(), "content": pa.string()})
SCHEMA = pa.schema({"messages": pa.list_(_MESSAGE), **huggingface.NUMBERS})


def row(example: example_lib.Example) -> dict[str, Any]:
  r"""A row: messages of role and text, and the numbers.

  Tools stand in the system turn, calls and thoughts in the answer, what a tool
  answers is a user's turn, and user's turns in a row are one, with a blank line
  between: text as it was scored where the model's template has no tools.

  Raises:
    records.Reject: an answer is not to be learnt, or the turns are in an order
      at which these trainers end.

  >>> from ila_jax.pool.records import Turn
  >>> turns = [Turn("user", "Hi"), Turn("user", "4?"), Turn("assistant", "2")]
  >>> made = row(
  ...   example_lib.Example("0" * 16, "a", 1, 0.0, 0, 1.0, 1.0, 1, turns, ""))
  >>> made["messages"]
  [{'role': 'user', 'content': 'Hi\n\n4?'}, {'role': 'assistant', ...}]
  """
  example_lib.check_all_learnt(example.turns)
  said: list[dict[str, Any]] = []
  for _, turn in messages_lib.adapt(example.turns, messages_lib.PLAIN):
    role = "system" if turn.role == "tools" else turn.role
    if role == "user" and said and said[-1]["role"] == "user":
      said[-1]["content"] += f"\n\n{turn.text}"
      continue
    if role == "system" and said:
      raise records.Reject("a system turn is not the first turn")
    asked = bool(said) and said[-1]["role"] != "system"
    if role == "assistant" and not asked:
      raise records.Reject("an answer has no question before it")
    said.append({"role": role, "content": turn.text})
  return {"messages": said, **example_lib.about(example)}


def save(
  folder: pathlib.Path,
  rows: Iterable[dict[str, Any]],
  examples: Iterable[example_lib.Example],
) -> None:
  """Writes the rows as Parquet and as ArrayRecord files.

  Args:
    folder: that is written.
    rows: of `row`.
    examples: of which they are; not needed here.
  """
  del examples
  rows_lib.write_both(folder, rows, SCHEMA)


def levanter_config(folder: str) -> str:
  """The part of a config of Levanter that names the data, as YAML.

  >>> print(levanter_config("/data/mine").splitlines()[1])
    train_urls: ["/data/mine/train-*.parquet"]
  """
  files = rows_lib.json_text(f"{folder}/train-*.parquet")
  cache = rows_lib.json_text(f"{folder}-cache")
  return f"""data:
  train_urls: [{files}]
  cache_dir: {cache}
  # The chat template of the tokenizer must mark answers by {{% generation %}},
  # or Levanter cannot tell them from questions. Another one may be given here
  # as `chat_template`.
  format:
    type: chat
    messages_field: messages
    mask_user_turns: true
"""
