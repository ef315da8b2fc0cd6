import numpy as np
from sklearn import datasets

from ila_jax import placing


def _digits(n):
  return (datasets.load_digits().data[:n] / 16).astype(np.float32)


def test_placing_is_shepards_formula():
  x = _digits(300)
  positions = np.random.default_rng(0).normal(size=(150, 2)).astype(np.float32)
  placed = np.asarray(placing.place(x[150:], x[:150], positions))
  # In float64.
  squared = ((x[150:, None].astype(np.float64) - x[None, :150]) ** 2).sum(-1)
  near = np.argsort(squared, axis=1, kind="stable")[:, :3]
  weight = 1 / np.take_along_axis(squared, near, axis=1)
  weight /= weight.sum(axis=1, keepdims=True)
  wanted = (weight[..., None] * positions[near]).sum(axis=1)
  # Integer pixels make ties at the third neighbour; there are few.
  off = np.abs(placed - wanted).max(axis=1) > 1e-3
  assert off.mean() < 0.05


def test_placed_again_a_point_lands_on_itself_and_so_does_its_duplicate():
  x = _digits(60)
  positions = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
  np.testing.assert_array_equal(placing.place(x, x, positions), positions)
  # Two fitted points with the same embedding: half-way between them.
  middle = (positions[0] + positions[1]) / 2
  twins = placing.place(x[:1], x[[0, 0, 1]], positions[:3])
  np.testing.assert_allclose(twins[0], middle, atol=1e-6)
