import jax
import numpy as np
import pytest
from sklearn import neighbors as sklearn_neighbors

from ila_jax.compute import mesh, neighbours


def _points(n, d, seed=0):
  return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize(
  "n, m, d, k", [(1, 1, 1, 1), (50, 7, 3, 7), (9, 3000, 5, 4)]
)
def test_nearest_equals_sklearn(n, m, d, k):
  queries, points = _points(n, d), _points(m, d, seed=1)
  found = neighbours.nearest(queries, points, k=k)
  wanted = sklearn_neighbors.NearestNeighbors(algorithm="brute").fit(points)
  distance, index = wanted.kneighbors(queries, n_neighbors=k)
  np.testing.assert_array_equal(found.index, index)
  np.testing.assert_allclose(found.squared, distance**2, rtol=1e-4, atol=1e-6)


def test_many_blocks_equal_one(monkeypatch):
  x = _points(101, 6)
  whole = neighbours.nearest(x, x, k=5, same=True)
  monkeypatch.setattr(neighbours, "BLOCK_FLOATS", 101 * 7)
  jax.clear_caches()
  blocked = neighbours.nearest(x, x, k=5, same=True)
  np.testing.assert_array_equal(blocked.index, whole.index)
  np.testing.assert_allclose(blocked.squared, whole.squared, rtol=1e-6)


def test_same_leaves_out_the_point_and_not_its_duplicate():
  x = np.repeat(_points(10, 4), 2, axis=0)
  found = neighbours.nearest(x, x, k=1, same=True)
  np.testing.assert_array_equal(found.index[:, 0], np.arange(20) ^ 1)
  np.testing.assert_array_equal(found.squared, 0)


def test_equally_near_points_come_by_index():
  points = np.repeat(_points(1, 4), 6, axis=0)
  found = neighbours.nearest(points[:1], points, k=6)
  np.testing.assert_array_equal(found.index[0], np.arange(6))


def test_no_queries_and_no_neighbours():
  assert neighbours.nearest(_points(0, 3), _points(4, 3), k=2).index.shape == (
    0,
    2,
  )
  assert neighbours.nearest(_points(4, 3), _points(4, 3), k=0).index.shape == (
    4,
    0,
  )


@pytest.mark.parametrize("axes", [{}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_eight_devices_equal_one(axes):
  x = _points(64, 8)
  sharded = mesh.put(x, mesh.make(**axes))
  assert not sharded.sharding.is_fully_replicated
  one, many = (neighbours.nearest(y, x, k=3, same=True) for y in (x, sharded))
  np.testing.assert_array_equal(many.index, one.index)
  np.testing.assert_allclose(many.squared, one.squared, rtol=1e-6)
  assert many.index.sharding.is_equivalent_to(sharded.sharding, 2)


def test_take_whole_is_on_every_device():
  x = mesh.put(_points(16, 2), mesh.make())
  taken = neighbours.take_whole(x, np.array([3, 15, 3]))
  np.testing.assert_array_equal(taken, np.asarray(x)[[3, 15, 3]])
  assert taken.sharding.is_fully_replicated
