"""Turns in numbered fields keep their roles where some are empty."""

import pytest

from ila_jax.pool import records
from ila_jax.pool.shapes import fields, turns

U, A = "user", "assistant"
BLANKS = (None, "", " ", float("nan"))


def read(record, **configured):
  found = fields.resolve(record, fields.Fields(**configured))
  return [turn[:2] for turn in turns.to_turns(record, found)]


def numbered(name, first, *said):
  return {name.format(first + i): text for i, text in enumerate(said)}


@pytest.mark.parametrize("name", ["turn_{}", "turn{}", "message_{}", "Turn {}"])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("blank", BLANKS)
def test_an_empty_answer_moves_no_role(name, first, blank):
  expected = [(U, "a"), (U, "c"), (A, "d")]
  assert read(numbered(name, first, "a", blank, "c", "d")) == expected


def test_a_missing_answer_moves_no_role():
  record = {"turn_4": "d", "turn_1": "a", "turn_3": "c"}
  assert read(record) == [(U, "a"), (U, "c"), (A, "d")]
  record = {"turn_10": "d", "turn_9": "c", "turn_1": "a", "turn_2": "b"}
  assert read(record) == [(U, "a"), (A, "b"), (U, "c"), (A, "d")]


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize(
  ("said", "empty"),
  [
    ((0, "b", "c", "d"), "turn_1"),
    (("a", "b", 0, "d"), "turn_3"),
    (("a", "b", 0, 0, 0, "f"), "turn_5"),
  ],
)
def test_an_answer_to_an_empty_question_is_a_reject(blank, said, empty):
  record = numbered("turn_{}", 1, *(text or blank for text in said))
  with pytest.raises(records.Reject, match="a turn is empty") as caught:
    read(record)
  assert caught.value.detail == f"{empty}: {record[empty]!r}"
  del record[empty]
  with pytest.raises(records.Reject, match="a turn is empty"):
    read(record)


def test_empty_turns_at_the_end_are_no_turns():
  said = read(numbered("turn_{}", 1, "a", "b", None, ""))
  assert said == [(U, "a"), (A, "b")]


def test_turns_that_name_their_roles_have_them():
  record = {"turn_1": "User: a", "turn_2": None, "turn_3": "Assistant: b"}
  assert read(record) == [(U, "a"), (A, "b")]
  said = [{"role": U, "content": "a"}, None, {"role": A, "content": "b"}]
  assert read(numbered("turn_{}", 1, *said)) == [(U, "a"), (A, "b")]


def test_configured_fields_have_their_roles_by_order():
  record = {"q1": "a", "a1": None, "q2": "c", "a2": "d"}
  path = "q1, a1, q2, a2"
  assert read(record, conversation=path) == [(U, "a"), (U, "c"), (A, "d")]
  with pytest.raises(records.Reject, match="a turn is empty") as caught:
    read(record | {"a1": "b", "q2": ""}, conversation=path)
  assert caught.value.detail == "q2: ''"


def test_a_number_is_a_turn():
  record = numbered("turn_{}", 1, "2 + 2?", 4)
  assert read(record) == [(U, "2 + 2?"), (A, "4")]
