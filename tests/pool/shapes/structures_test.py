"""Structures in the cells of a table are read as what they are."""

import json

import numpy as np
import pytest

from ila_jax.pool import records
from ila_jax.pool.shapes import fields, turns

ASKED = {"content": 'it\'s "P"', "role": "user"}
MESSAGES = [ASKED, {"content": "good } {", "role": "assistant"}]


def read(record):
  said = turns.to_turns(record, fields.resolve(record, fields.Fields()))
  return [turn.text for turn in said]


def numpy_form(value):
  return str(np.array(value, dtype=object))


@pytest.mark.parametrize("form", [json.dumps, str, numpy_form])
def test_messages_in_a_cell(form):
  expected = [message["content"] for message in MESSAGES]
  prompt, whole = MESSAGES[0]["content"], form(MESSAGES)
  assert read({"prompt": prompt, "chosen": whole}) == expected
  assert read({"conversation": whole}) == expected
  assert read({"prompt": form([ASKED]), "response": "A"}) == [prompt, "A"]


@pytest.mark.parametrize(
  "text",
  [
    '{"text": ["a1"], "answer_start": [5]}',
    "{'text': array(['a1'], dtype=object), 'answer_start': array([5])}",
    "['a1', 'a2']",
    "['a1' 'a2']",
    '["a1", "a2"]',
  ],
)
def test_answers_in_a_cell(text):
  assert read({"question": "q", "answers": text}) == ["q", "a1"]


@pytest.mark.parametrize(
  "text",
  [
    *("[1, 2]", '{"a": 1}', '["a", "b"]', "[]", "{}", "[x] {y}"),
    *('[{"role": "nurse", "shift": 1}]', '[{"role": "user"}]', '{"role": 1}'),
  ],
)
@pytest.mark.parametrize("name", ["output", "completion", "answer"])
def test_an_answer_that_is_json_stays_text(name, text):
  assert read({"instruction": "q", name: text}) == ["q", text]


def test_numbers_under_a_plural_name_stay_text():
  assert read({"question": "q", "answers": "[1, 2]"}) == ["q", "[1, 2]"]


def test_messages_that_are_part_of_a_prompt_stay_text():
  text = json.dumps(MESSAGES)
  record = {"instruction": "Sum up.", "input": text, "output": "y"}
  assert read(record) == [f"Sum up.\n\n{text}", "y"]
  assert read({"question": "Q", "context": text, "answer": "y"})[1] == "y"


def beside(form, asked, *answers):
  names = ("prompt", "response_a", "response_b")
  held = zip(names, map(form, (asked, *answers)), strict=False)
  return {**dict(held), "winner_model_a": 0, "winner_model_b": 1}


@pytest.mark.parametrize("form", [json.dumps, str])
@pytest.mark.parametrize("size", [1, 2])
def test_questions_in_one_cell_and_answers_in_others(form, size):
  asked, bad, good = (["q", "r"][:size], ["x", "y"][:size], ["a", "b"][:size])
  expected = ["q", "a", "r", "b"][: 2 * size]
  assert read(beside(form, asked, bad, good)) == expected
  pair = {"chosen": form(good), "rejected": form(bad), "history": [["p", "o"]]}
  assert read({"question": form(asked)} | pair) == ["p", "o", *expected]


@pytest.mark.parametrize(
  "record",
  [
    beside(json.dumps, ["q", "r"], ["x", "y"], ["a"]),
    {"prompt": '["q", "r"]', "response": '["a", "b"]'},
    {"prompt": ["q", "r"], "chosen": ["a", "b"], "rejected": ["x", "y"]},
  ],
)
def test_lists_of_questions_that_may_be_something_else_are_refused(record):
  with pytest.raises(records.Reject, match="prompt is a list of texts"):
    read(record)


@pytest.mark.parametrize(
  "beside",
  [
    *({"system": "Sort."}, {"instruction": "Sort.", "prompt": None}),
    *({"context": "A list."}, {"prompt": "Sort b, a."}, {"output": "a, b"}),
  ],
)
def test_a_task_about_lists_stays_text(beside):
  record = {"input": None, "prompt": '["b", "a"]', "output": '["a", "b"]'}
  record |= {"input": '["b", "a"]'} if "instruction" in beside else {}
  assert read(record | beside)[-1] == (record | beside)["output"]
  inputs = {"input": '["b", "a"]', "output": '["a", "b"]'}
  assert read(inputs) == [*inputs.values()]


@pytest.mark.parametrize("text", ["[]", "{}", "[None]", "[ null ]", "['']"])
@pytest.mark.parametrize("name", ["answers", "completions", "responses"])
def test_a_text_that_writes_no_answer_is_none(name, text):
  with pytest.raises(records.Reject, match="empty response"):
    read({"question": "q", name: text})


@pytest.mark.parametrize("form", [json.dumps, str])
def test_one_message_in_a_cell(form):
  ask, reply = (
    {"role": "user", "content": "q"},
    {"from": "gpt", "value": "r"},
  )
  for name in ("chosen", "response"):
    assert read({"prompt": form(ask), name: form(reply)}) == ["q", "r"]
  said = {"messages": [ask], "chosen": form(reply), "rejected": form(reply)}
  assert read(said) == ["q", "r"]
  # A message of the other side is what was asked for.
  assert read({"prompt": "q", "response": form(ask)}) == ["q", form(ask)]
  assert read({"prompt": form(reply), "response": "r"}) == [form(reply), "r"]


@pytest.mark.parametrize("form", [json.dumps, str])
def test_messages_in_a_cell_each(form):
  ask = form({"role": "user", "content": "q"})
  reply = form({"role": "assistant", "content": "r"})
  for whole in ([ask, reply], json.dumps([ask, reply])):
    assert read({"messages": whole}) == ["q", "r"]
  assert read({"data": {"messages": [ask, reply]}}) == ["q", "r"]
  assert read({"prompt": "q", "completions": [reply, reply]}) == ["q", "r"]


def test_texts_in_turn_may_be_json():
  said = ['{"a": 1}', '{"b": 2}']
  assert read({"messages": said}) == said
