"""The stage `pool`: what a run says, counts and reports of its records."""

import json

import numpy as np
import pytest

from ila_jax import errors, pipeline
from ila_jax.pool import index, shards, stage
from ila_jax.run import draws, tables
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
  assert "Not read: <code>weight</code> of the whole record, 100 % of" in page
  table = shards.read_records(work, 0, ["turns"])
  responses = [turns[-1].text for turns in shards.turns_of(table)]
  assert "two words" in responses


@pytest.mark.parametrize("seed", [0, 3])
def test_the_dev_split_goes_by_the_seed_of_the_run(tmp_path, seed):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(60))
  config = _config(source, seed=seed)
  pipeline.run(config, tmp_path / "work", stages=["pool"])
  prompts = index.column(tmp_path / "work", "prompt_id")
  uniform = draws.keyed_uniform(prompts, seed=seed, purpose="dev")
  assert len(np.unique(prompts)) == 60
  lowest = np.sort(np.argsort(uniform)[: config.pool.dev_examples])
  is_dev = index.is_dev(tmp_path / "work")
  assert np.flatnonzero(is_dev).tolist() == lowest.tolist()


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


def test_what_was_cut_is_counted_listed_and_told(tmp_path, capsys):
  rows = tiny.records(60)
  for row in rows[:20]:
    row["output"] = "word " * (400 + len(row["tags"]))
  rows[0]["instruction"] = "Say it. " * 400
  tiny.write(tmp_path / "long.jsonl", rows[:30])
  tiny.write(tmp_path / "short.jsonl", rows[30:])
  work = tmp_path / "work"
  config = _config(tmp_path, tokens__overflow="truncate_response")
  pipeline.run(config, work, stages=["pool", "report"])
  counts = files.read_json(work / "pool/counts.json")
  assert (counts["rejected"], counts["truncated"]) == (0, 20)
  index = files.read_table(tables.INDEX.path(work))
  cut = files.read_table(tables.TRUNCATED.path(work))
  assert cut["row"].tolist() == np.flatnonzero(index["truncated"]).tolist()
  assert (cut["id"] == index["id"][cut["row"]]).all()
  # Together with what was cut, an example has the tokens that it has uncut.
  uncut = _config(tmp_path, tokens__max_tokens=8192)
  pipeline.run(uncut, tmp_path / "uncut", stages=["pool"])
  whole = files.read_table(tables.INDEX.path(tmp_path / "uncut"))
  for part in ("prompt", "response"):
    found = index[f"n_{part}_tokens"].astype(np.int64)
    found[cut["row"]] += cut[part]
    assert found.tolist() == whole[f"n_{part}_tokens"].tolist()
  assert cut["response"].all() and (cut["prompt"] > 0).sum() == 1
  lengths = index["n_prompt_tokens"] + index["n_response_tokens"]
  assert (lengths[cut["row"]] == 256).all() and lengths.max() == 256
  said = capsys.readouterr().err
  page = (work / "report/index.html").read_text()
  for text in (said, page):
    assert "Cut: 20 of 60 examples (33.3 %) had more than 256 tokens" in text
    assert "So the mean response has" in text
  assert "20 examples were cut, and lost" in page


def test_a_pool_read_again_without_cuts_lists_none(tmp_path):
  rows = tiny.records(60)
  rows[0]["output"] = "word " * 400
  source = tiny.write(tmp_path / "pool.jsonl", rows)
  work = tmp_path / "work"
  cut = _config(source, tokens__overflow="truncate_response")
  pipeline.run(cut, work, stages=["pool"])
  listed = tables.TRUNCATED.path(work)
  assert listed.exists()
  whole = _config(source, tokens__overflow="reject")
  pipeline.run(whole, work, stages=["pool"], redo="pool")
  assert not listed.exists()
  told = files.read_json(work / "pool/counts.json")["lengths"]
  assert told["rejected"]["examples"] == 1


ASKS = [
  f"How many legs have {n} cats, {n + 1} birds and a snake?" for n in range(9)
]


def _with_leaks(tmp_path):
  """A pool of 60 with three leaks, of which one is a duplicate as well."""
  rows = tiny.records(60)
  for place, ask in enumerate((ASKS[0], f"Hello!\n{ASKS[1].upper()}", ASKS[0])):
    rows.insert(20 * place, {"instruction": ask, "output": "word " * 3})
  source = tiny.write(tmp_path / "pool.jsonl", rows)
  sets = tiny.write(
    tmp_path / "legs.jsonl", [{"question": ask, "answer": "n"} for ask in ASKS]
  )
  return source, sets


@pytest.mark.parametrize("action", ["remove", "report"])
def test_what_repeats_an_evaluation_set_is_told_apart(tmp_path, capsys, action):
  source, sets = _with_leaks(tmp_path)
  work = tmp_path / "work"
  config = _config(
    source, pool__decontaminate=str(sets), pool__contaminated=action
  )
  pipeline.run(config, work, stages=["pool", "report"])
  removed = 2 if action == "remove" else 0
  counts = files.read_json(work / "pool/counts.json")
  rejects = files.read_jsonl(work / "pool/rejects.jsonl")
  assert counts["read"] == 63
  assert counts["rejected"] == len(rejects) == 1  # The duplicate.
  assert counts["contaminated"] == removed
  assert counts["used"] == 62 - removed
  assert counts["used"] + counts["rejected"] + counts["contaminated"] == 63
  found = files.read_jsonl(work / "pool/contamination.jsonl")
  assert [
    (f["line"], f["how"], f["evaluation"], f["evaluation_line"]) for f in found
  ] == [(1, "prompt", "legs", 1), (21, "short text", "legs", 2)]
  said = capsys.readouterr().err
  page = (work / "report/index.html").read_text()
  left = "are left out" if removed else "stay in the pool"
  for part in (
    "Contaminated: 2 of 62 examples (3.2 %) repeat a record of legs (9); they "
    f"{left}, and pool/contamination.jsonl lists them.",
    f"legs: 1 by prompt, 1 by short text; such as {source} line 1, as {sets} "
    "line 1: ",
  ):
    assert said.count(part) == 2  # At the end of the pool and of the run,
    assert part.replace("'", "&#39;") in page
  ids = files.read_table(work / "pool/index.parquet", ["id"])["id"]
  assert [int(f["id"], 16) in ids for f in found] == [not removed] * 2


def test_a_limit_reads_the_same_with_and_without_an_evaluation_set(tmp_path):
  source, sets = _with_leaks(tmp_path)
  config = _config(source, pool__decontaminate=str(sets), pool__limit=40)
  pipeline.run(config, tmp_path / "work", stages=["pool"])
  counts = files.read_json(tmp_path / "work/pool/counts.json")
  assert (counts["used"], counts["contaminated"]) == (38, 2)
  assert counts["limited"]


def test_an_evaluation_set_is_an_input_of_the_pool(tmp_path, capsys):
  source, sets = _with_leaks(tmp_path)
  config = _config(source, pool__decontaminate=str(sets))
  pipeline.run(config, tmp_path / "work", stages=["pool"])
  pipeline.run(config, tmp_path / "work", stages=["pool"])
  assert "skipped: it is done" in capsys.readouterr().err
  tiny.write(sets, [{"question": ask} for ask in ASKS[1:]])
  with pytest.raises(errors.InputError) as caught:
    pipeline.run(config, tmp_path / "work", stages=["pool"])
  assert "evaluations." in str(caught.value)
  assert "--redo=pool" in str(caught.value)
  sets.unlink()  # What moved away counts as it was.
  pipeline.run(config, tmp_path / "work", stages=["pool"])


def test_a_pool_of_which_nothing_is_left(tmp_path):
  source, _ = _with_leaks(tmp_path)
  config = _config(source, pool__decontaminate=str(source))
  with pytest.raises(errors.InputError) as caught:
    pipeline.run(config, tmp_path / "work", stages=["pool"])
  assert "all 62 usable examples" in str(caught.value)
  assert "--config.pool.contaminated=report" in str(caught.value)


def test_overrides_of_an_evaluation_set_are_not_in_vain(tmp_path, capsys):
  source, sets = _with_leaks(tmp_path)
  tiny.write(sets, [{"stimulus": ask} for ask in ASKS])
  overrides = {"legs": {"prompt": "stimulus"}, "lags": {"prompt": "stimulus"}}
  config = _config(
    source, pool__decontaminate=str(sets), pool__overrides=overrides
  )
  pipeline.run(config, tmp_path / "work", stages=["pool"])
  said = capsys.readouterr().err
  assert "config.pool.overrides has 'lags', which matches no source" in said
  assert files.read_json(tmp_path / "work/pool/counts.json")["contaminated"]


def test_an_evaluation_set_that_is_not_there(tmp_path):
  source, _ = _with_leaks(tmp_path)
  config = _config(source, pool__decontaminate=str(tmp_path / "no.jsonl"))
  with pytest.raises(errors.InputError, match="decontaminate is"):
    pipeline.run(config, tmp_path / "work", stages=["pool"])


def test_overrides_that_a_pool_is_made_from(tmp_path):
  """Those of a target alone are none, or what an older run wrote down."""
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(3))
  asked = {"prompt": "ask"}
  for overrides, before, wanted in (
    ({"own": asked}, {}, {}),
    ({"own": asked}, {"own": {"prompt": "old"}}, {"own": {"prompt": "old"}}),
    ({"pool": asked, "p*": {}, "own": asked}, {}, {"pool": asked, "p*": {}}),
    ({"*": asked}, {}, {"*": asked}),
    ({"set": asked, "none": asked}, {}, {"set": asked, "none": asked}),
    ({"judge": asked}, {}, {}),
  ):
    config = tiny.config(
      source,
      select__target=str(tmp_path / "own.jsonl"),
      pool__decontaminate=str(tmp_path / "set.jsonl"),
      laboratory__dev=str(tmp_path / "judge.jsonl"),
      pool__overrides=overrides,
    )
    assert stage._overrides(config, before) == wanted
