"""An object in a conversation is read as a record of its fields is read."""

import pytest

from ila_jax.pool import records, unread
from ila_jax.pool.exchanges import pairs
from ila_jax.pool.shapes import fields, turns

U, A, S = "user", "assistant", "system"


def read(record, notes=None, **options):
  read_as = fields.resolve(record, fields.Fields())
  said = turns.to_turns(record, read_as, notes=notes, **options)
  return [(turn.role, turn.text, turn.thought) for turn in said]


FLAT = (
  {"instruction": "I", "input": "i", "output": "o"},
  {"instruction": "I", "input": "<noinput>", "output": "o", "hint": "h"},
  {"prompt": "p", "context": "c", "response": "r"},
  {"prompt": "p", "response": "r", "system": "s"},
  {"question": "q", "answer": "a", "reasoning": "I add them up."},
  {"question": "q", "choices": ["x", "y"], "answer": 1},
  {"question": "q", "A": "x", "B": "y", "answer": "B"},
  {"question": "q", "opa": "x", "opb": "y", "cop": 0},
  {"question": "q", "answer": ["a", "b"]},
  {"question": "q", "answers": {"text": ["a", "b"]}, "author": "Jo"},
  {"question": "q", "solution": "long", "answer": "short"},
  {"question": "q", "answer": "a", "history": [["q0", "a0"]]},
  {"prompt": "p", "chosen": "good", "rejected": "bad", "answer": "4"},
  {"prompt": "p", "response_a": "x", "response_b": "y", "winner": "b"},
  {"prompt": "p", "responses": [{"text": "x"}, {"text": "y", "best": True}]},
  {"Question": "q", "Answer": 4, "article": 17},
  {"instruction": "I", "instances": [{"input": "i", "output": "o"}]},
)


@pytest.mark.parametrize("record", FLAT)
@pytest.mark.parametrize("name", ["data", "messages", "dialogue", "chat"])
def test_a_record_in_an_object_or_a_list_is_read_as_the_record(record, name):
  notes = unread.Notes()
  expected = read(record, notes)
  told = {n if " " in n else f"messages.{n}" for n in notes.unread}
  forms = [record, [record]]
  if "author" in record:  # In a list it may be a message's.
    forms.pop()
  for held in forms:
    notes = unread.Notes()
    assert read({name: held}, notes) == expected
    assert notes.unread == told
  if forms[1:]:
    outer = {"prompt": "last", "response": "r", "history": [record]}
    assert read(outer)[: len(expected)] == expected


def test_records_in_a_list_follow_each_other():
  both = [FLAT[0], {"instruction": "J", "input": "", "output": "p"}]
  expected = [(U, "I\n\ni", ""), (A, "o", ""), (U, "J", ""), (A, "p", "")]
  numbered = {"turn_1": both[0], "turn_2": both[1]}
  for record in ({"conversations": both}, {"data": both}, numbered):
    assert read(record) == expected


def test_the_rule_for_several_answers_holds_within():
  record = {"question": "q", "answer": ["a", "longer"]}
  for held in (record, [record]):
    assert read({"data": held}, answers="longest")[-1][1] == "longer"
    with pytest.raises(records.Reject, match="several answers"):
      read({"data": held}, answers="reject")


@pytest.mark.parametrize(
  ("pair", "said"),
  [
    (
      {"user": [{"type": "text", "text": "q"}], "bot": ["a"]},
      [(U, "q", ""), (A, "a", "")],
    ),
    (
      {"user": "q", "bot": [{"type": "text", "text": t} for t in "ab"]},
      [(U, "q", ""), (A, "ab", "")],
    ),
    ({"user": ["q", "r"], "bot": "a"}, [(U, "q\n\nr", ""), (A, "a", "")]),
    (
      {"user": {"text": "q"}, "bot": {"parts": [{"text": "a"}]}},
      [(U, "q", ""), (A, "a", "")],
    ),
    ({"customer": "q", "agent": "a"}, [(U, "q", ""), (A, "a", "")]),
  ],
)
def test_what_only_a_conversation_has_is_read_as_before(pair, said):
  for held in (pair, [pair]):
    assert read({"conversation": held}) == said


def test_columns_of_pairs_are_pairs():
  record = {"data": {"user": ["q", "r"], "assistant": ["a", "b"]}}
  assert [text for _, text, _ in read(record)] == ["q", "a", "r", "b"]
  assert not pairs.is_record(record["data"])


@pytest.mark.parametrize(
  "verdict", [{"weight": 0}, {"mask": True}, {"is_correct": False}]
)
def test_one_pair_of_several_is_masked_and_a_single_one_is_a_reject(verdict):
  masked = {"question": "q", "answer": "a"} | verdict
  whole = {"question": "r", "answer": "b"}
  record = {"data": [masked, whole]}
  notes = unread.Notes()
  said = turns.to_turns(record, fields.detect(record), notes=notes)
  assert [turn.is_learnt for turn in said] == [True, False, True, True]
  assert notes.weights == {*verdict} and not notes.unread
  for held in (masked, [masked]):
    with pytest.raises(records.Reject, match="no answer is learnt"):
      read({"data": held})
  listed = {"data": [whole, whole], "weights": [0, 1]}
  said = turns.to_turns(listed, fields.detect(listed))
  assert [turn.is_learnt for turn in said] == [True, False, True, True]


def test_a_pair_without_its_answer_waits_for_one():
  open_pair = {"input": "q2", "output": None}
  record = {"conversation": [{"input": "q", "output": "a"}, open_pair]}
  said = read(record | {"chosen": "good", "rejected": "bad"})
  assert [text for _, text, _ in said] == ["q", "a", "q2", "good"]
  with pytest.raises(records.Reject, match="empty response"):
    read({"conversation": [{"input": "q", "output": ""}]})


def test_tools_stand_in_the_record_or_in_its_only_object():
  held = {"question": "q", "answer": "a", "tools": [{"name": "f"}]}
  assert [role for role, *_ in read({"data": held})] == ["tools", U, A]
  for record in (
    {"data": [held, held]},
    {"data": held, "tools": [{"name": "g"}]},
  ):
    notes = unread.Notes()
    said = read(record, notes)
    assert notes.unread == {"tools of a pair"}
    assert sum(role == "tools" for role, *_ in said) == ("tools" in record)
