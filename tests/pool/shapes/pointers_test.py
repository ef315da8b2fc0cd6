"""A field that names an answer in another field is no answer."""

import pytest

from ila_jax.pool import records, unread
from ila_jax.pool.shapes import fields, turns

LETTERS = {"response_a": "y", "response_b": "n"}
FROM_0 = {"response_0": "y", "response_1": "n"}
FROM_1 = {"answer_1": "y", "answer_2": "n"}
NAMES = (
  *("chosen", "winner", "preferred", "best", "better_response_id"),
  *("best_response", "chosen_response", "preferred_model", "Winner"),
)


def answered(record, notes=None):
  record = {"prompt": "P", **record}
  read = fields.resolve(record, fields.Fields())
  return turns.to_turns(record, read, notes=notes)[-1].text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
  ("answers", "value"),
  [
    *((LETTERS, said) for said in ("response_a", "Response A", "A", "(a)")),
    *((LETTERS, said) for said in ("model_a", "assistant a", "y", " y ")),
    *((FROM_0, said) for said in (0, "0", 0.0, "0.0", "response_0")),
    *((FROM_1, said) for said in ("answer_1", "answer 1", "model_1", "y")),
    *(({"responses": ["y", "n"]}, said) for said in (0, "0.0", "A", "y")),
    ({"responses": [{"text": "y", "id": "g"}, {"text": "n"}]}, "g"),
  ],
)
def test_the_named_answer_is_learnt(name, answers, value):
  notes = unread.Notes()
  for record in ({**answers, name: value}, {name: value, **answers}):
    assert answered(record, notes) == "y"
  assert notes.unread == {f"all of `{', '.join(answers)}` but one"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
  ("answers", "value"),
  [
    *((LETTERS, said) for said in ("tie", "Both", "response_c", "model_c")),
    # From 0 or from 1: no record says which.
    *((LETTERS, said) for said in (0, 1, 2, "1")),
    *((FROM_1, said) for said in (0, 1, 2, "1", "2.0")),
    *((FROM_0, said) for said in (2, -1, "A")),
    *(({"responses": ["y", "n"]}, said) for said in (2, "tie", "C")),
    ({"response_a": "y", "response_b": None}, "response_b"),
  ],
)
def test_what_names_none_is_a_reject(name, answers, value):
  with pytest.raises(records.Reject, match=r"named answer is|empty response"):
    answered({**answers, name: value})


@pytest.mark.parametrize(
  "record",
  [
    {**LETTERS, "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0},
    {**FROM_0, "better_response_id": 0, "safer_response_id": 1},
    {**LETTERS, "preference": "A"},
    {**LETTERS, "chosen": ["response_a"]},
    {"responses": {"a": "y", "b": "n"}, "chosen": "a"},
    {"responses": ["y", "n"], "response": "A"},
    {"answers": [{"text": "n"}, {"text": "y"}], "answer": "answer b"},
    {"answers": ["n", "y"], "answer": "y"},
    {"responses": {"model_a": "y", "model_b": "n"}, "chosen": "A"},
    {"responses": {"gpt-4": "y", "llama": "n"}, "chosen": "gpt-4"},
    {"gpt4_response": "y", "llama_response": "n", "chosen": "gpt4_response"},
    {"response_b": "y", "chosen": "response_b"},
    {"answer_a": "n", "answer_b": "y", "answer": "answer_b"},
    {"answer_a": "n", "answer_b": "y", "answer": "B"},
    {**LETTERS, "chosen": "response_a", "rejected": "response_b"},
    {**LETTERS, "model_a": "m", "model_b": "w", "winner": "model_a"},
    # An answer as such, beside others.
    {**LETTERS, "chosen": "y", "rejected": "n"},
    {"answer_1": "n", "answer_2": "m", "correct_answer": "y"},
    {"answer_1": "n", "answer_2": "m", "response": "y"},
    {"responses": ["n", "m"], "chosen": "y", "rejected": "n"},
    {"chosen": "y", "rejected": "n"},
    {"chosen": "y", "rejected": "n", "winner": "chosen"},
    {"messages": [{"role": "user", "content": "P"}], **LETTERS, "chosen": "A"},
  ],
)
def test_preference_sets(record):
  assert answered(record) == "y"


@pytest.mark.parametrize(
  ("record", "reason"),
  [
    (LETTERS, "no known record shape"),
    ({**LETTERS, "label": "sports"}, "no answer is named"),
    ({**LETTERS, "winner_model_a": 0, "winner_tie": 1}, "none of the answers"),
    ({**LETTERS, "winner_a": 0, "winner_b": 0}, "no answer is named"),
    ({**LETTERS, "chosen": "A", "winner": "B"}, "name different answers"),
    ({"responses": ["a", "b"], "chosen": 0, "best": "b"}, "different answers"),
    ({**LETTERS, "chosen": "y", "winner": "tie"}, "none of the answers"),
    ({**LETTERS, "best_response": "first"}, "none of the answers"),
    ({**LETTERS, "chosen": "left", "rejected": "right"}, "none of the answers"),
    ({"responses": {"a": "y", "b": "n"}, "chosen": "c"}, "none of the answers"),
    ({"text_a": "y", "text_b": "n", "chosen": "text_a"}, "none of the answers"),
    ({"chosen": 1}, "named answer is none of the answers"),
  ],
)
def test_rejects(record, reason):
  with pytest.raises(records.Reject, match=reason):
    answered(record)


def test_a_letter_or_a_number_may_be_the_answer():
  assert answered({"chosen": "B", "rejected": "A"}) == "B"
  assert answered({"chosen": 4, "rejected": 5}) == "4"
  assert answered({"answer": "7", "answers": ["seven", "VII"]}) == "7"
  assert answered({"choices": ["x", "z"], "chosen": 1}) == "B"
