"""Choices and answers in the forms of known benchmarks."""

import pytest

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import contents
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
    # Empty choices keep their place.
    (["dog", None, "cat"], [("A", "dog"), ("B", ""), ("C", "cat")]),
    ({"A": "dog", "B": None}, [("A", "dog"), ("B", "")]),
    ([None, ""], []),
    ({"text": ["dog", "cat"], "label": [None, None]}, PETS),
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
    ("True", [("A", "yes"), ("B", "no")], "yes"),
    ("FALSE", [("A", "Yes."), ("B", "No.")], "No."),
    ("true", [("A", "True"), ("B", "False")], "true"),
    ("a cat.", PETS, "a cat."),
    ("2", [("1", "dog"), ("2", "cat")], "2"),
    (0, NUMBERS, "A"),
    (3, NUMBERS, "D"),
    (6, NUMBERS, 6),
    # As a table writes whole numbers.
    ("1.0", PETS, "B"),
    (" 0.0 ", PETS, "A"),
    ("2.0", [("1", "dog"), ("2", "cat")], "2"),
    ("3.0", NUMBERS, "D"),
    ("6.0", NUMBERS, "6"),
    (7.0, [("A", "2.0"), ("B", "7.0")], 7.0),
    ("0.5", [("A", "0.5"), ("B", "1.5")], "0.5"),
    # Labels from 0 are indices.
    (1, [("0", "dog"), ("1", "cat")], "1"),
    ("(B)", PETS, "(B)"),
    ("C", [("A", "B"), ("B", "C")], "C"),
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
    ("False", PETS, "answer is none of the choices"),
    (-1, PETS, "answer is none of the choices"),
    ("2", PETS, "answer is none of the choices"),
    # An index of one choice, and the text or the label of another.
    (1, NUMBERS, "answer may be an index or a choice"),
    *(
      (number, found, "answer may be an index or a choice")
      for found in (
        [("1", "dog"), ("2", "cat")],
        [("A", "1"), ("B", "2")],
        [("A", "1"), ("B", "0")],
        [("A", "1.0"), ("B", "2.0")],
        [("A", "1"), ("B", "many")],
        [("A", "1"), ("B", "2"), ("C", "3"), ("D", "many")],
      )
      # All alike: else only the answers of one choice would be left.
      for number in (0, 1, 2, 1.0)
    ),
    ("0", [("1", "dog"), ("2", "cat")], "answer may be an index or a choice"),
    ("2.0", PETS, "answer is none of the choices"),
    ("E", PETS, "answer is none of the choices"),
    ("(c)", PETS, "answer is none of the choices"),
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


def asked(answer, name="answer", **choices):
  record = {"question": "Q?", **choices, name: answer}
  read = fields.resolve(record, fields.Fields())
  prompt, response = turns.to_turns(record, read)
  return prompt.text, response.text


@pytest.mark.parametrize("blank", [None, "", " "])
@pytest.mark.parametrize("answer", [2, "2", "2.0", 2.0, "C"])
@pytest.mark.parametrize(
  "name", ["A", "option_a", "optionA", "Option A", "opa"]
)
def test_an_index_counts_empty_choices(blank, answer, name):
  texts = dict(zip("abcd", ("x", blank, "y", "z"), strict=True))
  names = {a: name[:-1] + (a if name[-1] == "a" else a.upper()) for a in texts}
  choices = {names[a]: text for a, text in texts.items()}
  assert asked(answer, **choices) == ("Q?\n\nA. x\nC. y\nD. z", "C")
  texts = list(texts.values())
  for listed in (texts, dict(zip("ABCD", texts, strict=True))):
    assert asked(answer, choices=listed) == asked(answer, **choices)
  for empty in (1, "1", "1.0", "B", "b", "(B)"):
    with pytest.raises(records.Reject, match="answer is an empty choice"):
      asked(empty, **choices)


def test_fields_of_choices_count_in_the_order_of_their_letters():
  assert asked(0, B="y", A="x") == ("Q?\n\nA. x\nB. y", "A")


@pytest.mark.parametrize("answer", [1, "2", 2.0])
def test_an_index_past_a_choice_that_is_not_there_is_a_reject(answer):
  with pytest.raises(records.Reject, match="choices are missing before"):
    asked(answer, A="x", C="y", D="z")
  assert asked(0, A="x", C="y") == ("Q?\n\nA. x\nC. y", "A")
  assert asked("C", A="x", C="y") == ("Q?\n\nA. x\nC. y", "C")


@pytest.mark.parametrize(
  ("answer", "choices", "expected"),
  [
    ("option_b", {"option_a": "x", "option_b": "y"}, "B"),
    ("Option B", {"option_a": "x", "option_b": "y"}, "B"),
    ("choice2", {"choice1": "x", "choice2": "y"}, "2"),
  ],
)
def test_an_answer_may_name_the_field_of_its_choice(answer, choices, expected):
  assert asked(answer, **choices)[1] == expected


@pytest.mark.parametrize("label", [0, 1, 2, "0", "1", "2", "1.0", 0.0])
def test_numbered_choices_reject_all_numbers_of_a_label_alike(label):
  # COPA counts from 0, others from 1: what is left would be of one choice.
  with pytest.raises(records.Reject, match="may be an index or a choice"):
    asked(label, "label", choice1="x", choice2="y")


NUMBERED = "Q?\n\n1. x\n2. y\n3. z"


@pytest.mark.parametrize(
  "choices",
  [
    *(["1. x", "2. y", "3. z"], ["1) x", "2) y", "3) z"]),
    *(["(1) x", "(2) y", "(3) z"], ["① x", "②y", "③ z"]),
    *("['1. x', '2. y', '3. z']", {"text": ["[1] x", "[2] y", "[3] z"]}),
  ],
)
@pytest.mark.parametrize("answer", ["2", "2.0", "②"])
def test_numbers_in_the_texts_of_choices_are_their_labels(answer, choices):
  assert asked(answer, choices=choices) == (NUMBERED, "2")
  for number in (0, 1, 2):
    with pytest.raises(records.Reject, match="may be an index or a choice"):
      asked(number, choices=choices)


def test_numbers_from_0_in_the_texts_of_choices_are_indices():
  assert asked(1, choices=["0. x", "1. y"]) == ("Q?\n\n0. x\n1. y", "1")


@pytest.mark.parametrize(
  "choices",
  [["1.5 m", "2.5 m"], ["1:30", "2:30"], ["1. x", "y"], ["2. x", "1. y"]],
)
def test_other_numbers_of_choices_are_their_texts(choices):
  expected = "\n".join(map("{}. {}".format, "AB", choices))
  assert asked(1, choices=choices) == (f"Q?\n\n{expected}", "B")


SERVED = [{"index": 0, "text": "Nile", "finish_reason": "stop"}]


@pytest.mark.parametrize(
  "beside",
  [
    {"options": {"temperature": 0.7, "num_ctx": 4096}},
    {"options": '{"temperature": 0.7, "stop": ["x"]}'},
    {"options": {"stream": True}},
    {"options": ["streaming"]},
    {"choices": 4},
    {"choices": SERVED},
    {"choices": [{"index": n, "text": t} for n, t in enumerate("xy")]},
    {"choices": [*SERVED, {"index": 1, "message": {"content": "Rhine"}}]},
    {"choices": ["Nile"]},
    {"A": 0.3, "B": 0.7},
  ],
)
def test_what_is_no_choice_is_told(beside):
  record = {"question": "Q?", "response": "Nile", **beside}
  inner = {"data": record}
  paths = fields.Fields(prompt="data.question", response="data.response")
  for whole, named in ((record, fields.Fields()), (inner, paths)):
    notes = unread.Notes()
    read = fields.resolve(whole, named)
    said = turns.to_turns(whole, read, notes=notes)
    assert [turn.text for turn in said] == ["Q?", "Nile"]
    assert {name.removeprefix("data.") for name in notes.unread} == {*beside}


@pytest.mark.parametrize(
  ("choices", "answer", "expected"),
  [
    ({"A": 3, "B": 4}, "B", "B"),
    ({"A": 3, "B": 4}, 4, 4),
    ({"A": 3, "B": 4}, 0, "A"),
    ({"A": "3.5", "B": "4.5"}, "It is 3.5.", "It is 3.5."),
    ({"options": [10, 20]}, 1, "B"),
    ({"options": ["10", "20"]}, "It is ten.", "It is ten."),
    ({"options": {"A": 10, "B": 20}}, "It is ten.", "It is ten."),
    ({"options": [True, False]}, False, "false"),
    ({"options": ["x"]}, 0, "A"),
    (
      {"options": [{"index": n, "text": t} for n, t in enumerate("xy")]},
      *(1, "B"),
    ),
  ],
)
def test_choices_that_the_answer_may_name_are_read(choices, answer, expected):
  prompt, response = asked(answer, **choices)
  assert response == contents.text_of(expected, "")
  assert prompt.startswith("Q?\n\nA. ")


def test_choices_without_a_text_are_no_choices():
  with pytest.raises(records.Reject, match="choices are no list of texts"):
    asked("x", choices=[{"option": "x"}, {"option": "y"}])


@pytest.mark.parametrize(
  "answer",
  [[0, 2], "[0, 2]", ["A", "C"], ["x", "z"], [0, 1, 0], [True, False, True]],
)
def test_several_right_choices_are_a_reject(answer):
  with pytest.raises(records.Reject, match="answer names several choices"):
    asked(answer, "label", choices=["x", "y", "z"])
  assert asked([1], choices=["x", "y", "z"])[1] == "B"


def test_choices_that_cannot_be_read_are_told_where_they_are_read():
  # A cell that is lost is known by its column alone.
  record = {"question": "Q?", "options": "options", "answer": "x"}
  assert fields.resolve(record, fields.Fields()).choices == "options"


def test_choices_that_are_numbers_may_have_numbers_as_their_labels():
  assert asked(1, options={"0": 3, "1": 4}) == ("Q?\n\n0. 3\n1. 4", "1")
