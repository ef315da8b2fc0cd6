"""OpenAI's lines: the fields that its documentation has, and no others."""

import json

import pytest

from ila_jax.export import openai
from ila_jax.pool import records
from tests.support import selected_run

EXAMPLES = {one.source: one for one in selected_run.examples()}
# What the documentation of fine-tuning allows, by role.
FIELDS = {
  "system": {"role", "content"},
  "user": {"role", "content"},
  "assistant": {"role", "content", "tool_calls", "weight"},
  "tool": {"role", "content", "tool_call_id"},
}


@pytest.mark.parametrize("name", [n for n in EXAMPLES if n != "thought"])
def test_the_fields_are_those_that_are_documented(name):
  row = openai.row(EXAMPLES[name])
  assert set(row) <= {"messages", "tools"}
  called = {}
  for message in row["messages"]:
    assert set(message) <= FIELDS[message["role"]]
    assert isinstance(message.get("content", ""), str)
    assert message.get("weight", 0) == 0
    for call in message.get("tool_calls", []):
      assert set(call) == {"id", "type", "function"}
      assert set(call["function"]) == {"name", "arguments"}
      assert isinstance(json.loads(call["function"]["arguments"]), dict)
      called[call["id"]] = call
    if message["role"] == "tool":
      assert message["tool_call_id"] in called


def test_what_is_not_learnt_has_weight_0():
  said = openai.row(EXAMPLES["masked"])["messages"]
  assert [message.get("weight") for message in said] == [None, 0, None, None]


def test_calls_without_ids_are_given_some():
  said = openai.row(EXAMPLES["no_ids"])["messages"]
  assert said[1]["tool_calls"][0]["id"] == said[2]["tool_call_id"] == "call_1"


def test_each_answer_goes_to_its_call():
  calls = '[{"id": "a", "name": "add"}, {"name": "sub"}, {"name": "add"}]'
  turns = [
    records.Turn("user", "Go"),
    records.Turn("assistant", "", calls=calls),
    records.Turn("tool", "third", name="add"),
    records.Turn("tool", "first", call_id="a"),
    records.Turn("tool", "second"),
    records.Turn("assistant", "Done"),
  ]
  turns[2], turns[3] = turns[3], turns[2]
  said = openai.row(EXAMPLES["plain"]._replace(turns=turns))["messages"]
  ids = [call["id"] for call in said[1]["tool_calls"]]
  assert ids == ["a", "call_2", "call_3"]
  answered = {m["content"]: m["tool_call_id"] for m in said[2:5]}
  assert answered == {"first": "a", "third": "call_3", "second": "call_2"}


def _call(text, *rest):
  return [
    records.Turn("user", "Go"),
    records.Turn("assistant", "", calls=text),
    *rest,
    records.Turn("assistant", "Done"),
  ]


ANSWER = records.Turn("tool", "ok")
REFUSED = {
  "reasoning": EXAMPLES["thought"].turns,
  "no function with arguments": _call('[{"nothing": 1}]', ANSWER),
  "has no answer of a tool": _call('[{"name": "add"}]'),
  "answers no call": _call('[{"name": "add"}]', ANSWER, ANSWER),
  "not of letters, digits": _call('[{"name": "a b"}]', ANSWER),
  "no list of functions": [
    records.Turn("tools", "add: adds"),
    *EXAMPLES["plain"].turns,
  ],
  "a field that the format has not": [
    records.Turn("tools", '[{"name": "add", "cost": 1}]'),
    *EXAMPLES["plain"].turns,
  ],
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_has_no_field_is_refused_by_record(why):
  with pytest.raises(records.Reject, match=why):
    openai.row(EXAMPLES["plain"]._replace(turns=REFUSED[why]))
