"""What the last part of the reference set taught, and of which examples."""

import dataclasses

import numpy as np
import pytest

from ila_jax.forecast import costs
from ila_jax.pool import index
from ila_jax.run import stage_record
from ila_jax.run.disk import files
from ila_jax.score import early_losses, split
from tests.support import conversations, planned, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """As `conversations.run` has it; the earlier model is tuned on all of R."""
  _, config, workdir = conversations.run(tmp_path_factory.mktemp("run"))
  found = tiny.run(config, workdir)
  return _with(found, early_share=1.0, early_examples=20)


def _with(run, **signals):
  """The same run with other settings."""
  signals = dataclasses.replace(run.config.signals, **signals)
  config = dataclasses.replace(run.config, signals=signals)
  return dataclasses.replace(run, config=config)


def test_of_the_whole_reference_set_it_is_the_tuned_model(run):
  """The same examples by the same recipe: there is nothing left to teach."""
  early_losses.run(run)
  rows = np.arange(len(index.is_dev(run.workdir)))
  gain = early_losses.gain(run.workdir, rows)
  sample = np.flatnonzero(np.isfinite(gain))
  assert len(sample) == 20
  assert not gain[sample].any()
  assert not index.is_dev(run.workdir)[sample].any()
  assert not np.isin(sample, split.reference_rows(run.workdir)).any()
  mixed = np.random.default_rng(0).permutation(rows)
  np.testing.assert_array_equal(
    early_losses.gain(run.workdir, mixed), gain[mixed]
  )
  record = files.read_json(run.workdir / "beside/early_losses/stage.json")
  assert record["reference_examples"] == 5 and record["examples"] == 20
  assert not list((run.workdir / "beside/early_losses").glob("checkpoints*"))


def test_a_part_is_of_the_first_set_and_a_larger_one_has_it(run):
  def part(share):
    config = _with(run, early_share=share).config
    return set(np.flatnonzero(early_losses._part(config, run.workdir)).tolist())

  held = files.read_table(run.workdir / "score/reference.parquet")
  first, other = (
    set(held["row"][held["seed"] == seed].tolist())
    for seed in run.config.score.reference_seeds
  )
  assert part(0.2) < part(0.6) < part(1.0) == first != other
  assert len(part(0.6)) == 3 and len(part(0.001)) == 1


def test_a_larger_sample_has_the_smaller_one(run):
  few, many, all_ = (
    set(early_losses._sample(_with(run, early_examples=count)).tolist())
    for count in (10, 20, 1000)
  )
  assert few < many < all_ and len(few) == 10
  n = len(index.is_dev(run.workdir))
  taken = int(index.is_dev(run.workdir).sum())
  assert len(all_) == n - taken - len(split.reference_rows(run.workdir))


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("seed", 3),
    ("signals__early_share", 0.7),
    ("signals__early_examples", 7),
  ],
)
def test_each_field_makes_others(monkeypatch, field, value):
  monkeypatch.setattr(stage_record, "output", lambda *_: "scored")
  before, after = (
    early_losses._made_from(tiny.run(tiny.config("x", **fields), "work"))
    for fields in ({}, {field: value})
  )
  assert before["score"] == "scored" and before != after


def test_its_cost_is_a_training_on_a_part_and_a_sample(monkeypatch):
  """Of the 30 examples of the reference a fifth; of the pool 20, or all."""
  asked = []

  def training(self, data, recipe, *, examples, runs=1):
    asked.append(("train", examples, recipe.seed))
    return costs.Cost(5.0)

  def scoring(self, data, *, examples, models=1):
    asked.append(("score", examples))
    return costs.Cost(2.0)

  monkeypatch.setattr(planned.work.PlannedRun, "training", training)
  monkeypatch.setattr(planned.work.PlannedRun, "scoring", scoring)
  for count, scored in ((20, 20), (9999, 1000)):
    found = early_losses.cost(
      planned.run(
        signals__early_share=0.2,
        signals__early_examples=count,
        score__reference_seeds=(7, 1),
      )
    )
    assert found.seconds == 7
    assert asked == [("train", 6.0, 7), ("score", scored)]
    asked.clear()
