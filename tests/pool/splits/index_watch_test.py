"""Sources whose answers count their choices from 1 are refused."""

import json

import pytest

from ila_jax import errors
from ila_jax.pool import examples
from ila_jax.pool.shapes import fields
from ila_jax.pool.splits import index_watch

LIST = {"choices": ["w", "x", "y", "z"]}
EACH = {"A": "w", "B": "x", "C": "y", "D": "z"}


def seen(answers, beside=LIST, name="answer"):
  watch = index_watch.IndexWatch("quiz")
  for answer in answers:
    record = {"question": "Q?", **beside, name: answer}
    watch.see(record, fields.resolve(record, fields.Fields()))
  return watch


@pytest.mark.parametrize("beside", [LIST, EACH, {"choices": str(["w", "x"])}])
@pytest.mark.parametrize("form", [int, str, float])
@pytest.mark.parametrize("name", ["answer", "cop", "label"])
def test_numbers_from_1_are_refused(beside, form, name):
  size = len(beside) if beside is EACH else len(fields_of(beside))
  answers = [form(number) for number in range(1, size + 1)]
  with pytest.raises(errors.InputError, match="quiz are the number of its"):
    seen(answers, beside, name).check()
  seen([*answers, form(0)], beside, name).check()  # One of them is wrong.
  seen(answers[:-1], beside, name).check()


def fields_of(beside):
  held = beside["choices"]
  return held if isinstance(held, list) else ["w", "x"]


@pytest.mark.parametrize(
  ("answers", "beside"),
  [
    ([1, 2, 3], {"choices": ["1. x", "2. y", "3. z"]}),
    (["1", "2"], {"option1": "x", "option2": "y"}),
    ([1, 2, 3], {"answerA": "x", "answerB": "y", "answerC": "z"}),
    ([4, 5, 2], {"choices": ["4", "5"]}),
    ([4], LIST),  # Nothing else would be learnt.
    (["A", "D", "w"], LIST),
  ],
)
def test_other_answers_are_not(answers, beside):
  seen(answers, beside).check()


def test_watches_that_follow_each_other_see_what_one_sees():
  whole, parts = index_watch.IndexWatch("quiz"), ([1, 2], [4], [3])
  for part in parts:
    whole.follow(seen(part).counts)
  assert whole.counts == seen([1, 2, 4, 3]).counts
  with pytest.raises(errors.InputError, match="3 others"):
    whole.check()
  whole.follow(seen([0]).counts)
  whole.check()


def test_a_source_that_counts_from_1_is_refused_in_a_mixture(tmp_path):
  quiz = [{"question": f"Q{n}?", **EACH, "answer": n % 4 + 1} for n in range(8)]
  other = [{"question": f"P{n}?", **EACH, "answer": n % 4} for n in range(8)]
  for name, rows in (("quiz", quiz), ("other", other)):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / f"{name}.jsonl").write_text(lines)
  specs = [str(tmp_path / f"{name}.jsonl") for name in ("other", "quiz")]
  assert len([*examples.read(specs[:1], rejects=print)]) == 8
  with pytest.raises(errors.InputError, match="2 of the answers of quiz"):
    [*examples.read(specs, rejects=lambda reject: None)]
