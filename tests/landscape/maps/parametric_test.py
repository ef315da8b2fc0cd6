import jax
import numpy as np
import pytest
from sklearn import datasets

from ila_jax.compute import neighbours
from ila_jax.landscape.maps import parametric

KEY = jax.random.key(0)


def _islands(n, d=12, seed=0):
  """Groups that lie apart on the map, but not in the order of the axes."""
  rng = np.random.default_rng(seed)
  centers = np.random.default_rng(9).normal(size=(6, d))
  angle = np.random.default_rng(8).permutation(6) * np.pi / 3
  islands = 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
  group = rng.integers(0, 6, n)
  inside = rng.normal(size=(n, d))
  x = centers[group] + 0.3 * inside
  xy = islands[group] + inside[:, :2]
  return x.astype(np.float32), xy.astype(np.float32)


def test_a_trained_network_places_what_it_has_not_seen():
  x, xy = _islands(900)
  arrays, notes = parametric.fit(x, xy, key=KEY, epochs=15)
  unseen, wanted = _islands(300, seed=1)
  placed = np.asarray(parametric.place(unseen, arrays))
  missed = np.sum((placed - wanted) ** 2)
  r2 = 1 - missed / np.sum((wanted - wanted.mean(axis=0)) ** 2)
  assert r2 > 0.98
  # The notes foretell it from the points that were held out.
  np.testing.assert_allclose(notes["held_out_r2"], r2, atol=0.02)
  # Training is worth more than the start: the same units, not trained.
  untrained, before = parametric.fit(x, xy, key=KEY, epochs=0)
  assert not np.array_equal(untrained["centers"], arrays["centers"])
  assert notes["held_out_r2"] > before["held_out_r2"]


def test_notes_are_counted_by_hand():
  x, xy = _islands(200)
  arrays, notes = parametric.fit(x, xy, key=KEY, epochs=3)
  order = np.asarray(
    jax.random.permutation(jax.random.split(KEY, 3)[0], len(x))
  )
  held, known = order[:20], order[20:]
  placed = np.asarray(parametric.place(x[held], arrays))
  kept = []
  for before, now in zip(xy[held], placed, strict=True):
    near = [
      set(np.argsort(((xy[known] - point) ** 2).sum(axis=1))[:10].tolist())
      for point in (before, now)
    ]
    kept.append(len(near[0] & near[1]) / 10)
  np.testing.assert_allclose(
    notes["held_out_neighbours"], np.mean(kept), atol=1e-6
  )
  spread = np.sum((xy[held] - xy[held].mean(axis=0)) ** 2)
  missed = np.sum((placed - xy[held]) ** 2)
  np.testing.assert_allclose(
    notes["held_out_r2"], 1 - missed / spread, rtol=1e-4
  )


def test_held_out_points_teach_nothing():
  x, xy = _islands(200)
  order = np.asarray(
    jax.random.permutation(jax.random.split(KEY, 3)[0], len(x))
  )
  moved = xy.copy()
  # A swap leaves the mean and the deviation of the map as they are.
  moved[order[[0, 1]]] = xy[order[[1, 0]]]
  one, other = (parametric.fit(x, y, key=KEY, epochs=1)[0] for y in (xy, moved))
  np.testing.assert_allclose(one["centers"], other["centers"], atol=1e-5)


def test_placing_is_the_formula():
  rng = np.random.default_rng(0)
  x, centers = rng.normal(size=(30, 4)), rng.normal(size=(7, 4))
  positions, mean = rng.normal(size=(7, 3)), rng.normal(size=4)
  squared = ((x[:, None] - mean - centers[None]) ** 2).sum(-1)
  weight = np.exp(-2.5 * squared / 2)
  wanted = weight @ positions / weight.sum(axis=1, keepdims=True)
  arrays = {
    "mean": mean,
    "centers": centers,
    "positions": positions,
    "sharpness": np.float32(2.5),
  }
  arrays = {name: jax.numpy.asarray(a) for name, a in arrays.items()}
  found = parametric.place(x.astype(np.float32), arrays)
  np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_same_key_same_network_and_scale_does_not_matter():
  x, xy = _islands(150)
  one, again, other = (
    parametric.fit(x, xy, key=jax.random.key(seed), epochs=2)[0]
    for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(one["centers"], again["centers"])
  assert not np.array_equal(one["centers"], other["centers"])
  # Embeddings 8 times as long, a map 4 times as large: powers of 2 are exact.
  large = parametric.fit(8 * x, 4 * xy, key=KEY, epochs=2)[0]
  np.testing.assert_allclose(
    parametric.place(8 * x, large), 4 * parametric.place(x, one), atol=1e-2
  )


def test_training_ends_when_it_helps_no_more():
  rng = np.random.default_rng(0)
  x, noise = rng.normal(size=(300, 5)), rng.normal(size=(300, 2))
  told = []
  parametric.fit(
    x.astype(np.float32),
    noise.astype(np.float32),
    key=KEY,
    epochs=200,
    on_progress=lambda *now: told.append(now),
  )
  errors = [error for _, error in told]
  assert len(told) < 200
  assert errors == sorted(errors, reverse=True)
  assert len(set(errors[-parametric._PATIENCE - 1 :])) == 1


@pytest.mark.parametrize("units, right", [(40, 0.7), (4096, 0.85)])
def test_real_classes_stay_together(units, right):
  digits = datasets.load_digits()
  x = (digits.data[:600] / 16).astype(np.float32)
  # A map on which every digit has a place of its own.
  angle = digits.target[:600] * 2 * np.pi / 10
  xy = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
  arrays, _ = parametric.fit(x[:400], xy[:400], key=KEY, units=units)
  assert len(arrays["centers"]) == min(units, 360)
  placed = parametric.place(x[400:], arrays)
  near = np.asarray(neighbours.nearest(placed, xy[:400], k=1).index)[:, 0]
  same = digits.target[:400][near] == digits.target[400:600]
  assert same.mean() > right
