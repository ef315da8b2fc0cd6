import jax
import numpy as np
import pytest
from sklearn import datasets

from ila_jax.compute import mesh, neighbours
from ila_jax.landscape.maps import new_points, tsne

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def fitted():
  x = (datasets.load_digits().data / 16).astype(np.float32)
  points, new = x[:1200], x[1200:1603]
  return points, new, tsne.fit(points, perplexity=15.0, key=KEY).xy


def _kept(new, points, placed, positions, k=10):
  """Share of the k nearest fitted points that are nearest on the map."""
  before, after = (
    np.asarray(neighbours.nearest(q, p, k=k).index)
    for q, p in ((new, points), (placed, positions))
  )
  shared = [len(np.intersect1d(a, b)) for a, b in zip(before, after, strict=1)]
  return np.mean(shared) / k


def test_a_fitted_point_lands_on_itself(fitted):
  points, _, positions = fitted
  placed = new_points.place(points, points, positions, perplexity=15.0)
  np.testing.assert_array_equal(placed, positions)
  # So does one that was embedded again, in a batch of another width.
  again = points * (1 + 1e-6)
  placed = new_points.place(again, points, positions, perplexity=15.0)
  np.testing.assert_array_equal(placed, positions)


def test_new_points_keep_their_neighbours(fitted):
  points, new, positions = fitted
  placed = np.asarray(new_points.place(new, points, positions, perplexity=15.0))
  # Between the places of their three nearest, as Shepard would put them.
  found = neighbours.nearest(new, points, k=3)
  weight = 1 / np.asarray(found.squared)[..., None]
  shepard = (weight * positions[found.index]).sum(1) / weight.sum(1)
  kept = _kept(new, points, placed, positions)
  assert kept > _kept(new, points, shepard.astype(np.float32), positions) + 0.03
  own = neighbours.nearest(points, points, k=10, same=True).index
  there = neighbours.nearest(positions, positions, k=10, same=True).index
  among = [
    len(np.intersect1d(a, b))
    for a, b in zip(np.asarray(own), np.asarray(there), strict=True)
  ]
  assert kept > np.mean(among) / 10 - 0.1


def test_the_place_is_a_minimum_of_the_cost(fitted):
  points, new, positions = fitted
  new = new[:20]
  placed = np.asarray(new_points.place(new, points, positions, perplexity=15.0))
  squared = ((new[:, None].astype(np.float64) - points) ** 2).sum(-1)
  away = positions[:, None].astype(np.float64) - positions
  kernel = 1 / (1 + (away**2).sum(-1))
  normaliser = kernel.sum(1).mean() - 1

  def cost(i, place):
    near = np.argsort(squared[i])[:46]
    p = _calibrated(squared[i, near], 15.0)
    distance = ((place - positions) ** 2).sum(-1)
    attraction = p @ np.log1p(distance[near])
    return attraction + (1 / (1 + distance)).sum() / normaliser

  rng = np.random.default_rng(0)
  better = [
    cost(i, place)
    - min(cost(i, place + 0.5 * rng.normal(size=2)) for _ in range(9))
    for i, place in enumerate(placed)
  ]
  assert np.mean(np.array(better) > 0.01) < 0.1


def _calibrated(squared, perplexity):
  low, high = -20.0, 20.0
  for _ in range(60):
    middle = (low + high) / 2
    p = np.exp(-np.exp(middle) * (squared - squared.min()))
    p /= p.sum()
    entropy = -np.sum(p * np.log(np.maximum(p, 1e-300)))
    low, high = (
      (middle, high) if entropy > np.log(perplexity) else (low, middle)
    )
  return p


def test_shards_and_devices_change_no_bit(fitted):
  points, new, positions = fitted
  whole = new_points.place(new, points, positions, perplexity=15.0)
  parts = [
    new_points.place(part, points, positions, perplexity=15.0)
    for part in (new[:1], new[1:200], new[200:])
  ]
  np.testing.assert_array_equal(np.concatenate(parts), whole)
  sharded = mesh.put_rows(new, mesh.make())
  many = new_points.place(sharded, points, positions, perplexity=15.0)
  np.testing.assert_array_equal(np.asarray(many)[: len(new)], whole)


@pytest.mark.parametrize("f", [1, 2, 5])
def test_few_fitted_points(f):
  x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
  points = np.random.default_rng(1).normal(size=(f, 3)).astype(np.float32)
  positions = np.random.default_rng(2).normal(size=(f, 2)).astype(np.float32)
  placed = np.asarray(new_points.place(x, points, positions, perplexity=30.0))
  assert placed.shape == (4, 2)
  assert np.isfinite(placed).all()
  assert np.abs(placed).max() <= np.abs(positions).max() + 1e-6


def test_no_new_points(fitted):
  points, new, positions = fitted
  placed = new_points.place(new[:0], points, positions, perplexity=15.0)
  assert placed.shape == (0, 2)
