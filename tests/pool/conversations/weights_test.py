"""Weights in messages and in lists beside them say which answers are learnt."""

import pytest

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import weights
from ila_jax.pool.shapes import fields, turns

U, A = "user", "assistant"
MESSAGES = [
  {"role": role, "content": text}
  for role, text in ((U, "a"), (A, "b"), (U, "c"), (A, "d"))
]
TEXT = "USER: a ASSISTANT: b USER: c ASSISTANT: d"
CONVERSATIONS = (
  {"messages": MESSAGES},
  {"messages": ["a", "b", "c", "d"]},
  {"messages": [["human", "a"], ["gpt", "b"], ["human", "c"], ["gpt", "d"]]},
  {"messages": [["a", "b"], ["c", "d"]]},
  {"conversation": {"system": "", "messages": MESSAGES}},
  {"text": TEXT},
  {"turn_1": "a", "turn_2": "b", "turn_3": "c", "turn_4": "d"},
)


def learnt(record):
  notes = unread.Notes()
  read = fields.resolve(record, fields.Fields())
  said = turns.to_turns(record, read, notes=notes)
  assert notes.weights and not notes.unread
  return [turn.is_learnt for turn in said if turn.role == "assistant"]


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize(
  ("name", "values"),
  [
    ("weights", [0, 0, 0, 1]),
    ("weights", "[0, 0, 0, 1]"),
    ("weights", "[0 0 0 1]"),
    ("weights", "0,0,0,1"),
    ("loss_weights", ["0.0", "0.0", "0.0", "1.0"]),
    ("train_mask", [False, False, False, True]),
    ("trainMask", "[False, False, False, True]"),
    ("loss_scale", [0.0, 0.0, 0.0, 1.0]),
    ("should_train", ["no", "no", "no", "yes"]),
    ("ignore_loss", [1, 1, 1, 0]),
    ("is_masked", [True, True, True, False]),
  ],
)
def test_lists_beside_messages_are_followed(conversation, name, values):
  assert learnt(conversation | {name: values}) == [False, True]


def test_a_list_in_the_object_of_the_messages_is_followed():
  talk = {"messages": MESSAGES, "weights": [1, 1, 1, 0]}
  assert learnt({"conversation": talk}) == [True, False]


def test_a_list_may_have_a_weight_for_each_pair():
  pairs = [{"user": "a", "assistant": "b"}, {"user": "c", "assistant": "d"}]
  assert learnt({"messages": pairs, "weights": [0, 1]}) == [False, True]


@pytest.mark.parametrize(
  ("name", "values", "reason"),
  [
    ("weights", [0, 0, 1], "weights and messages differ in number"),
    ("loss_mask", [0, 1], "weights and messages differ in number"),
    ("mask", [1, 1, 1, 0], "a list of masks may mean either"),
    ("weights", "[0, x, 0, 1]", "weight is no number of at least 0"),
    ("weights", "[1, -1, 1, 1]", "weight is no number of at least 0"),
    ("loss_mask", [[0, 1], [1, 1]], "parts of an answer have weights"),
    ("weights", [0, 0, 0, 0], "no answer is learnt"),
  ],
)
def test_lists_that_cannot_be_followed(name, values, reason):
  with pytest.raises(records.Reject, match=reason):
    learnt({"messages": MESSAGES, name: values})


@pytest.mark.parametrize("values", [[0, 1], [1, 0, 1], "[0 1]"])
def test_a_mask_of_parts_of_one_answer_is_refused(values):
  record = {"prompt": "q", "response": "a", "loss_mask": values}
  with pytest.raises(records.Reject, match="differ in number"):
    learnt(record)


def test_a_list_of_losses_is_no_list_of_weights():
  notes = unread.Notes()
  assert weights.listed({"loss": [0, 1.5]}, notes) == []


@pytest.mark.parametrize(
  ("name", "value"),
  [
    *(("is_masked", True), ("no_train", "yes"), ("do_train", False)),
    *(("learnable", "0.0"), ("loss_scale", 0), ("train_mask", "no")),
  ],
)
def test_names_in_a_message(name, value):
  masked = [*MESSAGES[:1], {**MESSAGES[1], name: value}, *MESSAGES[2:]]
  assert learnt({"messages": masked}) == [False, True]
