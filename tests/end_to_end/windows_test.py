"""A run whose long examples are read in windows."""

import shutil

import numpy as np
import pytest

from ila_jax import pipeline
from ila_jax.compute import mesh
from ila_jax.models.folders import weights
from ila_jax.passes import example_loss, layouts, token_set, windows
from ila_jax.pool import index, shards
from ila_jax.run import tables
from ila_jax.run.disk import files
from ila_jax.score import stage as score_stage
from tests.support import tiny

_STAGES = ("pool", "embed", "score", "landscape", "select", "finetune")


def _pool(folder):
  """Records of which every third has an answer of some hundred tokens."""
  rows = tiny.records(130)
  for place, row in enumerate(rows[::3]):
    row["output"] = " ".join(
      f"word{(place + 1) * k % 31}" for k in range(40 + place)
    )
  return tiny.write(folder / "pool.jsonl", rows)


def _config(source, **overrides):
  settings = {
    "tokens__overflow": "windows",
    "tokens__max_tokens": 64,
    "landscape__projection": "pca",
    "score__reference_examples": 12,
    "pool__shard_examples": 50,
  }
  return tiny.config(source, **settings | overrides)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("windows")
  config = _config(_pool(folder))
  pipeline.run(config, folder / "work", stages=_STAGES)
  return config, folder / "work"


def test_no_token_of_a_long_answer_is_lost(run):
  _, work = run
  counts = files.read_json(tables.COUNTS.path(work))
  lengths = index.lengths(work)
  assert (counts["rejected"], counts["truncated"]) == (0, 0)
  assert counts["lengths"]["windows"]["examples"] == (lengths > 64).sum() > 30
  scores = files.read_table(tables.SCORES.path(work))
  whole = index.column(work, "n_response_tokens")
  np.testing.assert_array_equal(scores["n_tokens"], whole[scores["row"]])


def test_scores_are_sums_over_the_windows(run):
  _, work = run
  _, decoder = weights.load_decoder(tables.BASE.path(work))
  nll = files.read_table(tables.SCORES.path(work))["nll_base"]
  data = token_set.tokens_of(
    shards.gather(work, np.arange(len(nll)), ["tokens", "is_response"])
  )
  for row in (0, 3, 90):
    assert len(data.tokens[row]) > 128
    parts = windows.split(data.subset([row]), max_tokens=64)
    sums = example_loss.example_nll(
      decoder,
      parts.data.tokens,
      parts.data.is_response,
      layout=layouts.choose(parts.data.lengths, batch_tokens=64),
      mesh=mesh.make(),
    )
    np.testing.assert_allclose(sums.sum(), nll[row], rtol=1e-5)


def test_training_and_dev_loss_count_examples(run):
  _, work = run
  is_dev, tokens = index.is_dev(work), index.column(work, "n_response_tokens")
  base, *arms = files.read_jsonl(tables.EVALUATIONS.path(work))
  for one in (base, *arms):
    assert one["n_examples"] == is_dev.sum()
    assert one["n_tokens"] == tokens[is_dev].sum()
  k = len(files.read_jsonl(tables.SELECTED.path(work)))
  assert arms[0]["train_examples"] == k
  history = files.read_jsonl(tables.METRICS.path(work))
  # One epoch: each response token of the selection is a target once.
  ours = [line for line in history if line["name"] == arms[0]["name"]]
  assert sum(line["tokens"] for line in ours) == arms[0]["train_tokens"]


def test_killed_and_resumed_is_the_same(run, tmp_path, monkeypatch):
  config, work = run
  again = tmp_path / "work"
  shutil.copytree(
    work, again, ignore=shutil.ignore_patterns("score", "select", "finetune")
  )
  shutil.rmtree(again / "landscape")
  fit, fitted = score_stage.trial.fit, []

  def die_at_the_second(*args, **settings):
    if fitted:
      raise SystemExit
    fitted.append(settings["name"])
    return fit(*args, **settings)

  with monkeypatch.context() as patch:
    patch.setattr(score_stage.trial, "fit", die_at_the_second)
    with pytest.raises(SystemExit):
      pipeline.run(config, again, stages=("score",))
  assert (again / "score/base-00000.parquet").exists()
  pipeline.run(config, again, stages=_STAGES)
  for path in (tables.SCORES, tables.RANKING, tables.EVALUATIONS):
    assert path.path(again).read_bytes() == path.path(work).read_bytes()


def test_where_all_fits_windows_change_nothing(run, tmp_path):
  config, work = run
  source = config.pool.source
  made = {}
  for overflow in ("windows", "reject"):
    folder = tmp_path / overflow
    fitting = _config(source, tokens__overflow=overflow, tokens__max_tokens=512)
    pipeline.run(fitting, folder, stages=("pool", "score"))
    assert files.read_json(tables.COUNTS.path(folder))["rejected"] == 0
    made[overflow] = tables.SCORES.path(folder).read_bytes()
  assert made["windows"] == made["reject"]
  assert made["reject"] != tables.SCORES.path(work).read_bytes()
