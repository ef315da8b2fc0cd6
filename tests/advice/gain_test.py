"""The predicted gain: brute force, planted gains, invariances."""

import math

import numpy as np
import pytest
from scipy import stats

from ila_jax.advice import gain, line


def _sample(seed=0, n=400, domains=3, references=1, each=None):
  """Domain d gains `each[d]` nats a token, with noise."""
  rng = np.random.default_rng(seed)
  each = np.array(each if each is not None else [0.0, 0.1, 0.4])
  domain = rng.integers(0, domains, n)
  n_tokens = rng.integers(5, 60, n)
  noise = rng.normal(0, 0.02, (references, n))
  return gain.Sample(
    gain=n_tokens * (each[domain] + noise),
    n_tokens=n_tokens,
    domain=domain,
    prompt=rng.integers(0, n, n).astype(np.uint64),
    ids=rng.permutation(n).astype(np.uint64),
  )


_SHARES = gain.Shares(
  dev=np.array([200.0, 500.0, 300.0]),
  chosen=np.array([500.0, 0.0, 2500.0]),
  pool=np.array([4000.0, 4000.0, 2000.0]),
)


def _brute(sample, shares, *, early_share, kappa):
  """The value by loops over domains and rows."""
  count = len(shares.pool)
  total = [0.0] * count
  tokens = [0] * count
  mean_gain = sample.gain.mean(axis=0)
  for g, t, d in zip(mean_gain, sample.n_tokens, sample.domain, strict=True):
    total[d] += g
    tokens[d] += t
  mean = sum(total) / sum(tokens)
  spent = sum(shares.chosen)
  found = 0.0
  for d in range(count):
    learned = (total[d] + 300 * mean) / (tokens[d] + 300)
    learned /= math.log(1 / early_share)
    random = spent * shares.pool[d] / sum(shares.pool)
    ours = shares.chosen[d] + kappa * (spent - shares.chosen[d]) / count
    theirs = random + kappa * (spent - random) / count
    weight = shares.dev[d] / sum(shares.dev)
    found += weight * learned * (math.log(ours) - math.log(theirs))
  return found


@pytest.mark.parametrize("early_share", [0.25, 0.5])
def test_the_value_is_that_of_loops(early_share):
  sample = _sample(references=3)
  found = gain.predict(sample, _SHARES, early_share=early_share, seed=0)
  wanted = _brute(sample, _SHARES, early_share=early_share, kappa=gain.KAPPA)
  assert found.value == pytest.approx(wanted, rel=1e-12)
  assert found.low < found.value < found.high
  assert found.references == 3


def test_the_interval_is_that_of_loops():
  sample = _sample(n=40)
  found = gain.predict(sample, _SHARES, early_share=0.25, seed=3)
  order = np.argsort(sample.ids)
  _, prompt = np.unique(sample.prompt[order], return_inverse=True)
  rng = np.random.default_rng([3, *b"advice"])
  values = {kappa: [] for kappa in gain.KAPPAS}
  for _ in range(gain.RESAMPLES):
    drawn = rng.integers(0, prompt.max() + 1, prompt.max() + 1)
    at = np.concatenate([order[prompt == one] for one in drawn])
    again = sample._replace(
      gain=sample.gain[:, at],
      n_tokens=sample.n_tokens[at],
      domain=sample.domain[at],
    )
    for kappa in gain.KAPPAS:
      values[kappa].append(
        _brute(again, _SHARES, early_share=0.25, kappa=kappa)
      )
  ends = [np.quantile(one, [0.05, 0.95]) for one in values.values()]
  assert found.low == pytest.approx(min(low for low, _ in ends), abs=1e-9)
  assert found.high == pytest.approx(max(high for _, high in ends), abs=1e-9)


def test_several_references_widen_the_interval_by_students_t():
  sample = _sample(references=1)
  both = np.concatenate([sample.gain, 3 * sample.gain])
  mean = sample._replace(gain=both.mean(axis=0, keepdims=True))
  arguments = {"early_share": 0.25, "seed": 0}
  one = gain.predict(mean, _SHARES, **arguments)
  two = gain.predict(sample._replace(gain=both), _SHARES, **arguments)
  assert two.value == pytest.approx(one.value)
  each = np.array([0.5, 1.5]) * one.value
  half = stats.t.ppf(0.95, 1) * stats.sem(each)
  assert two.value - two.low == pytest.approx(
    math.hypot(one.value - one.low, half)
  )
  assert two.high - two.value == pytest.approx(
    math.hypot(one.high - one.value, half)
  )


def test_a_planted_gain_is_found():
  """All domains weigh alike; tokens move to the one that is still learned."""
  learned = 0.3  # Nats a token for each e-fold, in the last domain alone.
  sample = _sample(each=[0, 0, learned * math.log(4)], n=6000)
  even = np.full(3, 1000.0)
  moved = gain.Shares(even, np.array([500.0, 500.0, 2000.0]), even)
  found = gain.predict(sample, moved, early_share=0.25, seed=0)
  # Without transfer: 1/3 · 0.3 · ln 2; what others teach makes it less.
  seen = (2000 + gain.KAPPA * 1000 / 3) / (1000 + gain.KAPPA * 2000 / 3)
  assert found.value == pytest.approx(learned / 3 * math.log(seen), rel=0.02)
  assert found.low > gain.LEAST_GAIN
  told = gain.told(found, names="abc", shares=moved, spread=None)
  assert (told.verdict, told.threshold) == (line.OK, 0.01)
  assert told.sentence.startswith("Expected to help by 0.0")
  # The same tokens where nothing is learned any more do harm.
  away = moved._replace(chosen=np.array([1400.0, 1400.0, 200.0]))
  lost = gain.predict(sample, away, early_share=0.25, seed=0)
  assert lost.high < 0
  told = gain.told(lost, names="abc", shares=away, spread=None)
  assert told.verdict == line.CAUTION
  assert "−0." in told.sentence and "-0." not in told.sentence


def test_what_the_seed_moves_is_the_threshold():
  sample = _sample(each=[0, 0, 0.3], n=2000)
  even = np.full(3, 1000.0)
  moved = gain.Shares(even, np.array([500.0, 500.0, 2000.0]), even)
  found = gain.predict(sample, moved, early_share=0.25, seed=0)
  assert found.low > 0.01
  told = gain.told(found, names="abc", shares=moved, spread=found.low + 1e-6)
  assert told.verdict == line.CAUTION
  assert told.threshold == found.low + 1e-6
  assert "by which dev loss moves with the seed" in told.sentence


def test_random_shares_gain_nothing_and_transfer_makes_it_less():
  sample = _sample()
  same = _SHARES._replace(chosen=_SHARES.pool / 3)
  found = gain.predict(sample, same, early_share=0.25, seed=0)
  assert abs(found.value) < 1e-12 and abs(found.high) < 1e-12
  chosen, random = np.array([0.0, 90.0]), np.array([45.0, 45.0])
  each = [
    np.abs(gain.e_folds(chosen, random, kappa=k)) for k in (0.1, 0.3, 1.0)
  ]
  assert (each[0] > each[1]).all() and (each[1] > each[2]).all()
  assert np.isfinite(each).all()  # Also where no token is chosen.


def test_order_of_rows_of_references_and_size_change_nothing():
  sample = _sample(references=3)
  arguments = {"early_share": 0.25, "seed": 0}
  found = gain.predict(sample, _SHARES, **arguments)
  at = np.random.default_rng(1).permutation(len(sample.ids))
  permuted = gain.Sample(sample.gain[:, at], *(one[at] for one in sample[1:]))
  again = gain.predict(permuted, _SHARES, **arguments)
  assert (again.value, again.low, again.high) == found[:3]
  swapped = sample._replace(gain=sample.gain[::-1])
  again = gain.predict(swapped, _SHARES, **arguments)
  np.testing.assert_allclose(again[:3], found[:3], rtol=1e-12)
  tenfold = gain.Shares(*(10 * one for one in _SHARES))
  again = gain.predict(sample, tenfold, **arguments)
  np.testing.assert_allclose(again[:3], found[:3], rtol=1e-12)


def test_what_cannot_be_told_is_told():
  one, no = np.array([5.0]), np.zeros(2)
  two = np.array([5.0, 5.0])
  assert "has one domain" in gain.missing(gain.Shares(one, one, one))
  # Also where a second domain is held out alone.
  assert "has one domain" in gain.missing(
    gain.Shares(two, two, np.array([5.0, 0.0]))
  )
  assert "nothing is selected" in gain.missing(gain.Shares(two, no, two))
  assert "no example is held out" in gain.missing(gain.Shares(no, two, two))
  assert gain.missing(gain.Shares(two, two, two)) == ""


def test_the_spread_of_the_seed():
  nll = np.array([[4.0, 8.0], [4.0, 2.0], [4.0, 2.0]])
  spread = gain.seed_spread(nll, np.array([2, 4]))
  assert spread == pytest.approx(np.std([2, 1, 1], ddof=1))
  assert gain.seed_spread(nll[:1], np.array([2, 4])) is None
  assert gain.seed_spread(nll[:, :0], np.zeros(0, int)) is None
