"""Sketches of quantiles: SciPy, the exact ones, and merges to the same bit."""

import tracemalloc

import jax
import numpy as np
import pytest
from scipy import stats

from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape import depth as depth_lib
from ila_jax.landscape import quantiles, relative_depth

_DOMAINS = 3


def _pool(n, seed):
  """Depths of all sizes and signs, with a heavy tie, -0.0 and tiny ones."""
  rng = np.random.default_rng(seed)
  depth = rng.normal(size=n) * rng.choice([1e-3, 1.0, 30.0], n)
  depth = np.where(rng.random(n) < 0.2, 0.25, depth)
  depth[rng.random(n) < 0.05] = -0.0
  depth[rng.random(n) < 0.05] = 1e-41
  domain = rng.choice(_DOMAINS, n, p=[0.9, 0.09, 0.01])
  return depth.astype(np.float32), domain.astype(np.int32)


def _shards(depth, domain, parts):
  rows = np.array_split(np.arange(len(depth)), parts)
  return lambda: ((depth[r], domain[r]) for r in rows)


def _fit(depth, domain, *, tolerance, parts=3, mesh=None):
  return quantiles.fit(
    _shards(depth, domain, parts),
    num_domains=_DOMAINS,
    shard_rows=512,
    tolerance=tolerance,
    mesh=mesh,
  )


def _ranks(sketch, depth, domain):
  return quantiles.mid_rank(quantiles.ranks(sketch), depth, domain)


def _scipy(depth, domain):
  found = np.empty(len(depth))
  for name in np.unique(domain):
    mine = domain == name
    found[mine] = [
      stats.percentileofscore(depth[mine], value, kind="mean") / 100
      for value in depth[mine]
    ]
  return found


def test_errors_are_below_the_certified_bound_and_it_falls():
  depth, domain = _pool(2000, 0)
  want = _scipy(depth, domain)
  np.testing.assert_allclose(
    depth_lib.relative_depth(depth, domain), want, rtol=1e-6
  )
  bounds, passes = [], []
  for tolerance in (1.0, 1e-2, 0.0):
    sketch = _fit(depth, domain, tolerance=tolerance)
    bound = quantiles.error_bound(sketch)
    found = _ranks(sketch, depth, domain)
    assert found.dtype == np.float32
    assert np.abs(found - want).max() <= bound + 1e-7
    # The bound is no fancy: some quantile is wrong by a good part of it.
    assert np.abs(found - want).max() >= bound / 10
    assert bound <= tolerance
    bounds.append(bound)
    passes.append(len(sketch.counts))
  assert bounds[0] > bounds[1] > bounds[2] == 0
  assert passes == [1, 3, 3]


def test_three_passes_give_the_exact_quantiles():
  for seed in range(3):
    depth, domain = _pool(700, seed)
    sketch = _fit(depth, domain, tolerance=0.0)
    np.testing.assert_array_equal(
      _ranks(sketch, depth, domain),
      depth_lib.relative_depth(depth, domain),
    )


def test_each_bin_is_as_wide_as_a_share_of_its_depths():
  """No two depths that differ by more than 1/32 fall into one bin."""
  for sign in (-1, 1):
    depth = sign * 1.04 ** np.arange(-500, 500.0)
    sketch = quantiles.update(
      quantiles.empty(1), depth, np.zeros(1000, np.int32)
    )
    assert quantiles.error_bound(sketch) == 0


def test_order_parts_merges_and_devices_change_no_bit():
  depth, domain = _pool(900, 4)
  whole = _fit(depth, domain, tolerance=1e-2)
  mix = np.random.default_rng(0).permutation(900)
  mixed = _fit(depth[mix], domain[mix], tolerance=1e-2, parts=7)
  eight = _fit(depth, domain, tolerance=1e-2, mesh=mesh_lib.make())
  assert len(eight.counts[-1].sharding.device_set) == 8
  for other in (mixed, eight):
    jax.tree.map(np.testing.assert_array_equal, whole, other)
  parts = [
    quantiles.update(quantiles.empty(_DOMAINS), *shard)
    for shard in _shards(depth, domain, 3)()
  ]
  want = np.asarray(whole.counts[0])
  for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
    a, b, c = (parts[i] for i in order)
    for merged in (
      quantiles.merge(quantiles.merge(a, b), c),
      quantiles.merge(a, quantiles.merge(b, c)),
    ):
      np.testing.assert_array_equal(merged.counts[0], want)
  with pytest.raises(ValueError, match="split their bins differently"):
    quantiles.merge(whole, parts[0])


def test_levels_below_merge_too():
  depth, domain = _pool(900, 5)
  whole = _fit(depth, domain, tolerance=1e-2)
  first = _fit(depth, domain, tolerance=1.0)
  level = quantiles.refine(first, tolerance=1e-2)
  shards = list(_shards(depth, domain, 2)())
  one = quantiles.update(level, *shards[0])
  fresh = quantiles.refine(first, tolerance=1e-2)
  two = quantiles.update(fresh, *shards[1])
  merged = quantiles.merge(two, one)
  np.testing.assert_array_equal(merged.counts[1], whole.counts[1])


def test_edges():
  one = _fit(np.array([-7.0]), np.array([2]), tolerance=0.0)
  found = _ranks(one, np.array([-7.0]), np.array([2]))
  assert found.tolist() == [0.5]
  nothing = _fit(np.zeros(0), np.zeros(0, int), tolerance=0.0)
  assert quantiles.error_bound(nothing) == 0
  assert len(_ranks(nothing, np.zeros(0), np.zeros(0, int))) == 0
  tied = _fit(np.ones(600), np.zeros(600, int), tolerance=0.0)
  found = _ranks(tied, np.ones(1), np.zeros(1, int))
  assert found.tolist() == [0.5]
  with pytest.raises(ValueError, match="NaN cannot be ranked"):
    _fit(np.array([1.0, np.nan]), np.zeros(2, int), tolerance=0.1)


def test_domains_that_fit_are_exact_and_never_sketched(monkeypatch):
  """Domain 0 has nine tenths; the others are sorted together, or one by one."""
  depth, domain = _pool(2000, 6)
  size = np.bincount(domain)
  want = _scipy(depth, domain)
  settings = {"part_rows": 512, "tolerance": 1e-2}
  sorts, sort = [], depth_lib.relative_depth
  monkeypatch.setattr(
    relative_depth.depth_lib,
    "relative_depth",
    lambda d, of: sorts.append(np.unique(of).tolist()) or sort(d, of),
  )
  for rows, sorted_together in (
    (2000, [[0, 1, 2]]),
    (size[0], [[0], [1, 2]]),
    (size[0] - 1, [[1, 2]]),
    (size[1], [[1], [2]]),
  ):
    found, bound = relative_depth.relative_depth(
      depth, domain, exact_rows=int(rows), **settings
    )
    assert [names for names in sorts if names] == sorted_together
    sorts.clear()
    small = size[domain] <= rows
    np.testing.assert_allclose(found[small], want[small], rtol=1e-6)
    error = np.abs(found - want).max()
    if small.all():
      assert bound == 0
    else:
      assert 0 < bound / 10 <= error <= bound + 1e-7 <= 1e-2 + 1e-7
  with pytest.raises(ValueError, match="NaN cannot be ranked"):
    relative_depth.relative_depth(
      np.array([np.nan, 1.0]), np.array([0, 1]), exact_rows=9, part_rows=2
    )


def test_memory_does_not_grow_with_the_number_of_domains():
  domain = np.arange(40_000) // 4
  depth = np.tile(np.array([3.0, 1.0, 2.0, 2.0], np.float32), 10_000)
  tracemalloc.start()
  found, bound = relative_depth.relative_depth(
    depth, domain, exact_rows=4000, part_rows=4000
  )
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  nothing = np.zeros(0, np.float32), np.zeros(0, np.int32)
  none, _ = relative_depth.relative_depth(*nothing, exact_rows=9, part_rows=2)
  assert none.shape == (0,)
  assert bound == 0
  np.testing.assert_allclose(found[:4], [0.875, 0.125, 0.5, 0.5])
  np.testing.assert_array_equal(found, np.tile(found[:4], 10_000))
  assert peak < 40 * len(depth)
