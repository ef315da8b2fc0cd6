"""What the last part of the reference set taught, and of which examples."""

import dataclasses

import numpy as np
import pytest

from ila_jax import pipeline
from ila_jax.pool import index
from ila_jax.run.disk import files
from ila_jax.score import early_losses, split
from tests.support import planned, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run with losses of two reference sets of 20 examples."""
  folder = tmp_path_factory.mktemp("run")
  config = tiny.config(
    tiny.write(folder / "pool.jsonl", tiny.records(120)),
    pool__dev_examples=10,
    pool__shard_examples=50,
    score__reference_examples=20,
    tokens__max_tokens=64,
    train__batch_tokens=512,
    signals__early_share=1.0,
    signals__early_examples=40,
  )
  pipeline.run(config, folder / "work", stages=["pool", "score"])
  return tiny.run(config, folder / "work")


def _with(run, **signals):
  """The same run with other settings."""
  signals = dataclasses.replace(run.config.signals, **signals)
  return run._replace(config=dataclasses.replace(run.config, signals=signals))


def test_of_the_whole_reference_set_it_is_the_tuned_model(run):
  """The same examples by the same recipe: there is nothing left to teach."""
  early_losses.run(run)
  rows = np.arange(len(index.is_dev(run.workdir)))
  gain = early_losses.gain(run.workdir, rows)
  sample = np.flatnonzero(np.isfinite(gain))
  assert len(sample) == 40
  assert not gain[sample].any()
  assert not index.is_dev(run.workdir)[sample].any()
  assert not np.isin(sample, split.reference_rows(run.workdir)).any()
  mixed = np.random.default_rng(0).permutation(rows)
  np.testing.assert_array_equal(
    early_losses.gain(run.workdir, mixed), gain[mixed]
  )
  record = files.read_json(run.workdir / "beside/early_losses/stage.json")
  assert record["reference_examples"] == 20 and record["examples"] == 40
  assert not list((run.workdir / "beside/early_losses").glob("checkpoints*"))


def test_a_part_is_of_the_first_set_and_a_larger_one_has_it(run):
  def part(share):
    config = _with(run, early_share=share).config
    return set(np.flatnonzero(early_losses._part(config, run.workdir)).tolist())

  held = files.read_table(run.workdir / "score/reference.parquet")
  first = set(held["row"][held["seed"] == 0].tolist())
  assert part(0.25) < part(0.5) < part(1.0) == first
  assert len(part(0.25)) == 5 and len(part(0.001)) == 1


def test_a_larger_sample_has_the_smaller_one(run):
  few, many, all_ = (
    set(early_losses._sample(_with(run, early_examples=count)).tolist())
    for count in (10, 40, 1000)
  )
  assert few < many < all_ and len(few) == 10
  n = len(index.is_dev(run.workdir))
  taken = int(index.is_dev(run.workdir).sum())
  assert len(all_) == n - taken - len(split.reference_rows(run.workdir))


def test_its_cost_is_a_training_and_a_sample():
  one, two = (
    early_losses.cost(
      planned.run(
        model__path="a", train__method="full", signals__early_examples=count
      )
    )
    for count in (100, 200)
  )
  pool = planned.run(train__method="full")
  scoring = pool.scoring(pool.sample.data, examples=100).flops
  assert two.flops - one.flops == pytest.approx(scoring)
  assert one.flops > scoring
