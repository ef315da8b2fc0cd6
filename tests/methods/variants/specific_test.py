"""The specificity filter by hand, and by plain loops."""

import fractions

import numpy as np
import pytest

from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference

SPECIFIC = table.METHODS["specific"]
NAME = "swapped_prompt"


def _candidates(pool, values, seed=0):
  c = candidates.candidates(**pool, seed=seed)
  return candidates.with_inputs(c, {NAME: values}, wanted=None)


def test_by_hand():
  """TS is the mean of the second and the fourth number, for each token.

  That is 2, -0.5, 1, 3 and 0; `keep` of 0.5 sets aside what has a quantile of
  a half or less: 0.1 (-0.5), 0.3 (0) and 0.5 (1).
  """
  values = np.array(
    [
      [9.0, 4.0, 9.0, 4.0],
      [9.0, -1.0, 9.0, 0.0],
      [9.0, 1.0, 9.0, 1.0],
      [9.0, 9.0, 9.0, 3.0],
      [9.0, 7.0, 9.0, -7.0],
    ]
  )
  pool = {
    "ids": np.arange(5, dtype=np.uint64),
    "cell": np.arange(5),
    "depth": np.zeros(5),
    "relative_depth": np.zeros(5),
    "n_tokens": np.array([2, 1, 1, 2, 1]),
    "domain": np.zeros(5, int),
    "candidate": np.ones(5, bool),
  }
  c = _candidates(pool, values)
  got = SPECIFIC(c, use="order", like_length=False)
  assert got.order.tolist() == [3, 0, 2, 4, 1]
  got = SPECIFIC(c, keep=0.5)
  assert sorted(got.order[:2].tolist()) == [0, 3] and len(got.order) == 5
  assert SPECIFIC(c, keep=1.0).order.tolist() == (
    table.METHODS["coverage_only"](c).order.tolist()
  )
  values[0] = np.nan
  got = SPECIFIC(_candidates(pool, values))
  assert 0 not in got.order and len(got.order) == 4
  assert got.rest == "1 have no finite task-specificity score."


def _quantile(value, values):
  below = sum(v < value for v in values) + values.count(value) / 2
  return below / len(values)


def slow_strata(c, score, rows, bins):
  """The quantile of each row's score among its domain and length, in loops."""
  stratum, found = {}, {}
  for row in rows:
    peers = [int(c.n_tokens[r]) for r in rows if c.domain[r] == c.domain[row]]
    count = min(max(len(peers) // 10, 1), bins)
    part = int(count * _quantile(int(c.n_tokens[row]), peers))
    stratum[row] = int(c.domain[row]), part
  for row in rows:
    own = [float(score[r]) for r in rows if stratum[r] == stratum[row]]
    found[row] = _quantile(float(score[row]), own)
  return found


def _slowly(c, score, keep, bins):
  rows = [r for r in np.flatnonzero(c.candidate) if np.isfinite(score[r])]
  quantile = slow_strata(c, score, rows, bins)
  place_in, keys = {}, []
  aside = {row: bool(quantile[row] <= 1 - keep) for row in rows}
  for row in sorted(rows, key=lambda r: (aside[r], c.uniform[r], c.id_rank[r])):
    cell = int(c.cell[row])
    place = place_in[cell] = place_in.get(cell, -1) + 1
    weight = 1 if c.cell_weight is None else c.cell_weight[row]
    time = fractions.Fraction(2 * place + 1, 2) / fractions.Fraction(weight)
    last = (c.uniform_across[row], c.id_rank[row], int(row))
    keys.append((aside[row], time, place, *last))
  return [key[-1] for key in sorted(keys)]


@pytest.mark.parametrize("seed", range(8))
def test_it_is_that_of_plain_loops(seed):
  n = 90
  pool = reference.pool(n, seed) | {"depth": np.zeros(n)}
  rng = np.random.default_rng(seed)
  # Whole numbers, so that there are ties, and records without another prompt.
  values = rng.integers(-2, 3, (n, 4)).astype(np.float32)
  values[rng.random(n) < 0.1] = np.nan
  c = _candidates(pool, values, seed)
  if seed % 2:
    c = candidates.with_weights(c, 1.0 + pool["cell"] % 3)
  score = (values[:, 1].astype(float) + values[:, 3]) / 2 / pool["n_tokens"]
  keep = (0.69, 0.3)[seed % 2]
  got = SPECIFIC(c, keep=keep).order.tolist()
  assert got == _slowly(c, score, keep, bins=5)


def test_the_filter_does_not_know_the_length():
  """The kept are about as long as all, though long ones have a low TS."""
  rng = np.random.default_rng(0)
  n = 4000
  length = rng.integers(1, 1000, n)
  # TS of a token, so that the signal is that times the length.
  values = np.zeros((n, 2), np.float32)
  values[:, 1] = length * (5 / np.sqrt(length) + rng.normal(size=n) / 50)
  pool = reference.big_pool(n) | {"n_tokens": length, "domain": 0 * length}
  pool["candidate"] = np.ones(n, bool)
  c = _candidates(pool, values)
  kept = length[SPECIFIC(c).order[: round(0.69 * n)]]
  assert abs(kept.mean() / length.mean() - 1) < 0.05
  plain = length[SPECIFIC(c, like_length=False).order[: round(0.69 * n)]]
  assert plain.mean() / length.mean() < 0.8
