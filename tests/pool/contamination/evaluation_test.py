"""Evaluation sets: what is read of records of many shapes."""

import pytest

from ila_jax import errors
from ila_jax.pool.contamination import evaluation
from tests.support import tiny


def _read(tmp_path, rows, overrides=None, said=None):
  path = tiny.write(tmp_path / "test.jsonl", rows)
  announce = (lambda message: None) if said is None else said.append
  return list(
    evaluation.read([str(path)], overrides=overrides or {}, announce=announce)
  )


@pytest.mark.parametrize(
  ("row", "prompt", "answer"),
  [
    ({"question": "1 + 1?", "answer": "2"}, "1 + 1?", "2"),
    ({"question": "1 + 1?"}, "1 + 1?", ""),
    ({"question": "1 + 1?", "answer": ""}, "1 + 1?", ""),
    ({"question": "1 + 1?", "answer": None}, "1 + 1?", ""),
    ({"question": "1 + 1?", "answer": [{"a": 1}]}, "1 + 1?", ""),
    ({"question": "1 + 1?", "answer": "2", "label": False}, "1 + 1?", ""),
    (
      {"prompt": "def f():", "canonical_solution": "  pass"},
      "def f():",
      "  pass",
    ),
    ({"prompt": "Write.", "instruction_id_list": ["a:b"]}, "Write.", ""),
    (
      {"question": "Which?", "choices": ["x", "y"], "answer": 1},
      "Which?\n\nA. x\nB. y",
      "B",
    ),
    (
      {"messages": [{"role": "user", "content": "Hello?"}]},
      "Hello?",
      "",
    ),
    # MT-Bench, as its file and as the Hub have it, and Arena-Hard.
    (
      {"question_id": 81, "category": "writing", "turns": ["Who?", "Why?"]},
      "Who?\n\nWhy?",
      "",
    ),
    ({"prompt": ["Who?", "Why?"], "reference": []}, "Who?\n\nWhy?", ""),
    ({"turns": [{"content": "Who?"}], "cluster": "a"}, "Who?", ""),
  ],
)
def test_what_is_asked_and_answered(tmp_path, row, prompt, answer):
  (found,) = _read(tmp_path, [row])
  assert (found.prompt, found.answer) == (prompt, answer)
  assert (found.source, found.line) == ("test", 1)
  said = found.said.strip()
  assert said == "\n\n".join(filter(None, (prompt, answer))).strip()


def test_fields_of_a_set_are_named_by_overrides(tmp_path):
  rows = [{"stimulus": "Who is it?", "gold_text": "Me."}]
  with pytest.raises(errors.InputError) as caught:
    _read(tmp_path, rows)
  assert "config.pool.decontaminate is " in str(caught.value)
  assert "line 1: no known record shape" in str(caught.value)
  assert "--config.pool.overrides=\"{'NAME': {'prompt'" in str(caught.value)
  (found,) = _read(tmp_path, rows, {"te*": {"prompt": "stimulus"}})
  assert (found.prompt, found.answer) == ("Who is it?", "")
  fields = {"prompt": "stimulus", "response": "gold_text"}
  (found,) = _read(tmp_path, rows, {"test": fields})
  assert (found.prompt, found.answer) == ("Who is it?", "Me.")
  with pytest.raises(errors.InputError, match="has the key 'promt'"):
    _read(tmp_path, rows, {"test": {"promt": "stimulus"}})


def test_records_that_cannot_be_read_are_told(tmp_path):
  said = []
  rows = [{"question": "1 + 1?"}, {"other": 1}, {"question": "2 + 2?"}]
  assert len(_read(tmp_path, rows, said=said)) == 2
  (line,) = said
  assert "1 of 3 records" in line and "line 2: no known record shape" in line


def test_a_source_that_is_not_there_names_the_field(tmp_path):
  with pytest.raises(errors.InputError) as caught:
    list(evaluation.read([str(tmp_path / "no.jsonl")], overrides={}))
  assert str(caught.value).startswith("config.pool.decontaminate is ")
