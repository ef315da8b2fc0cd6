"""Target, cells, lengths and starved domains."""

import numpy as np
import pytest
from scipy import stats

from ila_jax.advice import line, shares


def _target(dev, pool, power=0.0, count=400):
  return shares.target(
    np.array(dev, float),
    np.array(pool, float),
    np.full(count, 10),
    power=power,
  )


@pytest.mark.parametrize(
  ("dev", "pool", "advised"),
  [
    ((80, 20), (80, 20), "1"),
    ((50, 50), (80, 20), "any"),
    ((20, 80), (80, 20), "0.5"),
    ((70, 10, 20), (50, 50, 0), "0.5"),
  ],
)
def test_what_the_dev_set_asks_for(dev, pool, advised):
  found = _target(dev, pool)
  share = [np.array(one) / sum(one) for one in (dev, pool)]
  assert found.number == pytest.approx(np.abs(share[0] - share[1]).sum() / 2)
  assert found.detail["advised"] == advised
  assert found.verdict == (line.OK if advised == "any" else line.CAUTION)
  if advised != "any":
    assert f"--config.select.cell_weight={advised}" in found.sentence
  # Only cells that share alike are wrong: never 0 unless dev is balanced.
  for power in (0.5, 1.0, None):
    assert _target(dev, pool, power).verdict == line.OK


def test_a_small_dev_set_differs_by_chance():
  assert _target((70, 30), (50, 50), count=400).detail["advised"] == "0.5"
  assert _target((70, 30), (50, 50), count=9).threshold > 0.2
  none = _target((0, 0), (50, 50), count=1)
  assert (none.verdict, none.number) == (line.UNKNOWN, None)
  assert "cell_weight=0.5" in none.sentence


def test_effective_cells_are_those_of_scipy():
  rng = np.random.default_rng(0)
  cell = rng.geometric(0.2, 500)
  candidate = rng.random(500) < 0.7
  found = shares.balance(cell, candidate)
  counts = np.bincount(cell[candidate])
  counts = counts[counts > 0]
  wanted = np.exp(stats.entropy(counts)) / len(counts)
  assert found.number == pytest.approx(wanted)
  assert found.verdict == (line.CAUTION if wanted > 0.8 else line.OK)
  at = rng.permutation(500)
  assert shares.balance(cell[at], candidate[at]) == found


def test_even_cells_need_no_coverage():
  cell = np.repeat(np.arange(10), 5)
  found = shares.balance(cell, np.ones(50, bool))
  assert (found.number, found.verdict) == (pytest.approx(1.0), line.CAUTION)
  assert "coverage buys nothing" in found.sentence
  one = shares.balance(np.zeros(50, int), np.ones(50, bool))
  assert (one.verdict, one.number) == (line.UNKNOWN, None)
  assert shares.balance(cell, np.zeros(50, bool)).number is None


@pytest.mark.parametrize(
  ("length", "verdict"),
  [
    *((79, line.CAUTION), (80, line.OK), (125, line.OK), (126, line.CAUTION)),
  ],
)
def test_lengths_apart_make_equal_examples_unfair(length, verdict):
  n_tokens = np.array([100, 100, length])
  candidate = np.array([True, True, False])
  found = shares.lengths(n_tokens, candidate, np.array([2]))
  assert (found.number, found.verdict) == (length / 100, verdict)
  assert ("invalid" in found.sentence) == (verdict == line.CAUTION)
  none = shares.lengths(n_tokens, candidate, np.zeros(0, int))
  assert none.verdict == line.UNKNOWN


def test_starved_domains_are_named_worst_first():
  chosen = np.array([96.0, 4.0, 0.0, 0.0])
  pool = np.array([50.0, 25.0, 25.0, 0.0])
  found = shares.starved(chosen, pool, ["much", "few", "none", "not there"])
  assert found.sentence.endswith("none (0.00 of it), few (0.16 of it).")
  assert (found.number, found.verdict) == (0.0, line.CAUTION)
  assert "not there" not in found.detail["domains"]
  fair = shares.starved(pool / 5, pool, list("abcd"))
  assert (fair.number, fair.verdict) == (1.0, line.OK)
  assert shares.starved(0 * pool, pool, list("abcd")).number is None
  assert shares.starved(chosen[:1], pool[:1], ["a"]).verdict == line.UNKNOWN
