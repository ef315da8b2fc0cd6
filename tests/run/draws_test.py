"""Draws: against b2sum, SciPy, and the promise that order is irrelevant."""

import numpy as np
import pytest
from scipy import stats

from ila_jax import errors
from ila_jax.run import draws


def _ids(n):
  return np.arange(n, dtype=np.uint64)


@pytest.mark.parametrize(
  "seed, purpose, name, digest",
  [  # printf 'PURPOSE/SEED/ID' | b2sum -l 64
    (0, "random", 0xABC, 0x0F4C1C010EBBEF3E),
    (7, "reference", 0x0123456789ABCDEF, 0xB0C1132ECADF185E),
  ],
)
def test_keyed_uniform_is_blake2b_of_the_key(seed, purpose, name, digest):
  ids = np.array([name], np.uint64)
  got = draws.keyed_uniform(ids, seed=seed, purpose=purpose)
  np.testing.assert_allclose(got, digest / 2**64, rtol=0, atol=2**-53)


def test_keyed_uniform_is_uniform_and_independent_of_purpose_and_seed():
  ids = _ids(20_000)
  one = draws.keyed_uniform(ids, seed=0, purpose="a")
  assert one.min() >= 0
  assert one.max() < 1
  assert stats.kstest(one, "uniform").pvalue > 0.01
  for seed, purpose in [(1, "a"), (0, "b")]:
    other = draws.keyed_uniform(ids, seed=seed, purpose=purpose)
    assert abs(stats.pearsonr(one, other).statistic) < 0.02


def test_keyed_uniform_does_not_see_the_order():
  ids = _ids(50)
  mix = np.random.default_rng(0).permutation(50)
  whole = draws.keyed_uniform(ids, seed=3, purpose="a")
  mixed = draws.keyed_uniform(ids[mix], seed=3, purpose="a")
  np.testing.assert_array_equal(whole[mix], mixed)
  assert len(draws.keyed_uniform(ids[:0], seed=3, purpose="a")) == 0


def _brute(groups, count, seed, purpose, allowed):
  walk = sorted(
    set(groups.tolist()),
    key=lambda g: draws.keyed_uniform(
      np.array([g], np.uint64), seed=seed, purpose=purpose
    )[0],
  )
  drawn = np.zeros(len(groups), bool)
  for group in walk:
    if drawn.sum() >= count:
      break
    drawn |= (groups == group) & allowed
  return drawn


def test_draw_equals_a_walk_over_the_groups():
  rng = np.random.default_rng(1)
  for seed in range(300):
    n = int(rng.integers(1, 30))
    groups = rng.integers(0, 12, n, np.uint64)
    allowed = rng.random(n) < 0.7
    count = int(rng.integers(0, allowed.sum() + 1))
    got = draws.draw(
      groups, count=count, seed=seed, purpose="dev", allowed=allowed
    )
    want = _brute(groups, count, seed, "dev", allowed)
    np.testing.assert_array_equal(got, want)
    for group in np.unique(groups[got]):  # no prompt on two sides
      assert got[(groups == group) & allowed].all()


def test_draw_is_nested_and_does_not_see_the_order():
  rng = np.random.default_rng(2)
  groups = rng.integers(0, 300, 900, np.uint64)
  mix = rng.permutation(900)
  free = np.ones(900, bool)

  def drawn(groups, count):
    return draws.draw(
      groups, count=count, seed=5, purpose="reference", allowed=free
    )

  small, large = drawn(groups, 100), drawn(groups, 300)
  assert 100 <= small.sum() < 115
  assert (large & small).sum() == small.sum()
  np.testing.assert_array_equal(large[mix], drawn(groups[mix], 300))


def test_draw_edges():
  groups, free = _ids(2), np.array([True, False])
  assert not draws.draw(
    groups, count=0, seed=0, purpose="dev", allowed=free
  ).any()
  np.testing.assert_array_equal(
    draws.draw(groups, count=1, seed=0, purpose="dev", allowed=free), free
  )
  assert not draws.draw(
    groups[:0], count=0, seed=0, purpose="dev", allowed=free[:0]
  ).size
  with pytest.raises(
    errors.InputError, match="2 examples are wanted for dev and only 1"
  ):
    draws.draw(groups, count=2, seed=0, purpose="dev", allowed=free)


def test_choose_is_a_draw_of_groups_of_one():
  rng = np.random.default_rng(4)
  ids = rng.choice(10**9, 200, replace=False).astype(np.uint64)
  every = np.ones(200, bool)
  for count in (0, 1, 7, 199, 200):
    got = draws.choose(ids, count=count, seed=2, purpose="fit")
    drawn = draws.draw(ids, count=count, seed=2, purpose="fit", allowed=every)
    np.testing.assert_array_equal(np.sort(got), np.flatnonzero(drawn))
    np.testing.assert_array_equal(ids[got], np.sort(ids[drawn]))
  assert len(draws.choose(ids, count=999, seed=2, purpose="fit")) == 200


def test_choose_breaks_ties_by_id(monkeypatch):
  monkeypatch.setattr(
    draws, "keyed_uniform", lambda ids, **_: np.zeros(len(ids))
  )
  ids = np.array([30, 10, 20], np.uint64)
  assert draws.choose(ids, count=2, seed=0, purpose="fit").tolist() == [1, 2]
