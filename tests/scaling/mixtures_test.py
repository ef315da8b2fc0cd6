"""Mixtures of domains and lengths."""

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.methods import candidates
from ila_jax.scaling import mixtures


def _pool(order=None, n=4000):
  rng = np.random.default_rng(0)
  columns = {
    "ids": np.arange(n, dtype=np.uint64),
    "cell": rng.integers(0, 40, n),
    "depth": rng.normal(size=n).astype(np.float32),
    "relative_depth": rng.uniform(0.1, 1, n).astype(np.float32),
    "n_tokens": rng.integers(5, 200, n),
    "domain": rng.integers(0, 5, n) * 3,
    "candidate": rng.random(n) < 0.9,
  }
  order = np.arange(n) if order is None else order
  columns = {name: column[order] for name, column in columns.items()}
  return candidates.Candidates(**columns, seed=0)


def _made(pool, count=12):
  return mixtures.mixtures(pool, count=count, tokens=(2000, 20_000), seed=1)


def test_tokens_fit_and_only_candidates_are_drawn():
  pool = _pool()
  made = _made(pool)
  for number, one in enumerate(made):
    spent = pool.n_tokens[one.rows].sum()
    wanted = one.levels["tokens"]
    assert wanted - 200 < spent <= wanted + 1
    assert 2000 <= wanted <= 20_000
    if number % 2 == 0:
      assert wanted == round(np.sqrt(2000 * 20_000))
    assert pool.candidate[one.rows].all() and not one.in_design
    assert len(set(one.rows.tolist())) == len(one.rows)


def test_shares_are_those_that_were_drawn():
  pool = _pool()
  (one,) = _made(pool, count=1)
  rng = np.random.default_rng([1, 0, *b"mixture"])
  share = rng.dirichlet(np.full(5, 0.5))
  tokens = np.bincount(pool.domain[one.rows] // 3, pool.n_tokens[one.rows])
  np.testing.assert_allclose(tokens / tokens.sum(), share, atol=0.03)


def test_lengths_are_tilted():
  pool = _pool()
  made = _made(pool, count=30)
  tilt = [one.levels["tilt"] for one in made]
  mean = [pool.n_tokens[one.rows].mean() for one in made]
  assert np.corrcoef(tilt, mean)[0, 1] > 0.9


def test_the_order_of_the_pool_and_the_count_change_nothing():
  order = np.random.default_rng(5).permutation(4000)
  one, other = _pool(), _pool(order)
  ids = [set(one.ids[made.rows].tolist()) for made in _made(one)]
  assert ids == [set(other.ids[made.rows].tolist()) for made in _made(other)]
  assert ids[:3] == [
    set(one.ids[made.rows].tolist()) for made in _made(one, count=3)
  ]


def test_more_tokens_than_there_are_is_refused():
  with pytest.raises(errors.InputError, match=r"mixture_tokens is .* up to"):
    mixtures.mixtures(_pool(n=50), count=1, tokens=(10, 10**6), seed=0)
