"""Messages with calls, thoughts and masks: what TRL and Axolotl read."""

from collections.abc import Mapping, Sequence
from typing import Any

from ila_jax.export import example as example_lib
from ila_jax.export import rows
from ila_jax.pool import records
from ila_jax.pool.tokens import messages as messages_lib


def uniform(
  turns: Sequence[records.Turn],
  *,
  arguments: str = "text",
  marks: Mapping[bool, Any] | None = None,
  mark: str = "train",
) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
  """A conversation as messages of one form.

  Each has `role` (system, user, assistant or tool) and `content`; some have
  `reasoning_content`, `tool_calls`, or `tool_call_id` and `name`. Calls and
  tools that are no lists of functions are text of the turn that they are in.

  Args:
    turns: as the pool keeps them.
    arguments: whether those of a call are a `mapping` or its JSON `text`.
    marks: the value of `mark` for answers that are learnt (True) and for those
      that are not (False); None: answers have no mark.
    mark: the name under which an answer says whether it is learnt.

  Returns:
    The messages; and the tools, or None.

  >>> turns = [records.Turn("user", "1 + 1?"), records.Turn("assistant", "2")]
  >>> uniform(turns, marks={True: 1, False: 0}, mark="weight")[0][1]
  {'role': 'assistant', 'content': '2', 'weight': 1}
  """
  able = messages_lib.Abilities(
    system=True, tools=True, tool=True, thought=True, calls=arguments
  )
  adapted = [turn for _, turn in messages_lib.adapt(turns, able)]
  said, tools = messages_lib.make(adapted, able)
  spoken = [turn for turn in adapted if turn.role != "tools"]
  for message, turn in zip(said, spoken, strict=True):
    if "tool_calls" in message:
      message["tool_calls"] = [
        {"type": "function", **call} for call in message["tool_calls"]
      ]
    if marks is not None and turn.role == "assistant":
      message[mark] = marks[turn.is_learnt]
  return said, tools


def _row(
  example: example_lib.Example,
  said: list[dict[str, Any]],
  tools: list[dict[str, Any]] | None,
) -> dict[str, Any]:
  row: dict[str, Any] = {"messages": said}
  if tools:
    # As text: a column of objects would be filled up with nulls.
    row["tools"] = rows.json_text(tools)
  return row | {"id": example.id, "rank": example.rank}


def trl(example: example_lib.Example) -> dict[str, Any]:
  """A row for TRL's SFTTrainer: arguments of calls are objects.

  Raises:
    records.Reject: an answer is not learnt.
  """
  example_lib.check_all_learnt(example.turns)
  return _row(example, *uniform(example.turns, arguments="mapping"))


def axolotl(example: example_lib.Example) -> dict[str, Any]:
  """A row for Axolotl: every answer says in `train` whether it is learnt."""
  marks = {True: True, False: False}
  return _row(example, *uniform(example.turns, marks=marks))


def axolotl_config(folder: str, file: str) -> str:
  """The part of a config of Axolotl that names the data, as YAML.

  >>> print(axolotl_config("/data/mine", "train.jsonl").splitlines()[1])
    - path: "/data/mine/train.jsonl"
  """
  path = rows.json_text(f"{folder}/{file}")
  return f"""datasets:
  - path: {path}
    ds_type: json
    type: chat_template
    field_messages: messages
    field_tools: tools
    # An answer of `train: false` has no loss, nor has what is no answer.
    message_field_training: train
    roles_to_train: ["assistant"]
    train_on_eos: turn
"""
