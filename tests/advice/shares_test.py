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


def test_what_cells_share_by_beside_their_sizes_is_named():
  even = np.array([80.0, 20.0])
  for power, said in (
    (0.0, "cells share by quotas (power 0), and what counts is as the pool is"),
    (
      1.0,
      "cells share by their sizes to the power 1 and by quotas, which fits",
    ),
  ):
    lengths = np.full(400, 10)
    found = shares.target(even, even, lengths, power=power, factor="by quotas")
    assert said in found.sentence


def test_a_small_dev_set_differs_by_chance():
  assert _target((70, 30), (50, 50), count=400).detail["advised"] == "0.5"
  assert _target((70, 30), (50, 50), count=9).threshold > 0.2
  few = _target((70, 30), (50, 50), count=7)
  assert (few.verdict, few.number) == (line.UNKNOWN, None)
  assert "dev_examples=1000 --redo=pool" in few.sentence
  one = _target((70,), (50,))
  assert (one.verdict, one.number) == (line.UNKNOWN, None)
  assert "have one domain" in one.sentence
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


def _starved(chosen, pool, names="abcd", examples=100):
  return shares.starved(chosen, pool, list(names), examples=examples)


def test_starved_domains_are_named_worst_first():
  chosen = np.array([96.0, 4.0, 0.0, 0.0])
  pool = np.array([50.0, 25.0, 25.0, 0.0])
  names = ["much", "few", "none", "not there"]
  found = _starved(chosen, pool, names)
  assert found.sentence.endswith("none (0.00 of it), few (0.16 of it).")
  assert (found.number, found.verdict) == (0.0, line.CAUTION)
  assert "not there" not in found.detail["domains"]
  fair = _starved(pool / 5, pool)
  assert (fair.number, fair.verdict) == (1.0, line.OK)
  assert _starved(0 * pool, pool).number is None
  assert _starved(chosen[:1], pool[:1], "a").verdict == line.UNKNOWN


def test_a_domain_that_starves_by_chance_is_not_named():
  pool, chosen = np.array([90.0, 10.0]), np.array([100.0, 0.0])
  assert _starved(chosen, pool, "ab", examples=100).number == 0
  found = _starved(chosen, pool, "ab", examples=99)
  assert (found.verdict, found.number) == (line.OK, pytest.approx(1 / 0.9))
  assert "1 more are too small to tell" in found.sentence
  assert _starved(chosen, pool, "ab", examples=11).verdict == line.UNKNOWN


def test_what_chance_moves_is_what_draws_move():
  rng = np.random.default_rng(0)
  share, lengths = np.array([0.5, 0.3, 0.2]), rng.integers(1, 40, 300)
  moved = []
  for _ in range(400):
    domain = rng.choice(3, 300, p=share)
    drawn = np.bincount(domain, weights=lengths, minlength=3) / lengths.sum()
    moved.append(np.abs(drawn - share).sum() / 2)
  found = shares._by_chance(share, lengths)
  assert found == pytest.approx(np.mean(moved), rel=0.1)
