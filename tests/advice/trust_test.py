"""Reliability of depth, and the bound of junk."""

import itertools

import numpy as np
import pytest
from scipy import stats

from ila_jax.advice import line, trust


def _depths(r, noise, n=3000, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=n) + noise * rng.normal(size=(r, n))


@pytest.mark.parametrize(("r", "noise"), [(2, 1.0), (3, 1.0), (4, 2.0)])
def test_reliability_is_that_of_the_model_of_parallel_tests(r, noise):
  """Of means of r: truth / (truth + noise² / r), as Spearman and Brown say."""
  n = 3000
  found = trust.reliability(
    _depths(r, noise), np.ones(n, int), np.zeros(n, int)
  )
  assert found == pytest.approx(1 / (1 + noise**2 / r), abs=0.03)


def test_reliability_is_that_of_loops():
  rng = np.random.default_rng(1)
  depths, n_tokens = _depths(3, 1.0, n=240), rng.integers(1, 500, 240)
  domain = rng.integers(0, 2, 240)
  ranks = np.zeros_like(depths)
  for d in range(2):
    rows = np.flatnonzero(domain == d)
    bins = min(trust.BINS, len(rows) // 10)
    place = (stats.rankdata(n_tokens[rows]) - 0.5) / len(rows)
    for b in range(bins):
      inside = rows[np.floor(place * bins) == b]
      for k in range(3):
        ranks[k, inside] = (stats.rankdata(depths[k, inside]) - 0.5) / len(
          inside
        )
  pairs = itertools.combinations(ranks, 2)
  rho = np.mean([stats.pearsonr(*pair).statistic for pair in pairs])
  found = trust.reliability(depths, n_tokens, domain)
  assert found == pytest.approx(3 * rho / (1 + 2 * rho), abs=1e-12)
  at = rng.permutation(240)
  again = trust.reliability(depths[::-1][:, at], n_tokens[at], domain[at])
  assert again == pytest.approx(found, abs=1e-12)


def test_what_length_and_domain_explain_is_no_agreement():
  rng = np.random.default_rng(2)
  n_tokens = np.repeat(np.arange(1, 6) * 100, 300)
  domain = np.tile([0, 1], 750)
  shared = 10 * domain - n_tokens / 10
  depths = shared + rng.normal(size=(2, 1500))
  assert np.corrcoef(depths)[0, 1] > 0.99
  assert abs(trust.reliability(depths, n_tokens, domain)) < 0.1


def test_one_reference_tells_nothing():
  ones, zeros = np.ones(9, int), np.zeros(9, int)
  assert trust.reliability(_depths(1, 1.0, n=9), ones, zeros) is None
  assert trust.reliability(np.ones((2, 9)), ones, zeros) is None
  found = trust.depth_line(None, references=1)
  assert (found.verdict, found.number) == (line.UNKNOWN, None)
  assert "reference_seeds='(0, 1)' --redo=score" in found.sentence
  rivals = np.stack([np.arange(9.0), -np.arange(9.0)])
  assert trust.reliability(rivals, ones, zeros) == -1.0


def test_depth_ranks_or_only_filters():
  assert trust.depth_line(0.5, references=2).verdict == line.OK
  found = trust.depth_line(0.49, references=2)
  assert found.verdict == line.CAUTION
  assert "filter, and should not rank" in found.sentence


def test_the_bound_of_junk():
  found = trust.junk_line({"junk_bound": 0.1})
  assert (found.verdict, found.number) == (line.OK, 0.1)
  assert trust.junk_line({"junk_bound": 0.11}).verdict == line.CAUTION
  blind = trust.junk_line({"junk_bound": 0.8})
  assert (blind.verdict, blind.number) == (line.UNKNOWN, None)
  none = trust.junk_line(None, rivals=("random",))
  assert "compare=random,specific --redo=select" in none.sentence
  assert "no record" in trust.junk_line({"junk_bound": None}).sentence
