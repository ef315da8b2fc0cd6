"""Nearness to target examples, beside brute force in NumPy."""

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.methods.target import nearness


def _vectors(n, seed, d=6):
  """Small whole numbers, so that many are equally near."""
  random = np.random.default_rng(seed)
  return random.integers(-1, 2, (n, d)).astype(np.float32) + 0.25


def _like(x, y):
  """Products of the vectors as they are rounded, in whole numbers."""
  left, right = (nearness.rounded(v).astype(np.int64) for v in (x, y))
  return left @ right.T


def _dealt(like, count):
  """One after the other takes the nearest that is free; ties to the first."""
  free, taken = set(range(len(like))), []
  for turn in range(count):
    own = like[:, turn % like.shape[1]]
    best = min(free, key=lambda place, own=own: (-own[place], place))
    free.remove(best)
    taken.append(best)
  return taken


@pytest.mark.parametrize(("n", "m", "count"), [(40, 3, 40), (40, 7, 5)])
def test_turns_are_those_of_brute_force(n, m, count):
  for seed in range(3):
    x, targets = _vectors(n, seed), _vectors(m, seed + 50)
    rows = np.random.default_rng(seed).permutation(n)
    places, turn = nearness.round_robin(x, rows, targets, count=count)
    assert places.tolist() == _dealt(_like(x[rows], targets), count)
    assert turn.tolist() == [
      place // min(m, count) + 1 for place in range(count)
    ]


def test_the_pool_is_read_again_where_all_that_are_known_are_taken(monkeypatch):
  """All target examples want the same candidates, and few are known at once."""
  x, targets = _vectors(40, 1), np.repeat(_vectors(1, 9), 5, axis=0)
  passes, nearest = [], nearness._nearest
  monkeypatch.setattr(nearness, "_KNOWN", 4)
  monkeypatch.setattr(nearness, "_BLOCK_ROWS", (16, 16))

  def counted(*arguments, **known):
    passes.append(known)
    return nearest(*arguments, **(known | {"known": 4}))

  monkeypatch.setattr(nearness, "_nearest", counted)
  places, _ = nearness.round_robin(x, np.arange(40), targets, count=40)
  assert places.tolist() == _dealt(_like(x, targets), 40)
  assert len(passes) == 10


def test_the_greatest_cosine_is_that_of_float64(monkeypatch):
  monkeypatch.setattr(nearness, "_BLOCK_ROWS", (16, 16))
  random = np.random.default_rng(0)
  x, targets = random.normal(size=(50, 384)), random.normal(size=(9, 384))
  found = nearness.greatest(x, np.arange(50), targets)
  unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, targets)]
  np.testing.assert_allclose(
    found, (unit[0] @ unit[1].T).max(axis=1), atol=5e-4
  )
  exact = _like(x, targets).max(axis=1) / np.float32(nearness._SCALE**2)
  np.testing.assert_array_equal(found, exact.astype(np.float32))


@pytest.mark.parametrize("width", [1, 576, 8192])
def test_sums_of_products_are_exact_in_float32(width):
  """Also the largest, of a vector and itself, stays below 2^24."""
  for vector in (np.ones((1, width)), np.eye(1, width)):
    whole = np.abs(nearness.rounded(vector).astype(np.int64))
    assert (whole**2).sum() < 2**24


def test_vectors_that_are_not_finite_are_refused():
  x = np.array([[1.0, 0.0], [np.nan, 1.0]])
  for one in (nearness.greatest, nearness.round_robin):
    more = {"count": 2} if one is nearness.round_robin else {}
    with pytest.raises(errors.InputError, match="1 embeddings by the base are"):
      one(x, np.arange(2), x[:1], **more)
