"""Cosines to evaluation sets: brute force, and what they take from a run."""

import numpy as np
import pytest
from etils import epath

from ila_jax import errors, pipeline
from ila_jax.dry_run import dry_run
from ila_jax.embed import encode, rows, texts
from ila_jax.embed import lsa as lsa_lib
from ila_jax.landscape.duplicates import near_evaluation
from ila_jax.run.disk import files
from tests.support import artifacts, tiny

_STAGES = ("pool", "embed", "score", "landscape", "select")
_TABLE = "beside/evaluation/near_evaluation.parquet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A pool, and a set that asks some of it in another order of words."""
  folder = tmp_path_factory.mktemp("sources")
  own = tiny.records(240)
  tiny.write(folder / "pool.jsonl", own)
  asked = []
  for i in range(0, 60, 3):
    words = f"{own[i]['instruction']} {own[i]['input']}".split()
    asked.append({"question": " ".join(words[::-1]), "answer": "None."})
  # Nothing of it is a word of the pool.
  asked.append({"question": "Qqq www zzz ppp kkk?", "answer": "None."})
  tiny.write(folder / "set.jsonl", asked)
  return folder


def _config(folder, **overrides):
  fields = {
    "pool__decontaminate": str(folder / "set.jsonl"),
    "landscape__projection": "pca",
    "landscape__grid": 6,
    "select__compare": ("random",),
  }
  return tiny.config(str(folder / "pool.jsonl"), **fields | overrides)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
  workdir = epath.Path(tmp_path_factory.mktemp("run") / "work")
  pipeline.run(_config(folder), workdir, stages=_STAGES)
  return workdir


def test_what_is_near_is_left_out(folder, run, capsys):
  # No rule of words has found any.
  assert files.read_json(run / "pool/counts.json")["contaminated"] == 0
  assert not (run / "beside").exists()
  before = files.read_table(run / "select/ranking.parquet")["row"]
  config = _config(folder, select__exclude_near_evaluation=0.8)
  with pytest.raises(errors.InputError, match="--redo=select"):
    pipeline.run(config, run, stages=_STAGES)
  pipeline.run(config, run, stages=_STAGES, redo="select")
  said = capsys.readouterr().err
  table = files.read_table(run / _TABLE)
  _check_brute_force(folder, config, run, table)
  ranked = files.read_table(run / "select/ranking.parquet")["row"]
  near = table["row"][table["cosine"] >= np.float32(0.8)]
  gone = sorted(set(before.tolist()) & set(near.tolist()))
  assert gone and sorted(set(before.tolist()) - set(gone)) == sorted(ranked)
  record = files.read_json(run / "select/stage.json")
  assert record["near_evaluation"] == len(gone)
  assert f"{len(gone)} more are left out" in said
  assert artifacts.faults(run) == []
  beside = files.read_json(run / "beside/evaluation/stage.json")
  assert (beside["prompts"], beside["unread"]) == (21, 1)
  # Another cosine compares nothing anew.
  written = (run / _TABLE).stat().mtime
  other = _config(folder, select__exclude_near_evaluation=0.95)
  pipeline.run(other, run, stages=_STAGES, redo="select")
  assert (run / _TABLE).stat().mtime == written
  pipeline.run(other, run, stages=("report",))
  page = (run / "report/index.html").read_text()
  assert "has a cosine of 0.95 or more to them" in page


@pytest.mark.parametrize(
  ("unit", "budget"), [("examples", 150), ("fraction", 0.5)]
)
def test_what_leaves_nothing_is_named(folder, run, unit, budget):
  config = _config(
    folder,
    select__exclude_near_evaluation=0.01,
    select__unit=unit,
    select__budget=budget,
  )
  with pytest.raises(errors.InputError) as raised:
    pipeline.run(config, run, stages=_STAGES, redo="select")
  said = str(raised.value)
  assert "config.select.exclude_near_evaluation=0.01 left" in said
  assert "0 of 0 response tokens are left" in said


def _check_brute_force(folder, config, workdir, table):
  asked = files.read_jsonl(epath.Path(folder / "set.jsonl"))
  lsa = texts.fit_lsa(tiny.run(config, workdir))
  prompts = [one["question"] for one in asked]
  points = lsa_lib.apply_lsa(lsa, encode.lsa_terms(lsa, prompts))
  x = rows.load(workdir, table["row"]).astype(np.float64)
  cosines = x @ points[:20].T.astype(np.float64)
  np.testing.assert_allclose(table["cosine"], cosines.max(axis=1), atol=1e-6)
  line = np.asarray(table["line"]).astype(np.int64)
  own = np.take_along_axis(cosines, line[:, None] - 1, axis=1)[:, 0]
  np.testing.assert_allclose(own, cosines.max(axis=1), atol=1e-6)
  assert {str(file).rpartition("/")[2] for file in table["file"]} == {
    "set.jsonl"
  }


def test_a_dry_run_tells_of_it(folder, run, capsys):
  config = _config(folder, select__exclude_near_evaluation=0.8)
  target = {"select__target": str(folder / "pool.jsonl")}
  both = _config(folder, select__exclude_near_evaluation=0.8, **target)
  found = dry_run.run(both, run, stages=("select",))
  assert list(found) == ["beside/target", "beside/evaluation", "select"]
  assert found["beside/target"].flops > 0
  assert found["beside/evaluation"].seconds > 0
  assert "beside/target" in capsys.readouterr().err
  found = dry_run.run(config, run, stages=("scaling",))
  assert list(found)[-2:] == ["beside/evaluation", "scaling"]


def test_an_lsa_that_is_another_is_refused(folder, run, monkeypatch):
  fit = lsa_lib.fit_lsa
  monkeypatch.setattr(
    lsa_lib,
    "fit_lsa",
    lambda texts, width, seed: fit(texts[:40], width=width, seed=seed),
  )
  config = _config(folder, select__exclude_near_evaluation=0.8)
  with pytest.raises(errors.InputError, match="--redo=embed"):
    pipeline.run(config, run, stages=_STAGES, redo="evaluation")


def test_one_of_several_questions_is_near_by_itself(tmp_path):
  asked = [
    "Write a short poem about a quiet harbour town",
    "Which metals melt below one hundred degrees, and why is that so",
    "Compare both parties of parliament before their last election",
  ]
  tiny.write(
    tmp_path / "pool.jsonl",
    tiny.records(90) + [{"instruction": t, "output": "So."} for t in asked * 3],
  )
  # LSA counts words, in whatever order.
  held = [" ".join(text.split()[::-1]) for text in asked[:2]]
  rows = [{"question_id": 1, "turns": [*held, "Tell me more."]}]
  tiny.write(tmp_path / "set.jsonl", rows)
  config = _config(
    tmp_path, select__exclude_near_evaluation=0.8, encoder__lsa_width=60
  )
  workdir = epath.Path(tmp_path / "work")
  pipeline.run(config, workdir, stages=("pool", "embed"))
  near_evaluation.run(tiny.run(config, workdir))
  cosine = files.read_table(workdir / _TABLE)["cosine"]
  assert (cosine[90:92] > 0.99).all() and cosine[92] < 0.5, cosine[90:]
  # All together, and each but the third, which says little by itself.
  beside = files.read_json(workdir / "beside/evaluation/stage.json")
  assert beside["prompts"] == 3
