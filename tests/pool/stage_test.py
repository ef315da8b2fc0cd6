"""The stage `pool`: what a run says, counts and reports of its records."""

import json

import pytest

from ila_jax import errors, pipeline
from ila_jax.pool import shards
from ila_jax.run.disk import files
from tests.support import tiny


def _config(source, **overrides):
  settings = {
    "pool__dev_examples": 5,
    "score__reference_examples": 5,
    "pool__max_reject_fraction": 0.1,
    # Of a sixth: whether it is passed on.
    "pool__answers": "longest",
  }
  return tiny.config(source, **settings | overrides)


def _records():
  rows = tiny.records(60)
  for row in rows[::6]:
    row["hint"] = "Look it up."
    row["output"] = ["one", "two words"]
  return rows


def test_what_is_read_stands_in_the_run_the_counts_and_the_report(
  tmp_path, capsys
):
  source = tiny.write(tmp_path / "mix.jsonl", _records())
  work = tmp_path / "work"
  pipeline.run(_config(source), work, stages=["pool", "report"])
  shape = "prompt = instruction, input = input, response = output"
  said = capsys.readouterr().err
  lines = [line.strip() for line in said.splitlines()]
  assert f"mix: {shape}" in lines[:4]
  shares = (
    "ot read: `weight` of the whole record, 100 % of the records; `tags`, 75 "
    "%; all of `output` but one, 17 %; `hint`, 17 %"
  )
  counts = files.read_json(work / "pool/counts.json")
  assert counts["read_as"] == [
    {"fields": shape, "examples": 60, "sources": ["mix"]}
  ]
  assert counts["unread"] == {
    "`weight` of the whole record": 60,
    "tags": 45,
    "hint": 10,
    "all of `output` but one": 10,
  }
  assert f"n{shares}" in lines  # At the end of the pool,
  assert f"N{shares}." in lines  # and of the run.
  page = (work / "report/index.html").read_text()
  assert f"Read from mix: {shape}." in page
  assert "Not read: `weight` of the whole record, 100 % of the records" in page
  table = shards.read_records(work, 0, ["turns"])
  responses = [turns[-1].text for turns in shards.turns_of(table)]
  assert "two words" in responses


def test_records_that_are_too_long_name_the_fields_to_set(tmp_path):
  rows = tiny.records(60)
  for row in rows[:20]:
    row["output"] = "word " * 600
  source = tiny.write(tmp_path / "pool.jsonl", rows)
  config = _config(source, tokens__overflow="reject")
  with pytest.raises(errors.InputError) as caught:
    pipeline.run(config, tmp_path / "work", stages=["pool"])
  for part in (
    "20 of 60 records",
    "For 'longer than max_tokens': Raise --config.tokens.max_tokens",
    "--config.tokens.overflow=truncate_prompt",
    'The first of them: {"instruction": ',
    "It looks like a record with prompt = instruction",
  ):
    assert part in str(caught.value)
  path = tmp_path / "work/pool/rejects.jsonl"
  keys = ["file", "line", "source", "reason", "detail"]
  written = [json.loads(line) for line in path.read_text().splitlines()]
  assert [list(line) for line in written] == [keys] * 20
