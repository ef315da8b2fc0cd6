"""NovelSelect and NovelSum, beside NumPy in float64."""

import dataclasses

import numpy as np
import pytest

from ila_jax.methods import candidates, table
from ila_jax.methods.diversity import likeness, novelselect
from tests.support import reference_selection as reference


def _rows(seed, n=70):
  random = np.random.default_rng(seed)
  x = random.normal(size=(n, 12)) + random.normal(size=(1, 12))
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def _distance_and_density(x):
  distance = np.maximum(1 - x @ x.T, 0)
  others = np.sort(distance + 9 * np.eye(len(x)), axis=1)[:, :10]
  return distance, np.maximum(others.mean(axis=1), 0.01) ** -0.5


def _weighed(distances):
  weight = 1 / np.arange(1, len(distances) + 1)
  return np.sort(distances) @ weight / weight.sum()


def test_each_choice_is_the_greatest_of_all_but_for_rounding(monkeypatch):
  monkeypatch.setattr(novelselect, "_ROOM", 8)
  for seed in range(3):
    x = _rows(seed)
    pool = reference.pool(70, seed) | {"candidate": np.ones(70, bool)}
    c = candidates.candidates(**pool | {"depth": np.zeros(70)}, seed=seed)
    c = dataclasses.replace(c, inputs={"embeddings": np.float32(x)})
    order = table.METHODS["novelselect"](c).order.tolist()
    assert sorted(order) == list(range(70))
    assert order[0] == np.argmin(c.uniform)
    distance, density = _distance_and_density(x)
    weighed = distance * (density[:, None] + density[None])
    for place in range(1, 70):
      before = order[:place]
      score = [_weighed(weighed[row, before]) for row in order[place:]]
      assert score[0] >= max(score) - 2e-3


def test_novelsum_is_that_of_numpy():
  for seed in range(3):
    x = np.float32(_rows(seed))
    distance, density = _distance_and_density(x.astype(float))
    rows = np.random.default_rng(seed).permutation(70)[:20]
    want = np.mean(
      [
        _weighed(distance[row, rows[rows != row]]) * density[row]
        for row in rows
      ]
    )
    assert novelselect.novelsum(x, rows) == pytest.approx(want, rel=1e-5)
    # Members one by one make up the mean; a few stand for it.
    alone = [
      novelselect.novelsum(x, rows, members=np.array([place]))
      for place in range(20)
    ]
    assert np.mean(alone) == pytest.approx(want, rel=1e-5)


def test_how_crowded_a_place_is_follows_from_the_sample_alone():
  """Rows of the sample and others are weighed alike, whatever is chosen."""
  x = np.float32(_rows(4))
  distance = np.maximum(1 - x.astype(float) @ x.T.astype(float), 0)
  random = np.random.default_rng(4)
  sample, rows = (random.permutation(70)[:30] for _ in range(2))
  assert 0 < np.isin(rows, sample).sum() < 30
  want = []
  for row in rows:
    near = np.sort(distance[row, sample[sample != row]])[:10].mean()
    want.append(
      _weighed(distance[row, rows[rows != row]]) * max(near, 0.01) ** -0.5
    )
  found = novelselect.novelsum(x, rows, sample=sample)
  assert found == pytest.approx(np.mean(want), rel=1e-5)


def test_what_novelselect_chooses_has_a_greater_novelsum_than_chance():
  x = np.float32(_rows(5))
  chosen = novelselect._greedy(likeness.rounded(x, np.arange(70)), 3, 12)
  random = np.random.default_rng(0)
  best = max(
    novelselect.novelsum(x, random.permutation(70)[:12]) for _ in range(20)
  )
  assert novelselect.novelsum(x, chosen) > best
  with pytest.raises(ValueError, match="2 rows or more of 11 or more"):
    novelselect.novelsum(x, np.array([3]))
