"""Trim by residual depth: the residual of a least-squares fit, by NumPy."""

import numpy as np
import pytest

from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference

TRIM = table.METHODS["trim"]


def _strata(domain, n_tokens, rows):
  """Deciles of length in each domain, by counting, one row at a time."""
  found = {}
  for row in rows:
    mine = [other for other in rows if domain[other] == domain[row]]
    bins = min(max(len(mine) // 10, 1), 10)
    below = sum(n_tokens[other] < n_tokens[row] for other in mine)
    equal = sum(n_tokens[other] == n_tokens[row] for other in mine)
    quantile = (below + equal / 2) / len(mine)
    found[row] = int(domain[row]), int(bins * quantile)
  return found


def _slowly(c, quantile):
  """Residuals by `lstsq` with a column for each stratum, then plain `trim`."""
  rows = np.flatnonzero(c.candidate)
  strata = _strata(c.domain, c.n_tokens, rows)
  names = sorted(set(strata.values()))
  columns = np.array([[strata[row] == name for name in names] for row in rows])
  depth = c.depth[rows].astype(np.float64)
  fit = np.linalg.lstsq(columns.astype(float), depth, rcond=None)[0]
  residual = np.zeros(len(c.ids))
  # Below a float32's last digit least squares are not exact.
  residual[rows] = (depth - columns @ fit).round(5)
  return residual, [
    row
    for row, _ in reference.trim(
      [
        reference.Row(
          row=int(row),
          id=int(c.ids[row]),
          cell=int(c.cell[row]),
          depth=float(residual[row]),
          n_tokens=int(c.n_tokens[row]),
          inside=float(c.uniform[row]),
          across=float(c.uniform_across[row]),
        )
        for row in rows
      ],
      quantile,
    )
  ]


@pytest.mark.parametrize("seed", range(4))
def test_the_residual_is_that_of_least_squares(seed):
  rng = np.random.default_rng(seed)
  n = 120
  pool = {
    "ids": rng.permutation(n).astype(np.uint64),
    "cell": rng.integers(0, 7, n),
    # Domains of about 80, 30 and 10: of eight strata, of three, and of one.
    "domain": rng.choice(3, n, p=[0.66, 0.25, 0.09]),
    "n_tokens": rng.integers(1, 12, n) ** 2,
    "depth": rng.normal(size=n).round(3),
    "relative_depth": np.full(n, 0.5),
    "candidate": rng.random(n) < 0.9,
  }
  pool["depth"][~pool["candidate"]] = np.nan
  c = candidates.candidates(**pool, seed=seed)
  _, want = _slowly(c, 1 / 3)
  got = TRIM(c, rank_by="residual", quantile=1 / 3)
  assert got.order.tolist() == want
  assert want != TRIM(c, quantile=1 / 3).order.tolist()


def test_by_hand():
  """Short answers are deep, long ones are not: the residual knows both.

  One domain of 20, so two strata: ten answers of 1 token, of depth 10 to 19,
  and ten of 100 tokens, of depth 0 to 9. In one cell plain depth sets all long
  answers aside, and the residual the five shallowest of each length.
  """
  n = 20
  c = candidates.candidates(
    np.arange(n, dtype=np.uint64),
    cell=np.zeros(n, int),
    depth=np.arange(n)[::-1] * 1.0,
    relative_depth=np.zeros(n),
    n_tokens=np.repeat([1, 100], 10),
    domain=np.zeros(n, int),
    candidate=np.ones(n, bool),
    seed=0,
  )
  first = set(TRIM(c, rank_by="residual").order[:10].tolist())
  assert first == {0, 1, 2, 3, 4, 10, 11, 12, 13, 14}
  assert set(TRIM(c).order[:10].tolist()) == set(range(10))


def test_what_is_alone_in_its_stratum_is_neither_deep_nor_shallow():
  """Its residual is 0: between those of a stratum of two."""
  n = 3
  c = candidates.candidates(
    np.arange(n, dtype=np.uint64),
    cell=np.zeros(n, int),
    depth=np.array([1.0, 3.0, -50.0]),
    relative_depth=np.zeros(n),
    n_tokens=np.ones(n, int),
    domain=np.array([0, 0, 1]),
    candidate=np.ones(n, bool),
    seed=0,
  )
  # The quantile 0.5 of the residuals -1, 1 and 0 is 0: row 0 is set aside.
  assert TRIM(c, rank_by="residual").order.tolist()[-1] == 0
  assert TRIM(c).order.tolist()[-1] == 2


@pytest.mark.parametrize("seed", range(6))
def test_neither_order_nor_other_rows_change_it(seed):
  pool = reference.pool(24, seed)
  mix = np.random.default_rng(seed).permutation(24)
  mixed = {name: values[mix] for name, values in pool.items()}
  one = TRIM(candidates.candidates(**pool, seed=0), rank_by="residual")
  two = TRIM(candidates.candidates(**mixed, seed=0), rank_by="residual")
  assert pool["ids"][one.order].tolist() == mixed["ids"][two.order].tolist()
  # What may not be chosen has no part in the strata.
  kept = {name: values[pool["candidate"]] for name, values in pool.items()}
  three = TRIM(candidates.candidates(**kept, seed=0), rank_by="residual")
  assert pool["ids"][one.order].tolist() == kept["ids"][three.order].tolist()
