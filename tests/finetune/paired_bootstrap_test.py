"""Intervals of differences, beside SciPy's and beside what is true."""

import numpy as np
import pytest
import scipy.stats

from ila_jax.finetune import paired_bootstrap


def _losses(rng, n, *, gap=0.03, spread=0.4):
  """Two models that agree on what is hard, and lengths of many orders."""
  n_tokens = np.clip(rng.lognormal(3.5, 1.0, n), 1, 900).astype(np.int32)
  hard = rng.normal(2.5, 0.8, n)
  ours = n_tokens * (hard + rng.normal(-gap, spread, n))
  theirs = n_tokens * hard
  return ours.astype(np.float32), theirs.astype(np.float32), n_tokens


def _alone(n):
  return np.arange(n, dtype=np.uint64)


def _micro(ours, theirs, n_tokens, axis=-1):
  return (ours - theirs).sum(axis) / n_tokens.sum(axis)


def _macro(ours, theirs, n_tokens, axis=-1):
  return ((ours - theirs) / n_tokens).mean(axis)


@pytest.mark.parametrize(
  ("kind", "statistic"), [("micro", _micro), ("macro", _macro)]
)
def test_the_interval_is_scipys(kind, statistic):
  rng = np.random.default_rng(0)
  data = _losses(rng, 240)
  ours, theirs, n_tokens = data
  (found,) = paired_bootstrap.differences(
    ours, theirs[None], n_tokens, groups=_alone(240), seed=0
  )
  estimate = getattr(found, kind)
  witness = scipy.stats.bootstrap(
    [column.astype(float) for column in data], statistic, paired=True,
    vectorized=True, n_resamples=10_000, method="percentile", rng=rng,
  )  # fmt: skip
  interval = witness.confidence_interval
  # A 2.5 % quantile of 10,000 normal draws has a standard error of 0.027 sd.
  error = 0.11 * witness.standard_error
  assert estimate.value == pytest.approx(statistic(*data), rel=1e-5)
  assert estimate.low == pytest.approx(interval.low, abs=error)
  assert estimate.high == pytest.approx(interval.high, abs=error)
  assert error < 0.1 * (estimate.high - estimate.low)


def test_nineteen_of_twenty_intervals_hold_the_truth():
  rng = np.random.default_rng(1)
  population = _losses(rng, 200_000)
  truth = {"micro": _micro(*population), "macro": _macro(*population)}
  runs, held = 800, dict.fromkeys(truth, 0)
  for run in range(runs):
    rows = rng.integers(0, len(population[0]), 200)
    ours, theirs, n_tokens = (column[rows] for column in population)
    (found,) = paired_bootstrap.differences(
      ours, theirs[None], n_tokens, groups=_alone(200), seed=run, resamples=500
    )
    for kind, value in truth.items():
      estimate = getattr(found, kind)
      held[kind] += estimate.low <= value <= estimate.high
  for kind, count in held.items():
    assert 0.92 < count / runs < 0.975, kind


def test_pairs_tell_more_than_two_means_apart():
  """What makes an example hard for both models cancels out."""
  ours, theirs, n_tokens = _losses(np.random.default_rng(2), 300, spread=0.1)
  (found,) = paired_bootstrap.differences(
    ours, theirs[None], n_tokens, groups=_alone(300), seed=0
  )
  each = ours / n_tokens, theirs / n_tokens
  alone = 2 * 1.96 * np.sqrt(sum(loss.var() / 300 for loss in each))
  assert found.macro.high - found.macro.low < alone / 5
  assert found.micro.high < 0 and found.macro.high < 0


def test_examples_of_one_prompt_count_once():
  ours, theirs, n_tokens = _losses(np.random.default_rng(3), 100)
  fields = {"seed": 0}
  once = paired_bootstrap.differences(
    ours, theirs[None], n_tokens, groups=_alone(100), **fields
  )
  four = [np.repeat(column, 4) for column in (ours, theirs, n_tokens)]
  together = paired_bootstrap.differences(
    four[0], four[1][None], four[2], groups=np.repeat(_alone(100), 4), **fields
  )
  apart = paired_bootstrap.differences(
    four[0], four[1][None], four[2], groups=_alone(400), **fields
  )
  np.testing.assert_allclose(together, once, rtol=1e-6)
  width = [e.high - e.low for (d,) in (once, apart) for e in d]
  np.testing.assert_allclose(width[2:], np.array(width[:2]) / 2, rtol=0.1)


def test_each_rival_is_compared_as_if_alone():
  rng = np.random.default_rng(4)
  ours, theirs, n_tokens = _losses(rng, 80)
  rivals = np.stack([theirs, theirs + n_tokens, ours])
  fields = {"groups": _alone(80), "seed": 5}
  found = paired_bootstrap.differences(ours, rivals, n_tokens, **fields)
  for rival, difference in zip(rivals, found, strict=True):
    (alone,) = paired_bootstrap.differences(
      ours, rival[None], n_tokens, **fields
    )
    np.testing.assert_allclose(difference, alone, rtol=1e-6, atol=1e-12)
  # One nat more a token moves all; a model beside itself is no better.
  shifted = np.array(found[0]) - np.array(found[1])
  np.testing.assert_allclose(shifted, 1, rtol=1e-5)
  assert np.array(found[2]).tolist() == [[0, 0, 0]] * 2


def test_blocks_change_nothing(monkeypatch):
  ours, theirs, n_tokens = _losses(np.random.default_rng(6), 50)
  fields = {"groups": _alone(50), "seed": 0, "resamples": 700}
  whole = paired_bootstrap.differences(ours, theirs[None], n_tokens, **fields)
  monkeypatch.setattr(paired_bootstrap, "_BLOCK", 64)
  parts = paired_bootstrap.differences(ours, theirs[None], n_tokens, **fields)
  np.testing.assert_allclose(parts, whole, rtol=1e-9)


def test_one_dev_example_says_nothing_of_others():
  (found,) = paired_bootstrap.differences(
    np.array([2.0]), np.array([[3.0]]), np.array([2]), groups=_alone(1), seed=0
  )
  assert found.micro == found.macro == (-0.5, -0.5, -0.5)
