import jax
import numpy as np
import pytest
from sklearn import cluster, datasets

from ila_jax import clusters, errors, mesh

KEY = jax.random.key(0)


def _digits(n):
  return (datasets.load_digits().data[:n] / 16).astype(np.float32)


def _inertia(x, cell, centers):
  return np.sum((x.astype(np.float64) - np.asarray(centers)[cell]) ** 2)


@pytest.mark.parametrize("count", [10, 60])
def test_inertia_is_as_low_as_sklearns(count):
  x = _digits(800)
  found = clusters.kmeans(x, clusters=count, key=KEY)
  theirs = cluster.KMeans(count, n_init=3, random_state=0).fit(x)
  assert found.inertia <= 1.05 * theirs.inertia_
  wanted = _inertia(x, np.asarray(found.cell), found.centers)
  np.testing.assert_allclose(found.inertia, wanted, rtol=1e-5)


def test_cells_are_the_nearest_centres_and_centres_the_means():
  x = _digits(300)
  found = clusters.kmeans(x, clusters=12, key=KEY, iterations=200)
  cell, centers = np.asarray(found.cell), np.asarray(found.centers)
  squared = ((x[:, None] - centers[None]) ** 2).sum(-1)
  np.testing.assert_array_equal(cell, squared.argmin(axis=1))
  for c in range(12):
    np.testing.assert_allclose(centers[c], x[cell == c].mean(axis=0), atol=1e-5)


def test_same_key_same_cells_and_another_key_others():
  x = _digits(200)
  first, second, other = (
    clusters.kmeans(x, clusters=9, key=jax.random.key(seed)).cell
    for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, second)
  assert not np.array_equal(first, other)


def test_far_groups_are_found_from_a_sampled_start():
  group = np.repeat(np.arange(5), 40)
  noise = np.random.default_rng(0).normal(size=(200, 3))
  x = (100 * group[:, None] + noise).astype(np.float32)
  found = clusters.kmeans(x, clusters=5, key=KEY, start_examples=60)
  pairs = set(zip(group.tolist(), np.asarray(found.cell).tolist(), strict=True))
  assert len(pairs) == 5


@pytest.mark.parametrize("n, count", [(1, 1), (3, 3), (7, 1)])
def test_edge_sizes(n, count):
  x = _digits(n)
  found = clusters.kmeans(x, clusters=count, key=KEY)
  assert len(np.unique(found.cell)) == count
  if count == n:
    assert found.inertia == 0
  else:
    np.testing.assert_allclose(found.centers[0], x.mean(axis=0), atol=1e-6)


def test_fewer_distinct_rows_than_clusters_leave_cells_empty():
  x = np.repeat(_digits(2), 10, axis=0)
  found = clusters.kmeans(x, clusters=6, key=KEY)
  assert len(np.unique(found.cell)) == 2
  assert found.inertia == 0
  assert np.all(np.isfinite(found.centers))


def test_eight_devices_equal_one():
  group = np.repeat(np.arange(8), 20)
  noise = np.random.default_rng(0).normal(size=(160, 4))
  x = (50 * group[:, None] + noise).astype(np.float32)
  sharded = mesh.put(x, mesh.make())
  one, many = (clusters.kmeans(y, clusters=8, key=KEY) for y in (x, sharded))
  np.testing.assert_array_equal(many.cell, one.cell)
  np.testing.assert_allclose(many.centers, one.centers, rtol=1e-5)
  assert not many.cell.sharding.is_fully_replicated


@pytest.mark.parametrize("count", [0, 6])
def test_bad_counts_are_named(count):
  message = f"landscape.clusters is {count}; allowed: 1 to the 5 examples"
  with pytest.raises(errors.InputError, match=message):
    clusters.kmeans(_digits(5), clusters=count, key=KEY)
