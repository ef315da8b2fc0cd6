"""Messages for TRL and Axolotl: calls as they take them, masks as they obey."""

import json

import pytest

from ila_jax.export import messages
from ila_jax.pool import records
from tests.support import selected_run

EXAMPLES = {one.source: one for one in selected_run.examples()}


def test_trl_gets_arguments_as_objects_and_tools_as_text():
  row = messages.trl(EXAMPLES["tools"])
  (call,) = row["messages"][1]["tool_calls"]
  assert call["type"] == "function"
  assert call["function"] == {"name": "add", "arguments": {"x": 1, "y": "é"}}
  assert json.loads(row["tools"])[0]["function"]["name"] == "add"
  (call,) = messages.trl(EXAMPLES["no_ids"])["messages"][1]["tool_calls"]
  assert call["function"]["arguments"] == {"to": [1]}


def test_axolotl_gets_arguments_as_text():
  (call,) = messages.axolotl(EXAMPLES["tools"])["messages"][1]["tool_calls"]
  assert json.loads(call["function"]["arguments"]) == {"x": 1, "y": "é"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_axolotl_is_told_of_every_answer_whether_it_is_learnt(name):
  said = messages.axolotl(EXAMPLES[name])["messages"]
  turns = [turn for turn in EXAMPLES[name].turns if turn.role != "tools"]
  for message, turn in zip(said, turns, strict=True):
    expected = turn.is_learnt if turn.role == "assistant" else None
    assert message.get("train") is expected


def test_trl_is_not_given_what_it_would_learn():
  with pytest.raises(records.Reject, match="not learnt"):
    messages.trl(EXAMPLES["masked"])


def test_thoughts_and_texts_are_as_they_were():
  said = messages.trl(EXAMPLES["thought"])["messages"]
  assert said[1]["reasoning_content"] == "easy"
  assert said[1]["content"] == "4"
  assert "train" not in said[1]


def test_what_is_no_call_is_text_of_its_turn():
  turns = [
    records.Turn("user", "Hi"),
    records.Turn("assistant", "x", calls="{"),
  ]
  said, tools = messages.uniform(turns)
  assert said[1] == {"role": "assistant", "content": "x\n{"}
  assert tools is None


def test_the_config_of_axolotl_reads_the_marks():
  yaml = pytest.importorskip("yaml")
  text = messages.axolotl_config("/a b/'c", "train.jsonl")
  (data,) = yaml.safe_load(text)["datasets"]
  assert data["path"] == "/a b/'c/train.jsonl"
  assert data["message_field_training"] == "train"
  assert data["roles_to_train"] == ["assistant"]
