"""A run that loses too many records says why, and what to do about it."""

import ast
import json
import pathlib
import re

import pytest

from ila_jax import errors
from ila_jax.pool import rejects
from ila_jax.pool.shapes import suggestions

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "ila_jax"


def reject(counter, reason, count, detail=""):
  for line in range(1, count + 1):
    counter(rejects.Rejected("a.jsonl", line, "a", reason, detail))


def test_reject_counter_names_the_three_commonest():
  written = []
  counter = rejects.RejectCounter(written.append, max_reject_fraction=0.1)
  for reason, count in (("w", 1), ("x", 3), ("y", 4), ("z", 2)):
    reject(counter, reason, count, f"detail of {reason}")
  counter.check(n_used=90)
  message = (
    r"10 of 99 records \(10\.1 %\) are rejected: 4 y \(first a\.jsonl line 1, "
    r"detail of y\); 3 x .*; 2 z .*max_reject_fraction: 10 %"
  )
  with pytest.raises(errors.InputError, match=message) as caught:
    counter.check(n_used=89)
  assert "detail of w" not in str(caught.value)
  assert len(written) == 10


def test_duplicates_do_not_stop_a_run():
  counter = rejects.RejectCounter(lambda reject: None, max_reject_fraction=0.0)
  reject(counter, rejects.DUPLICATE, 50)
  counter.check(n_used=50)
  reject(counter, "not JSON", 1)
  with pytest.raises(errors.InputError, match="1 of 101 records"):
    counter.check(n_used=50)


def test_a_pool_without_records_is_an_error(tmp_path):
  counter = rejects.RejectCounter(lambda reject: None, max_reject_fraction=1.0)
  with pytest.raises(errors.InputError, match="all its files are empty"):
    counter.check(n_used=0)
  reject(counter, "not JSON", 2)
  with pytest.raises(errors.InputError, match="one usable record"):
    counter.check(n_used=0)


def _reasons():
  """The first argument of every `Reject(...)` as a pattern, with its place.

  An export leaves records out with reasons of its own, in `left_out.jsonl`.
  """
  exports = set((PACKAGE / "export").rglob("*.py"))
  for path in sorted(set(PACKAGE.rglob("*.py")) - exports):
    for node in ast.walk(ast.parse(path.read_text())):
      called = isinstance(node, ast.Call) and ast.unparse(node.func)
      names = ("records.Reject", "Reject", "TooLong")
      if called not in names or not node.args:
        continue
      reason = node.args[0]
      if isinstance(reason, ast.Constant):
        yield path.name, re.escape(reason.value)
      elif isinstance(reason, ast.JoinedStr):
        parts = (
          re.escape(part.value) if isinstance(part, ast.Constant) else ".+"
          for part in reason.values
        )
        yield path.name, "".join(parts)


def test_every_reason_has_a_remedy_of_its_own():
  reasons = dict.fromkeys(_reasons())
  assert len(reasons) > 25
  for name, pattern in reasons:
    assert any(re.fullmatch(pattern, r) for r in rejects.REMEDIES), (
      f"{name}: no remedy for {pattern!r}"
    )
  for reason, remedy in rejects.REMEDIES.items():
    assert remedy and not remedy.endswith("."), reason


def test_a_refusal_says_what_to_do_and_shows_a_record():
  counter = rejects.RejectCounter(lambda reject: None, max_reject_fraction=0.1)
  raw = json.dumps({"task": "x" * 400, "reply": "y"})
  for line in range(3):
    counter(rejects.Rejected("a", line, "a", "no known record shape", "", raw))
  counter(rejects.Rejected("a", 9, "a", "longer than max_tokens", "9", "{}"))
  with pytest.raises(errors.InputError) as caught:
    counter.check(n_used=4)
  message = str(caught.value)
  for part in (
    "For 'no known record shape': Map the fields",
    "For 'longer than max_tokens': Raise --config.tokens.max_tokens",
    "tokens.overflow=truncate_prompt",
    "The first of them: " + raw[:300] + "…",
    "perhaps --config.pool.fields.prompt=task "
    "--config.pool.fields.response=reply",
  ):
    assert part in message
  assert raw[:301] not in message


@pytest.mark.parametrize(
  ("raw", "expected"),
  [
    ("{", "JSON over several lines"),
    ('  "instruction": "a",', "JSON over several lines"),
    ("{'instruction': 'a'}", "a Python dict; JSON has double quotes"),
    ("instruction,output", "a line of CSV"),
    ("a\tb", "a line of tab-separated values"),
    ("<!DOCTYPE html>", "a web page"),
    ("version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
    ('{"a": 1} {', "no record: not JSON, more text"),
    ("{}", "an empty object"),
    (
      '{"a": 1, "b": null, "c": [], "d": true, "e": {}}',
      "an object of a (number), b (null), c (list), d (true or false), e (obj",
    ),
    (
      '{"messages": [{"role": "assistant", "content": ""}]}',
      "a conversation of assistant",
    ),
    ('{"messages": [{"role": "x"}]}', "a record with conversation = messages"),
    ('{"prompt": "a", "response": ""}', "a record with prompt = prompt, resp"),
    ('{"a": "\\ud800", "b": "x"}', "two texts: perhaps"),
    (json.dumps({"messages": f"[{'1,' * 10**6}]"}), "a text that is too long"),
  ],
)
def test_looks_like(raw, expected):
  assert suggestions.looks_like(raw).startswith(expected)


def test_what_is_written_has_one_schema():
  one = rejects.Rejected("a.jsonl", 1, "a", "not JSON", "", "{")
  other = rejects.Rejected("a.jsonl", 1, "a", "not JSON", "")
  assert one.written() == other.written()
  assert list(one.written()) == ["file", "line", "source", "reason", "detail"]


@pytest.mark.parametrize(
  "names",
  [
    *(("text", "role"), ("prompt", "role"), ("role", "content")),
    *(("from", "value"), ("prompt", "type"), ("answer_0", "answer_1")),
    *(("passage", "question"), ("context", "query"), ("topic", "input")),
    *(("question", "sentence"), ("title", "current_node")),
    *(("question_stem", "answerKey"), ("answer", "remark")),
    *(("Complex_CoT", "Final"), ("reasoning", "reply"), ("ask", "rationale")),
    *(("prompt", "response_0", "response_1"), ("user", "text")),
    *(("user_question_type", "answer_type"), ("task_name", "answer")),
    *(("worker", "batch"), ("text", "domain"), ("prompt", "prefix")),
    *(("text", "dataset"), ("prompt", "annotator")),
  ],
)
def test_no_pair_is_suggested_that_is_none(names):
  said = suggestions.looks_like(json.dumps(dict.fromkeys(names, "x")))
  assert said.startswith("an object of")


def test_names_with_spaces_are_quoted():
  said = suggestions.looks_like('{"my ask": "x", "my reply": "y"}')
  assert said.endswith(
    "--config.pool.fields.prompt='my ask' "
    "--config.pool.fields.response='my reply'"
  )


@pytest.mark.parametrize(
  ("names", "asked", "answered"),
  [
    (("user_input", "model_output"), "user_input", "model_output"),
    (("modelOutput", "userInput"), "userInput", "modelOutput"),
    (("answer", "the_question"), "the_question", "answer"),
    (("my_query", "final_answer", "note"), "my_query", "final_answer"),
    (("ask", "reply"), "ask", "reply"),
  ],
)
def test_pairs_are_suggested_by_their_names(names, asked, answered):
  said = suggestions.looks_like(json.dumps(dict.fromkeys(names, "x")))
  assert said.endswith(
    f"perhaps --config.pool.fields.prompt={asked} "
    f"--config.pool.fields.response={answered}"
  )


def test_rows_of_a_tree_are_told():
  row = {"message_id": "2", "parent_id": "1", "role": "prompter", "text": "x"}
  said = suggestions.looks_like(json.dumps(row))
  assert said.startswith("a row of a tree of messages: join")
