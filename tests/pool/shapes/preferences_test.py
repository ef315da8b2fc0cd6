"""The answer that a record names is the response, and no other."""

import pytest

from ila_jax.pool import records, rejects, unread
from ila_jax.pool.shapes import fields, turns


def answered(record, notes=None, **kwargs):
  read = fields.resolve(record, fields.Fields())
  return turns.to_turns(record, read, notes=notes, **kwargs)[-1]


def of_answers(answers, **beside):
  return {"question": "Q?", "answers": answers, **beside}


def with_text(text, **beside):
  return {"text": text, **beside}


@pytest.mark.parametrize(
  "record",
  [
    of_answers(["w", "x", "y"], context="C", correct_answer_id=2),
    {"prompt": "P", "responses": ["n", "y"], "better_response_id": 1},
    {"prompt": "P", "completions": ["n", "y"], "chosen_idx": 1.0},
    of_answers(["n", "y"], best_index="1"),
    of_answers(["n", "y"], correct_idx=1),
    of_answers(["n", "y"], context="C", label=1),
    of_answers(["n", "y"], label="1"),
    of_answers(["n", "y"], label="1.0"),
    of_answers(["n", "y"], best_index="1.0"),
    of_answers(["n", "y"], winner="model_b"),
    of_answers(["n", "y"], preferred="Response B"),
    {"prompt": "P", "responses": ["n", "y"], "chosen": 1},
    {"prompt": "P", "responses": ["n", "y"], "chosen": "B"},
    {"prompt": "P", "responses": ["n", "y"], "chosen": "y", "winner": "B"},
    of_answers(["n", "y"], correct_answer="B"),
    of_answers(["n", "y"], correct_answer="b", best_index=float("nan")),
    of_answers(["n", "y"], correct_answer=" y "),
    of_answers(["n", "y"], correct_idx=1, best_answer="y"),
    # A class in words, and what names none.
    of_answers(["y", "n"], label="sports", best_index=None, chosen=""),
    of_answers([with_text("n", selected=False), with_text("y", selected=True)]),
    of_answers([with_text("n", is_correct=0), with_text("y", is_correct=1)]),
    of_answers(
      [with_text("n", answer_id=71), with_text("y", answer_id=72)],
      accepted_answer_id=72,
    ),
    of_answers([{"answer": "n", "rank": 2}, {"answer": "y", "rank": 1}]),
    of_answers(["n", "y"], ranks=["2", 1.0]),
    of_answers(["n", "y"], rank=[2, 1]),
    of_answers(["n", "y"], is_correct=["false", "True"]),
    {"prompt": "P", "responses": ["n", "y"], "Selected": [0, 1]},
    {
      "prompt": "P",
      "responses": [
        {"role": "assistant", "content": "n"},
        {"role": "assistant", "content": "y"},
      ],
      "chosen_index": 1,
    },
  ],
)
def test_the_named_answer_is_learnt(record):
  notes = unread.Notes()
  assert answered(record, notes) == records.Turn("assistant", "y")
  assert any("but one" in name for name in notes.unread)
  if record.get("label") != "sports":
    assert notes.unread <= {f"all of `{n}` but one" for n in record}


MARKS = ("is_correct", "Is_Correct", "isCorrect", "correct", "Selected")


@pytest.mark.parametrize("name", MARKS)
@pytest.mark.parametrize(
  ("no", "yes"),
  [
    *((False, True), (0, 1), (0.0, 1.0), ("false", "true")),
    *(("False", "TRUE"), ("0", "1"), ("0.0", "1.0"), ("no", "yes")),
  ],
)
def test_marks_are_read_as_tables_write_them(name, no, yes):
  marked = [with_text("n", **{name: no}), with_text("y", **{name: yes})]
  assert answered(of_answers(marked)).text == "y"
  columns = {"text": ["n", "y"], name: [no, yes]}
  assert answered(of_answers(columns)).text == "y"
  assert answered({"question": "Q?", "answer": marked[1]}).text == "y"
  for wrong in ({"answer": marked[0]}, {"answers": marked[:1]}):
    with pytest.raises(records.Reject, match="no answer is marked as right"):
      answered({"question": "Q?", **wrong})


@pytest.mark.parametrize("name", ["rank", "Rank", "RANK", "ranking"])
@pytest.mark.parametrize(
  ("low", "high"), [(2, 1), ("2", "1"), ("10", "9"), (2.0, "1.0"), (1, 0)]
)
def test_ranks_are_read_as_tables_write_them(name, low, high):
  ranked = [with_text("n", **{name: low}), with_text("y", **{name: high})]
  assert answered(of_answers(ranked)).text == "y"
  assert answered({"prompt": "P", "responses": ranked}).text == "y"


@pytest.mark.parametrize(
  ("first", "second"),
  [
    *(({"rank": None}, {"rank": 1}), ({"rank": "best"}, {"rank": "worst"})),
    *(({"is_correct": "x"}, {"is_correct": True}), ({}, {"rank": 1})),
    *(({"is_correct": 0.5}, {"is_correct": 1}), ({"rank": True}, {"rank": 2})),
  ],
)
def test_a_mark_that_cannot_be_read_is_a_reject(first, second):
  marked = [with_text("a", **first), with_text("b", **second)]
  with pytest.raises(records.Reject, match="mark of an answer cannot be read"):
    answered(of_answers(marked))


@pytest.mark.parametrize("none", [{}, {"is_correct": None}, {"is_correct": ""}])
def test_marks_that_some_answers_lack_are_told(none):
  notes = unread.Notes()
  marked = [with_text("n", **none), with_text("y", is_correct=True)]
  assert answered(of_answers(marked), notes).text == "y"
  assert "`is_correct` is missing in some of `answers`" in notes.unread
  marked[1]["is_correct"] = False
  with pytest.raises(records.Reject, match="no answer is marked as right"):
    answered(of_answers(marked))


def test_marks_that_contradict_each_other_are_a_reject():
  marked = [
    with_text("a", is_correct=True, selected=False),
    with_text("b", is_correct=False, selected=True),
  ]
  for record in (of_answers(marked), of_answers(marked[:1])):
    with pytest.raises(records.Reject, match=r"different answers|marked"):
      answered(record)
  marked = [with_text("a", is_correct=True), with_text("b", is_correct=False)]
  with pytest.raises(records.Reject, match="different answers"):
    answered(of_answers(marked, best_index=1))


def test_a_rule_chooses_among_those_that_are_marked():
  marked = [with_text("a" * 9, correct=False), with_text("b", correct=True)]
  record = of_answers([*marked, with_text("cc", correct=True)])
  assert answered(record).text == "b"
  assert answered(record, answers="longest").text == "cc"


@pytest.mark.parametrize(
  ("record", "reason"),
  [
    (of_answers(["a", "b"], correct_idx=2), "is none of the answers"),
    (of_answers(["a", "b"], label=-1), "is none of the answers"),
    (of_answers(["a", "b"], best_index=float("inf")), "is none of the answers"),
    (of_answers(["a", "b"], best_index=0.5), "is none of the answers"),
    (of_answers(["a", "b"], correct_answer="c"), "is none of the answers"),
    (of_answers(["1", "2"], correct_answer="1"), "is several of the answers"),
    (of_answers(["a", "b"], best_idx=0, correct_idx=1), "different answers"),
    (of_answers([with_text("a", selected=False)]), "marked as right"),
    (of_answers(["a", "b"], is_correct=[False, 0]), "marked as right"),
    (of_answers(["a", "b"], is_correct=[1, 0], best_idx=1), "different"),
    (of_answers(["a", "b"], is_correct=[1, 0], ranks=[2, 1]), "different"),
    (of_answers([["a", "b"], ["c", "d"]]), "response is not text"),
    (of_answers([{"start": 1, "end": 2}]), "response is not text"),
  ],
)
def test_what_names_no_answer_is_no_answer(record, reason):
  with pytest.raises(records.Reject, match=reason):
    answered(record)


def test_a_whole_conversation_is_one_answer():
  said = [{"role": "user", "content": "P"}]
  said.append({"role": "assistant", "content": "y"})
  assert answered({"prompt": "P", "responses": said, "label": 0}).text == "y"


def test_calls_as_answers_are_calls():
  call = {"name": "f", "arguments": {"x": 1}}
  said = answered({"query": "Q", "answers": [call]})
  assert said.calls == '[{"name": "f", "arguments": {"x": 1}}]'
  assert said.text == ""


def test_lists_of_words_beside_answers_mark_none():
  notes = unread.Notes()
  record = of_answers(["a", "b"], correct_answers=["a", "c"])
  assert answered(record, notes).text == "a"
  assert notes.unread == {"all of `answers` but one", "correct_answers"}


@pytest.mark.parametrize("key", ["author", "from", "speaker", "sender"])
@pytest.mark.parametrize("who", ["x", "gpt4", {"name": "x"}])
def test_answers_with_authors_are_no_conversation(key, who):
  answers = [
    {key: "gpt", "text": "bad", "selected": False},
    {key: who, "text": "good", "selected": True},
  ]
  notes = unread.Notes()
  record = {"question": "q", "answers": answers}
  assert answered(record, notes).text == "good"
  assert notes.unread == {"all of `answers` but one", f"answers.{key}"}
  assert answered({"question": "q", "answer": answers[1]}).text == "good"
  for talk in (
    {"response": answers},
    {"answers": [{key: "user", "text": "a"}]},
  ):
    with pytest.raises(records.Reject):
      answered({"question": "q"} | talk)


@pytest.mark.parametrize(
  "name", ["score", "rating", "reward", "votes", "overall_score", "Score"]
)
@pytest.mark.parametrize("worst", [1, "1", -0.5])
def test_the_answer_with_the_highest_score_is_learnt(name, worst):
  for as_answer in (
    lambda text: {"text": text},
    lambda text: {"role": "assistant", "content": text},
  ):
    answers = [as_answer("bad") | {name: worst}, as_answer("good") | {name: 9}]
    notes = unread.Notes()
    record = {"prompt": "q", "responses": answers}
    assert answered(record, notes).text == "good"
    assert notes.unread == {"all of `responses` but one"}


@pytest.mark.parametrize(
  ("first", "second", "expected"),
  [
    ({"score": 1}, {"score": None}, "a"),
    ({"score": 1}, {"score": "high"}, "a"),
    ({"score": 2}, {"score": 2}, "a"),
    ({"score": 9, "rank": 2}, {"score": 1, "rank": 1}, "b"),
    ({"score": 9, "is_correct": False}, {"score": 1, "is_correct": True}, "b"),
  ],
)
def test_scores_that_do_not_decide(first, second, expected):
  answers = [{"text": "a"} | first, {"text": "b"} | second]
  assert answered({"prompt": "q", "responses": answers}).text == expected


def test_scores_that_disagree_are_refused():
  answers = [
    {"text": "a", "score": 1, "rating": 5},
    {"text": "b", "score": 2, "rating": 4},
  ]
  with pytest.raises(records.Reject, match="fields name different answers"):
    answered({"prompt": "q", "responses": answers})


@pytest.mark.parametrize(
  "named",
  [
    *({"better": "A"}, {"winner": "answerA"}, {"chosen": "A"}),
    *({"preferred": "answer_a"}, {"best_answer": "a"}),
  ],
)
def test_answers_that_are_compared_are_no_choices(named):
  record = {"prompt": "Q", "answerA": "x", "answerB": "y", **named}
  said = turns.to_turns(record, fields.resolve(record, fields.Fields()))
  assert [turn.text for turn in said] == ["Q", "x"]


@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize(
  "record",
  [
    {"chosen": "one", "rejected": "other", "generations": ["one", "other"]},
    {"response_a": "one", "response_b": "other", "chosen": "a"},
    {"answers": ["one", "other"], "best_index": 0},
  ],
)
def test_the_model_of_the_best_answer_names_none(record, is_before):
  notes, model = unread.Notes(), {"chosen_model": "gpt-4"}
  record = {**model, **record} if is_before else {**record, **model}
  assert answered({"prompt": "Q", **record}, notes).text == "one"
  assert "chosen_model" in notes.unread


def test_a_model_is_the_name_of_the_answer_that_has_it():
  answers = [with_text("one", model="x"), with_text("other", model="gpt-4")]
  assert answered(of_answers(answers, chosen_model="gpt-4")).text == "other"
  with pytest.raises(records.Reject, match="none of the answers"):
    answered(of_answers(["one", "other"], chosen_model="gpt-4"))


def said(role, text):
  return {"role": role, "content": text}


@pytest.mark.parametrize(
  "asked",
  [
    {"contents": [{"role": "user", "parts": [{"text": "Q"}]}]},
    {"messages": [said("user", "Q")]},
    {"context": [said("user", "Q")]},
    {"prompt": "Q"},
  ],
)
@pytest.mark.parametrize(
  ("marks", "place"),
  [(({"score": 0.0}, {"score": 1.0}), 1), (({"rank": 0}, {"rank": 1}), 0)],
)
def test_answers_to_choose_from_may_be_messages(asked, marks, place):
  parts = {"role": "model", "parts": [{"text": "other"}]}
  for each in (
    [[said("assistant", "one")], [said("assistant", "other")]],
    [said("assistant", "one"), parts],
  ):
    answers = [
      {**mark, "completion": answer}
      for mark, answer in zip(marks, each, strict=True)
    ]
    record = {**asked, "completions": answers}
    turns_read = turns.to_turns(record, fields.resolve(record, fields.Fields()))
    expected = ["Q", ("one", "other")[place]]
    assert [turn.text for turn in turns_read] == expected


def test_the_rule_chooses_among_answers_that_are_messages():
  answers = [{"completion": said("assistant", text)} for text in ("a", "bb")]
  record = {"prompt": "Q", "completions": answers}
  assert answered(record).text == "a"
  assert answered(record, answers="longest").text == "bb"
  with pytest.raises(records.Reject, match="several answers"):
    answered(record, answers="reject")


def test_fields_that_count_from_1_are_named_by_their_names():
  record = {"prompt": "Q", "response_1": "x", "response_2": "y"}
  for number in (0, 1, 2):
    with pytest.raises(records.Reject, match="named answer is") as reject:
      answered({**record, "preference": number})
    assert "such as response_2" in rejects.remedy(reject.value.reason)
  assert answered({**record, "preference": "response_2"}).text == "y"


def test_settings_beside_answers_are_no_choices():
  record = {"prompt": "Q", "response_a": "x", "response_b": "y", "chosen": "b"}
  settings = {"options": {"temperature": 1}}
  assert answered({**record, **settings}).text == "y"
