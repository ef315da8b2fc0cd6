"""Choices and answers in the forms of known benchmarks."""

import pytest

from ila_jax.pool import records
from ila_jax.pool.shapes import choices, fields, turns

PETS = [("A", "dog"), ("B", "cat")]


@pytest.mark.parametrize(
  ("value", "expected"),
  [
    (["dog", "cat"], PETS),
    (["A. dog", "B. cat"], PETS),
    (["(A) dog", "(B) cat"], PETS),
    ('["dog", "cat"]', PETS),
    ("['dog', 'cat']", PETS),
    ("['dog' 'cat']", PETS),
    ('{"A": "dog", "B": "cat"}', PETS),
    ("A) dog B) cat", PETS),
    ("A. dog\nB. cat\n", PETS),
    ("(A) dog; (B) cat", PETS),
    ("a ) 38 , b ) 27.675", [("a", "38"), ("b", "27.675")]),
    ({"text": ["dog", "cat"], "label": ["A", "B"]}, PETS),
    (
      {"label": ["1", "2"], "text": ["dog", "cat"]},
      [("1", "dog"), ("2", "cat")],
    ),
    ({"text": ["dog", "cat"]}, PETS),
    ([{"key": "A", "text": "dog"}, {"key": "B", "text": "cat"}], PETS),
    ([1.5, True], [("A", "1.5"), ("B", "true")]),
    ("", []),
    (None, []),
  ],
)
def test_forms(value, expected):
  assert choices.of({"options": value}, "options") == expected


@pytest.mark.parametrize(
  "value", ["dog or cat", "[dog", 3, {"text": ["a"], "label": []}]
)
def test_no_choices(value):
  with pytest.raises(records.Reject, match="choices are no list of texts"):
    choices.of({"options": value}, "options")


NUMBERS = [("A", "0"), ("B", "4"), ("C", "1"), ("D", "6")]


@pytest.mark.parametrize(
  ("value", "found", "expected"),
  [
    ("B", PETS, "B"),
    ("cat", PETS, "cat"),
    (1, PETS, "B"),
    (0.0, PETS, "A"),
    ("1", PETS, "B"),
    (" 0 ", PETS, "A"),
    (True, [("A", "yes"), ("B", "no")], "yes"),
    (False, [("A", "True"), ("B", "False")], "False"),
    ("a cat.", PETS, "a cat."),
    ("2", [("1", "dog"), ("2", "cat")], "2"),
    (0, NUMBERS, "A"),
    (3, NUMBERS, "D"),
    (6, NUMBERS, 6),
    (7, [], 7),
  ],
)
def test_answers(value, found, expected):
  assert choices.answer(value, found) == expected


@pytest.mark.parametrize(
  ("value", "found", "reason"),
  [
    (2, PETS, "answer is none of the choices"),
    (True, PETS, "answer is none of the choices"),
    (-1, PETS, "answer is none of the choices"),
    ("2", PETS, "answer is none of the choices"),
    # An index of one choice, and the text or the label of another.
    (1, NUMBERS, "answer may be an index or a choice"),
    (1, [("1", "dog"), ("2", "cat")], "answer may be an index or a choice"),
  ],
)
def test_answers_that_are_not_sure(value, found, reason):
  with pytest.raises(records.Reject, match=reason):
    choices.answer(value, found)


@pytest.mark.parametrize(
  ("record", "prompt", "response"),
  [
    (  # MedMCQA
      {
        "question": "Q?",
        "opa": "a",
        "opb": "b",
        "opc": "c",
        "opd": "d",
        "cop": 2,
      },
      "Q?\n\nA. a\nB. b\nC. c\nD. d",
      "C",
    ),
    (  # HellaSwag
      {"ctx": "He", "endings": ["runs.", "sits."], "label": "1"},
      "He\n\nA. runs.\nB. sits.",
      "B",
    ),
    (  # ARC and CommonsenseQA
      {
        "question": "Q?",
        "choices": {"text": ["a", "b"], "label": ["A", "B"]},
        "answerKey": "B",
      },
      "Q?\n\nA. a\nB. b",
      "B",
    ),
    (  # WinoGrande
      {"sentence": "_ ran.", "option1": "He", "option2": "It", "answer": "2"},
      "_ ran.\n\n1. He\n2. It",
      "2",
    ),
    (  # MMLU, of a table in text
      {"question": "Q?", "choices": "['a' 'b']", "answer": "0"},
      "Q?\n\nA. a\nB. b",
      "A",
    ),
  ],
)
def test_benchmarks(record, prompt, response):
  read = fields.resolve(record, fields.Fields())
  asked, answered = turns.to_turns(record, read)
  assert (asked.text, answered.text) == (prompt, response)
