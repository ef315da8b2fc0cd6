"""Questions, answers and choices as well-known data sets have them."""

import pytest

from ila_jax.pool import records, unread
from ila_jax.pool.shapes import fields, turns

MESSAGES = [
  {"role": "user", "content": "a"},
  {"role": "assistant", "content": "b"},
  {"role": "user", "content": "c"},
  {"role": "assistant", "content": "d"},
]
SIQA = {
  "context": "C",
  "question": "Q",
  "answerA": "x",
  "answerB": "y",
  "answerC": "z",
}
PIQA = {"goal": "G", "sol1": "x", "sol2": "y"}


def read(record, notes=None):
  return turns.to_turns(
    record, fields.resolve(record, fields.Fields()), notes=notes
  )


@pytest.mark.parametrize(
  ("record", "asked", "answered"),
  [
    # SciQ, TruthfulQA, HumanEval, PubMedQA.
    (
      {"question": "Q", "distractor1": "n", "correct_answer": "y"},
      *("Q", "y"),
    ),
    (
      {
        "question": "Q",
        "best_answer": "y",
        "correct_answers": ["y"],
        "incorrect_answers": ["n"],
      },
      *("Q", "y"),
    ),
    ({"prompt": "def f():", "canonical_solution": " y"}, "def f():", " y"),
    (
      {"question": "Q", "long_answer": "y", "final_decision": "yes"},
      *("Q", "y"),
    ),
    ({"source": "Hallo", "target": "hello"}, "Hallo", "hello"),
    (
      {"prompt": "Q", "chosen_response": "y", "rejected_response": "n"},
      *("Q", "y"),
    ),
    ({"prompt": "Q", "best_response": "y"}, "Q", "y"),
    (
      {
        "items": [
          {"from": "human", "value": "Q"},
          {"from": "gpt", "value": "y"},
        ]
      },
      *("Q", "y"),
    ),
    (
      {
        "conversation": [
          {"speaker": "user", "utterance": "Q"},
          {"speaker": "assistant", "utterance": "y"},
        ]
      },
      *("Q", "y"),
    ),
    (
      {
        "messages": [
          {"sender": "user", "text": "Q"},
          {"sender": "assistant", "text": "y"},
        ]
      },
      *("Q", "y"),
    ),
    # SIQA counts from 1, PIQA from 0.
    ({**SIQA, "label": "1"}, "Q\n\nC\n\nA. x\nB. y\nC. z", "A"),
    ({**SIQA, "label": 3}, "Q\n\nC\n\nA. x\nB. y\nC. z", "C"),
    ({**PIQA, "label": 0}, "G\n\nA. x\nB. y", "A"),
    ({**PIQA, "label": 1}, "G\n\nA. x\nB. y", "B"),
    # AQuA has the labels in its options.
    (
      {"question": "Q", "options": ["A)21", "B)22"], "correct": "B"},
      *("Q\n\nA. 21\nB. 22", "B"),
    ),
    (
      {"question": "Q", "options": ["A.I.", "love"], "answer": "A"},
      *("Q\n\nA. A.I.\nB. love", "A"),
    ),
    (
      {"question": "Q", "choices": ["yes", "no"], "answer": True},
      *("Q\n\nA. yes\nB. no", "yes"),
    ),
    (
      {"question": "Q", "choices": ["x", "y"], "correct_answer_id": 1},
      *("Q\n\nA. x\nB. y", "B"),
    ),
  ],
)
def test_shapes(record, asked, answered):
  assert [turn[:2] for turn in read(record)] == [
    ("user", asked),
    ("assistant", answered),
  ]


@pytest.mark.parametrize(
  ("record", "reason"),
  [
    ({**SIQA, "label": "0"}, "answer is none of the choices"),
    ({**PIQA, "label": -1}, "answer is none of the choices"),
    ({"items": [{"price": 1}], "total": 1}, "no known record shape"),
    ({"source": "web", "target": 1}, "no known record shape"),
    *(
      ({name: "x", "source": "web", "target": "b"}, "no known record shape")
      for name in ("text", "sentence", "content", "Translation", "review")
    ),
    ({"messages": MESSAGES, "loss_mask": [0, 1]}, "differ in number"),
    ({"messages": MESSAGES, "weights": [0, 0, 0, 0]}, "no answer is learnt"),
    ({"messages": MESSAGES, "weights": [0, "x", 0, 1]}, "weight is no number"),
    ({"prompt": "a", "response": "b", "ignore_loss": True}, "is learnt"),
    ({"prompt": "a", "response": "b", "should_train": False}, "is learnt"),
  ],
)
def test_rejects(record, reason):
  with pytest.raises(records.Reject, match=reason):
    read(record)


@pytest.mark.parametrize(
  ("name", "value"),
  [
    *(("output_with_loss", False), ("should_train", False)),
    *(("train_on_turn", False), ("ignore_loss", True), ("ignoreLoss", 1)),
  ],
)
def test_names_that_say_not_learnt(name, value):
  masked = [*MESSAGES[:1], {**MESSAGES[1], name: value}, *MESSAGES[2:]]
  notes = unread.Notes()
  said = read({"messages": masked}, notes)
  assert [turn.is_learnt for turn in said] == [True, False, True, True]
  assert notes.weights == {unread.plain_name(name)} and not notes.unread


@pytest.mark.parametrize(
  "name", ["weights", "loss_mask", "loss_masks", "lossWeights", "train"]
)
def test_weights_beside_messages_stand_for_one_each(name):
  notes = unread.Notes()
  said = read({"messages": MESSAGES, name: [0, 0, 0, 1]}, notes)
  assert [turn.is_learnt for turn in said] == [True, False, True, True]
  assert notes.weights and not notes.unread


def test_weights_of_a_record_and_of_a_message_both_hold():
  masked = [*MESSAGES[:3], {**MESSAGES[3], "weight": 0}]
  said = read({"messages": masked, "weights": [0, 1, 0, 1]})
  assert [turn.is_learnt for turn in said] == [True, True, True, False]
