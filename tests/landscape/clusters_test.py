import warnings

import jax
import numpy as np
import pytest
from sklearn import cluster, datasets

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.landscape import centers as centers_lib
from ila_jax.landscape import clusters

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


def test_the_start_is_as_good_as_sklearns_and_better_than_one_draw():
  x = _digits(800)

  def theirs(seed, trials):
    centers, _ = cluster.kmeans_plusplus(
      x, 40, random_state=seed, n_local_trials=trials
    )
    return ((x[:, None] - centers) ** 2).sum(-1).min(axis=1).sum()

  seeds = range(5)
  ours = np.mean(
    [
      clusters.kmeans(
        x, clusters=40, key=jax.random.key(seed), iterations=0
      ).inertia
      for seed in seeds
    ]
  )
  assert ours <= 1.05 * np.mean([theirs(seed, None) for seed in seeds])
  assert ours <= 0.95 * np.mean([theirs(seed, 1) for seed in seeds])


@pytest.mark.parametrize("iterations", [1, 4, 300])
def test_from_the_same_start_it_ends_where_sklearn_does(iterations):
  rng = np.random.default_rng(0)
  # A little noise, for the digits alone are as near to one as to another.
  x = _digits(1300) + 1e-3 * rng.normal(size=(1300, 64)).astype(np.float32)
  start = x[rng.permutation(1300)[:30]]
  ours = clusters.lloyd(x, start, iterations=iterations)
  theirs = cluster.KMeans(
    30, init=start, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd"
  )
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # It says that 1 iteration is few.
    theirs.fit(x)
  cell, squared = centers_lib.assign(x, ours)
  np.testing.assert_allclose(ours, theirs.cluster_centers_, atol=1e-5)
  np.testing.assert_array_equal(cell, theirs.labels_)
  np.testing.assert_allclose(np.sum(squared), theirs.inertia_, rtol=1e-4)


@pytest.mark.parametrize("block", [2048, 7])
def test_assigning_is_brute_force_in_any_blocks(block, monkeypatch):
  monkeypatch.setattr(centers_lib, "_CENTERS", block)
  rng = np.random.default_rng(0)
  x, centers = rng.normal(size=(2, 1100, 6)).astype(np.float32)
  centers = np.concatenate([centers[:20], centers[:20]])
  cell, squared = centers_lib.assign(x, centers)
  # The second of two equal centres is never taken.
  exact = ((x[:, None].astype(np.float64) - centers) ** 2).sum(-1)
  np.testing.assert_array_equal(cell, exact.argmin(axis=1))
  np.testing.assert_allclose(squared, exact.min(axis=1), rtol=1e-4)
  jax.clear_caches()


def test_records_that_join_get_the_same_bits():
  x = _digits(1500)
  found = clusters.kmeans(x, clusters=20, key=KEY)
  parts = [centers_lib.assign(p, found.centers) for p in np.split(x, [3, 1100])]
  cells = np.concatenate([part.cell for part in parts])
  np.testing.assert_array_equal(cells, found.cell)
  squared = np.concatenate([part.squared for part in parts])
  np.testing.assert_allclose(squared.sum(), found.inertia, rtol=1e-5)


def test_sums_do_not_depend_on_the_order_of_rows():
  x = 1000 + np.random.default_rng(0).normal(size=(1500, 5)).astype(np.float32)
  order = np.random.default_rng(1).permutation(1500)
  one, other = (clusters.lloyd(y, x[:9]) for y in (x, x[order]))
  np.testing.assert_array_equal(one, other)


def test_the_fullest_sums_do_not_overflow():
  # 2^10 - 1 rows, all but one at the upper end, where every digit is full.
  x = np.ones((1023, 2), np.float32)
  x[0] = -3
  found = clusters.lloyd(x, x[:1], iterations=1)
  np.testing.assert_allclose(found, np.full((1, 2), x.mean()), rtol=1e-6)


def test_progress_is_told_and_ends_with_no_change():
  told = []
  clusters.kmeans(
    _digits(500),
    clusters=15,
    key=KEY,
    iterations=100,
    on_progress=lambda *now: told.append(now),
  )
  steps, changed = zip(*told, strict=True)
  assert len(told) > 1
  assert steps[0] == 10
  assert changed[-1] == 0 < changed[0]


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
    assert found.inertia < 1e-9
  else:
    np.testing.assert_allclose(found.centers[0], x.mean(axis=0), atol=1e-6)


def test_fewer_distinct_rows_than_clusters_leave_cells_empty():
  x = np.repeat(_digits(2), 10, axis=0)
  found = clusters.kmeans(x, clusters=6, key=KEY)
  assert len(np.unique(found.cell)) == 2
  assert found.inertia < 1e-9
  assert np.all(np.isfinite(found.centers))


@pytest.mark.parametrize("axes", [{}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_eight_devices_equal_one_to_the_bit(axes):
  # No groups to be found, so that rows would move if sums were rounded.
  x = np.random.default_rng(0).normal(size=(1203, 16)).astype(np.float32)
  sharded = mesh.put_rows(x, mesh.make(**axes))
  assert len(sharded) > 1203
  one = clusters.kmeans(x, clusters=40, key=KEY)
  many = clusters.kmeans(sharded, clusters=40, key=KEY, count=1203)
  np.testing.assert_array_equal(many.cell[:1203], one.cell)
  np.testing.assert_array_equal(many.centers, one.centers)
  assert many.inertia == one.inertia
  assert not many.cell.sharding.is_fully_replicated


@pytest.mark.parametrize("count", [0, 6])
def test_bad_counts_are_named(count):
  message = f"landscape.clusters is {count}; allowed: 1 to the 5 examples"
  with pytest.raises(errors.InputError, match=message):
    clusters.kmeans(_digits(5), clusters=count, key=KEY)


def test_a_centre_that_no_row_is_nearest_to_stays():
  x = np.array([[0.0], [1.0], [10.0]], np.float32)
  far = np.array([[0.5], [10.0], [500.0]], np.float32)
  found = clusters.lloyd(x, far)
  assert found[2] == far[2]
  np.testing.assert_allclose(found[:2], far[:2], rtol=1e-6)
