"""What a record says of its answer, or of each of several, is followed."""

import pytest

from ila_jax.pool import records, unread
from ila_jax.pool.shapes import fields, turns


def read(record, notes=None):
  return turns.to_turns(
    record, fields.resolve(record, fields.Fields()), notes=notes
  )


ONE = {"prompt": "q", "response": "a"}


@pytest.mark.parametrize(
  "verdict",
  [
    *({"weight": "0.0"}, {"weight": 0.0}, {"should_train": "no"}),
    *({"should_train": 0}, {"trainable": False}, {"learn": "false"}),
    *({"is_masked": True}, {"ignoreLoss": 1}, {"loss_mask": 0}, {"mask": True}),
    *({"label": False}, {"label": "Incorrect"}, {"Label": "False"}),
    *({"kto_tag": "0.0"}, {"correctness": "incorrect"}, {"desirable": "wrong"}),
    *({"correctness": False}, {"correctness": "no"}),
    *({"label": "undesirable"}, {"desirable": False}, {"kto_tag": "0"}),
    *({"is_correct": False}, {"is_correct": 0}, {"correct": "false"}),
    *({"is_accepted": "no"}, {"loss": 0}, {"weights": [0, 0]}),
  ],
)
def test_a_record_that_is_not_to_be_learnt_is_rejected(verdict):
  with pytest.raises(records.Reject, match="no answer is learnt"):
    read(ONE | verdict)
  if "weights" in verdict:
    return
  for nested in (
    {"data": ONE | verdict},
    {"response": {"text": "a"} | verdict, "prompt": "q"},
    {"conversation": [{"user": "q", "assistant": "a"} | verdict]},
  ):
    with pytest.raises(records.Reject, match=r"is learnt|marked as right"):
      read(nested)


@pytest.mark.parametrize(
  "verdict",
  [
    *({"weight": "1.0"}, {"label": True}, {"label": "chosen"}),
    *({"kto_tag": 1}, {"should_train": "yes"}, {"correctness": "correct"}),
    *({"is_correct": True}, {"correct": 1}, {"ignore_loss": False}),
    *({"loss_mask": 1}, {"weights": [1, 1]}),
  ],
)
def test_a_record_that_is_to_be_learnt_says_so_without_a_word(verdict):
  notes = unread.Notes()
  assert read(ONE | verdict, notes)[-1].text == "a"
  assert notes.weights == set(verdict) and not notes.unread


@pytest.mark.parametrize(
  "field",
  [
    *({"label": 3}, {"label": "no"}, {"weight": 0.5}, {"loss": 1.25}),
    *({"correct": 4}, {"mask": False}, {"weight": -1}, {"loss": 1}),
    # Of a scale or a class: 0 of one record is not "false".
    *({"label": 0}, {"label": "0.0"}, {"label": 1}, {"label": "1"}),
    *({"correctness": 0}, {"correctness": "0"}, {"correctness": 1.0}),
  ],
)
def test_what_may_be_no_verdict_is_told(field):
  notes = unread.Notes()
  assert read(ONE | field, notes)[-1].text == "a"
  assert len(notes.unread) == 1 and not notes.weights


def test_what_names_a_choice_or_an_answer_is_no_verdict():
  question = {"question": "q", "choices": ["x", "y"], "answer": "B"}
  assert read(question | {"label": 0, "correct": 0})[-1].text == "B"
  several = {"question": "q", "answers": ["Yes", "No"]}
  assert read(several | {"correct": "No"})[-1].text == "No"
  assert read(several | {"label": 0})[-1].text == "Yes"
  sides = {"prompt": "q", "response_a": "x", "response_b": "y"}
  assert read(sides | {"winner": "b", "is_correct": 0})[-1].text == "y"
  named = {"prompt": "q", "response": "b", "responses": ["x", "y"], "label": 0}
  assert read(named)[-1].text == "y"


@pytest.mark.parametrize(
  ("beside", "expected"),
  [
    ({"is_correct": [0, 1]}, "b"),
    ({"is_correct": ["false", "true"]}, "b"),
    ({"correct": [False, True]}, "b"),
    ({"correctness": [1.0, 0.0]}, "a"),
    ({"chosen": [0, 1]}, "b"),
    ({"scores": [0.1, 0.9]}, "b"),
    ({"scores": ["0.1", "0.9"]}, "b"),
    ({"rewards": [-1, -3]}, "a"),
    ({"scores": [5, 5]}, "a"),
    ({"ranks": [2, 1]}, "b"),
    ({"rank": [0, 1]}, "a"),
    ({"ranking": [1, 0]}, "b"),
    ({"weights": [0, 1]}, "b"),
    ({"scores": [0.1, 0.9], "is_correct": [0, 1]}, "b"),
    ({"scores": [0.1, 0.9], "best_index": 1}, "b"),
  ],
)
def test_lists_beside_several_answers_are_followed(beside, expected):
  for answers in (["a", "b"], [{"text": "a"}, {"text": "b"}]):
    notes = unread.Notes()
    record = {"prompt": "q", "responses": answers} | beside
    if "chosen" in beside:
      record = {"prompt": "q", "response": answers} | beside
    assert read(record, notes)[-1].text == expected
    assert not notes.unread & {*beside}


def test_lists_in_the_object_of_the_answers_are_followed():
  answers = {"text": ["a", "b"], "score": [3, 9]}
  assert read({"question": "q", "answers": answers})[-1].text == "b"


@pytest.mark.parametrize(
  ("beside", "reason"),
  [
    ({"is_correct": [0, 0]}, "no answer is marked as right"),
    ({"scores": [9, 1], "is_correct": [0, 1]}, "fields name different answers"),
    ({"scores": [9, 1], "best_index": 1}, "fields name different answers"),
    ({"labels": [True, False]}, "answers may be steps of one"),
    ({"label": [1, 0]}, "answers may be steps of one"),
  ],
)
def test_lists_that_cannot_be_followed(beside, reason):
  with pytest.raises(records.Reject, match=reason):
    read({"prompt": "q", "completions": ["a", "b"]} | beside)


@pytest.mark.parametrize(
  "marks", [{"is_correct": ["x", "y"]}, {"rank": [None, 1]}]
)
def test_marks_in_the_object_of_the_answers_are_read_or_refused(marks):
  answers = {"text": ["a", "b"], "is_correct": [None, True]}
  notes = unread.Notes()
  assert read({"question": "q", "answers": answers}, notes)[-1].text == "b"
  assert "`is_correct` is missing in some of `answers`" in notes.unread
  with pytest.raises(records.Reject, match="mark of an answer cannot be read"):
    read({"question": "q", "answers": {"text": ["a", "b"]} | marks})


def test_answers_that_are_numbers_do_not_mark_themselves():
  assert read({"prompt": "q", "chosen": [0, 1]})[-1].text == "0"


def test_a_ranking_that_may_be_an_order_is_refused():
  record = {"prompt": "q", "responses": ["a", "b", "c"]}
  with pytest.raises(records.Reject, match="fields name different answers"):
    read(record | {"ranking": [2, 3, 1]})
  assert read(record | {"ranks": [2, 3, 1]})[-1].text == "c"


@pytest.mark.parametrize(
  "beside",
  [
    *({"scores": [1, 2, 3]}, {"lengths": [1, 2]}, {"scores": [1, None]}),
    {"rank": [True, False]},
  ],
)
def test_other_lists_change_nothing(beside):
  record = {"prompt": "q", "responses": ["a", "b"]} | beside
  assert read(record)[-1].text == "a"
