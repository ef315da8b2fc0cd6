"""Means of dev losses and their resamples, beside loops."""

import numpy as np
import pytest

from ila_jax.laboratory import estimates


@pytest.fixture
def dev():
  rng = np.random.default_rng(1)
  n = 60
  domain = np.r_[np.zeros(30, int), np.ones(20, int), np.full(10, 3)]
  return estimates.Dev(
    n_tokens=rng.integers(1, 9, n),
    domain=domain,
    group=rng.integers(0, 40, n).astype(np.uint64),
    share=np.array([0.5, 0.2, 0.2, 0.1]),
  )


@pytest.fixture
def nll(dev):
  return np.random.default_rng(2).gamma(2.0, size=(4, 60)) * dev.n_tokens


def _by_loops(nll, dev, times):
  """The three means of one model, example by example."""
  tokens, sums = dict.fromkeys(range(4), 0.0), dict.fromkeys(range(4), 0.0)
  for i, k in enumerate(times):
    sums[dev.domain[i]] += k * nll[i]
    tokens[dev.domain[i]] += k * dev.n_tokens[i]
  there = [d for d in range(4) if tokens[d]]
  each = [sums[d] / tokens[d] for d in there]
  share = [dev.share[d] for d in there]
  return (
    sum(sums.values()) / sum(tokens.values()),
    sum(each) / len(each),
    sum(a * b for a, b in zip(each, share, strict=True)) / sum(share),
  )


def test_losses_by_loops(nll, dev):
  found = estimates.losses(nll, dev)
  for r in range(4):
    wanted = _by_loops(nll[r], dev, np.ones(60))
    got = [found[name][r] for name in estimates.MEASURES]
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_by_domain(nll, dev):
  found = estimates.by_domain(nll, dev)
  assert found.shape == (4, 4) and np.isnan(found[:, 2]).all()
  inside = dev.domain == 3
  wanted = nll[:, inside].sum(axis=1) / dev.n_tokens[inside].sum()
  np.testing.assert_allclose(found[:, 3], wanted)


def test_resamples_draw_whole_groups_inside_domains(nll, dev):
  rng = np.random.default_rng(0)
  (times,) = estimates._times(dev, rng, 50)
  for d in (0, 1, 3):
    inside = np.flatnonzero(dev.domain == d)
    groups, first = np.unique(dev.group[inside], return_index=True)
    drawn = times[:, inside]
    for group in groups:
      of_group = drawn[:, dev.group[inside] == group]
      assert (of_group == of_group[:, :1]).all()
    assert (drawn[:, first].sum(axis=1) == len(groups)).all()


def test_resampled_spread_is_that_of_the_means(dev):
  """Its spread is that of SciPy's bootstrap of a ratio of sums."""
  from scipy import stats

  lone = dev._replace(
    domain=np.zeros(60, int), group=np.arange(60), share=np.ones(1)
  )
  nll = np.random.default_rng(3).gamma(2.0, size=(1, 60)) * dev.n_tokens
  ours = estimates.resampled(nll, lone, resamples=4000, seed=0)[0, :, 0]
  theirs = stats.bootstrap(
    (nll[0], dev.n_tokens),
    lambda loss, tokens, axis: loss.sum(axis) / tokens.sum(axis),
    paired=True,
    vectorized=True,
    n_resamples=4000,
    rng=np.random.default_rng(0),
  )
  np.testing.assert_allclose(ours.std(ddof=1), theirs.standard_error, rtol=0.06)


def test_halves_split_prompts(dev):
  first = estimates.half(dev.group, seed=3, which="first")
  second = estimates.half(dev.group, seed=3, which="second")
  assert (first ^ second).all() and 0 < first.sum() < 60
  assert not set(dev.group[first]) & set(dev.group[second])
