"""Agreement of two maps: every number has a witness of its own."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.spatial
import scipy.stats
from jax import numpy as jnp
from sklearn import manifold

from ila_jax import errors
from ila_jax.compute import mesh, neighbours, row_blocks
from ila_jax.landscape import coverage, grid, ordering
from ila_jax.landscape.maps import projections
from ila_jax.landscape.trust import agreement, variants
from tests.support import tiny


def _blobs(n=240, width=6, seed=0):
  """Blobs of different density: neighbourhoods that random rows do not fill."""
  rng = np.random.default_rng(seed)
  centres = rng.normal(0, 4, (8, width))
  spread = rng.uniform(0.1, 1.5, 8)
  blob = rng.choice(8, n, p=rng.dirichlet(np.full(8, 1.0)))
  x = centres[blob] + rng.normal(size=(n, width)) * spread[blob][:, None]
  return x.astype(np.float32)


def test_jaccard_equals_the_sets_own():
  rng = np.random.default_rng(0)
  for _ in range(50):
    a, b = (rng.permutation(30)[: rng.integers(0, 31)] for _ in range(2))
    either = set(a.tolist()) | set(b.tolist())
    shared = set(a.tolist()) & set(b.tolist())
    wanted = len(shared) / len(either) if either else 1.0
    assert agreement.jaccard(a, b) == wanted == agreement.jaccard(b, a)


@pytest.mark.parametrize("k,n", [(1, 7), (5, 12), (9, 12), (12, 12), (40, 400)])
def test_chance_equals_a_simulation(k, n):
  rng = np.random.default_rng(0)
  drawn = [
    agreement.jaccard(rng.permutation(n)[:k], rng.permutation(n)[:k])
    for _ in range(4000)
  ]
  error = np.std(drawn) / np.sqrt(len(drawn))
  assert (
    abs(agreement.jaccard_by_chance(k, n) - np.mean(drawn)) <= 4 * error + 1e-9
  )
  # The ratio of expectations is near, and not the same where k is small.
  if k > 30:
    assert agreement.jaccard_by_chance(k, n) == pytest.approx(
      k / (2 * n - k), rel=0.03
    )


def test_rank_correlation_equals_scipy():
  rng = np.random.default_rng(0)
  for ties in (False, True):
    a = rng.normal(size=40)
    b = a + rng.normal(size=40)
    if ties:
      a, b = a.round(), b.round()
    found = agreement.rank_correlation(a, b)
    assert found.rho == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
    wanted = scipy.stats.bootstrap(
      (a, b),
      lambda a, b: scipy.stats.spearmanr(a, b).statistic,
      paired=True,
      vectorized=False,
      method="percentile",
      n_resamples=1000,
      rng=np.random.default_rng(1),
    ).confidence_interval
    np.testing.assert_allclose(found[1:], wanted, atol=0.06)
    assert found == agreement.rank_correlation(a, b)
  assert agreement.rank_correlation(a, -a)[0] == pytest.approx(-1)
  assert np.isnan(agreement.rank_correlation(a, np.ones(40))).all()


def test_subsets_have_one_size_and_go_from_dense_to_spread():
  x, size = _blobs(), 30
  found = agreement.spread_subsets(
    x, n=len(x), size=size, key=jax.random.key(0)
  )
  assert found.shape == (40, size)
  assert all(len(set(rows.tolist())) == size for rows in found)
  assert len({tuple(sorted(rows.tolist())) for rows in found}) == len(found)
  # The first are the nearest neighbours of one row, by brute force.
  distance = scipy.spatial.distance.cdist(x, x)
  near = {tuple(sorted(np.argsort(row)[:size].tolist())) for row in distance}
  assert all(tuple(sorted(rows.tolist())) in near for rows in found[:5])
  assert not any(tuple(sorted(rows.tolist())) in near for rows in found[20:])
  # Spread lowers the distance of the pool to the subset.
  means = agreement.mean_distances(x, found, n=len(x))
  wanted = [distance[:, rows].min(axis=1).mean() for rows in found]
  np.testing.assert_allclose(means, wanted, rtol=1e-4)
  assert means[:10].min() > means[-10:].max()


def test_clumps_take_turns_and_are_of_the_nearest():
  x, size, key = _blobs(), 30, jax.random.key(1)
  n = len(x)
  found = agreement.spread_subsets(
    x, n=n, size=size, key=key, spreads=4, draws=2
  )
  for number, count in enumerate(np.repeat([1, 11, 20, 30], 2)):
    keyed = jax.random.fold_in(key, number)
    drawn = np.asarray(jax.random.permutation(keyed, n))[:count]
    assert set(drawn.tolist()) <= set(found[number].tolist())
    distance = scipy.spatial.distance.cdist(x, x[drawn])
    clump, nearest = distance.argmin(axis=1), distance.min(axis=1)
    taken = np.isin(np.arange(n), found[number])
    counts = np.bincount(clump[taken], minlength=count)
    for c in range(count):
      here, left = nearest[(clump == c) & taken], nearest[(clump == c) & ~taken]
      if len(left):
        assert counts[c] >= counts.max() - 1
        assert here.max() <= left.min()


def test_duplicates_do_not_crowd_out_the_drawn_rows():
  x = np.zeros((50, 3), np.float32)
  found = agreement.spread_subsets(
    x, n=50, size=5, key=jax.random.key(0), spreads=2, draws=6
  )
  # Centres alone, all of them drawn at random: not the first rows of the pool.
  assert len(np.unique(found[6:])) > 15


def test_a_permuted_pool_and_a_mesh_give_the_same_subsets():
  x = _blobs(203)
  devices = mesh.make(data=2, fsdp=2, tensor=2)
  options = {"n": len(x), "size": 20, "key": jax.random.key(3), "draws": 2}
  one = agreement.spread_subsets(x, **options)
  many = agreement.spread_subsets(mesh.put_rows(x, devices), **options)
  np.testing.assert_array_equal(one, many)
  np.testing.assert_allclose(
    agreement.mean_distances(x, one, n=len(x)),
    agreement.mean_distances(mesh.put_rows(x, devices), one, n=len(x)),
    rtol=1e-6,
  )


def test_cell_coverage_counts_cells():
  rng = np.random.default_rng(0)
  cell = rng.integers(0, 40, 100)
  subsets = np.stack([rng.permutation(100)[:9] for _ in range(20)])
  pool = len(set(cell.tolist()))
  wanted = [len(set(cell[rows].tolist())) / pool for rows in subsets]
  np.testing.assert_array_equal(agreement.cell_coverage(cell, subsets), wanted)


def test_names_of_cells_mean_nothing_and_shuffled_cells_say_nothing():
  x = _blobs(400)
  rng = np.random.default_rng(0)
  cell = np.asarray(grid.grid_cells(x[:, :2], grid=9))
  subsets = agreement.spread_subsets(x, n=400, size=40, key=jax.random.key(0))
  own = agreement.cell_coverage(cell, subsets)
  other_names = rng.permutation(cell.max() + 1)[cell]
  same = agreement.cell_coverage(other_names, subsets)
  assert agreement.rank_correlation(own, same) == (1.0, 1.0, 1.0)
  shuffled = agreement.cell_coverage(rng.permutation(cell), subsets)
  assert abs(agreement.rank_correlation(own, shuffled).rho) < 0.4
  # Coverage by these cells is no stranger to coverage without cells.
  distance = agreement.mean_distances(x, subsets, n=400)
  assert agreement.rank_correlation(own, -distance).rho > 0.5
  depth = rng.normal(size=400).astype(np.float32)
  everyone = np.arange(400), np.ones(400, bool)
  chosen, again = (
    ordering.total_order(c.astype(np.int32), depth, *everyone)[0][:50]
    for c in (cell, other_names)
  )
  assert agreement.jaccard(chosen, again) == 1


def test_map_quality_equals_sklearn_and_brute_force():
  x = _blobs(90)
  for xy in (x[:, :2], np.random.default_rng(1).normal(size=(90, 2))):
    xy = xy.astype(np.float32)
    found = agreement.map_quality(x, xy, rows=np.arange(90), k=7)
    wanted = manifold.trustworthiness(x, xy, n_neighbors=7)
    assert found["trustworthiness"] == pytest.approx(wanted, abs=1e-6)
    near = [
      np.argsort(scipy.spatial.distance.cdist(space, space))[:, 1:8]
      for space in (x, xy)
    ]
    kept = [len(set(a) & set(b)) / 7 for a, b in zip(*near, strict=True)]
    assert found["neighbours_kept"] == pytest.approx(np.mean(kept))
  perfect = agreement.map_quality(x[:, :2], x[:, :2], rows=np.array([5, 80]))
  assert perfect == {"neighbours_kept": 1.0, "trustworthiness": 1.0}


def test_a_sample_of_rows_stands_for_all():
  x = _blobs(300)
  whole = agreement.map_quality(x, x[:, :2], rows=np.arange(300))
  rows = np.random.default_rng(0).permutation(300)[:150]
  part = agreement.map_quality(x, x[:, :2], rows=rows)
  for name, value in whole.items():
    assert part[name] == pytest.approx(value, abs=0.03)


def test_among_duplicates_no_row_is_its_own_neighbour():
  x = np.zeros((30, 3), np.float32)
  found = agreement._others_near(x, np.array([29, 0]), 4)
  assert found.tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]


@pytest.mark.parametrize("devices", [1, 8])
def test_distances_without_cells_equal_scipy_and_need_little_memory(devices):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(4096, 8)).astype(np.float32)
  rows = rng.permutation(len(x))[:3000]
  here = jnp.asarray(x)
  if devices > 1:
    here = mesh.put(x, mesh.make(data=2, fsdp=2, tensor=2))
  found = np.asarray(coverage.nearest_distance(here, rows))
  wanted = scipy.spatial.distance.cdist(x[::8], x[rows]).min(axis=1)
  np.testing.assert_allclose(found[::8], wanted, rtol=1e-4, atol=1e-5)
  # Of a pool of 2^18 all distances at once would take 3 GB, 786 MB a device.
  over, axes = mesh.row_sharding(here)
  index = jax.ShapeDtypeStruct((2**18,), jnp.int32, sharding=here.sharding)
  pool = jax.ShapeDtypeStruct((2**18, 8), here.dtype, sharding=here.sharding)
  program = row_blocks._apply.lower(
    (index, pool),
    (jnp.asarray(x[rows]),),
    np.int32(1),
    function=neighbours._search(1, False),
    mesh=over,
    axes=axes,
  )
  assert program.compile().memory_analysis().temp_size_in_bytes < 100e6


OWN = variants.CellRecipe("grid", "tsne", 30.0, seed=5)


def test_variants_differ_from_the_run_in_one_thing():
  found = variants.variants(variants.AXES, own=OWN, reference_seeds=(7, 8, 9))
  assert [v.axis for v in found[:3]] == ["run", "chance", "chance"]
  assert list(dict.fromkeys(v.axis for v in found[3:])) == list(variants.AXES)
  assert len({(v.axis, v.name) for v in found}) == len(found)
  own = dataclasses.asdict(OWN)
  for variant in found:
    if variant.recipe and variant.axis != "run":
      other = dataclasses.asdict(variant.recipe)
      assert sum(own[name] != other[name] for name in own) == 1
  references = [v[3:5] for v in found if v.axis == "reference_seed"]
  alone = [(7, None), (8, None), (9, None)]
  assert references == [*alone, (7, 8), (8, 9)]


def test_clusters_are_compared_with_every_grid():
  own = dataclasses.replace(OWN, cells="kmeans", projection="pca")
  found = variants.variants(("projection",), own=own, reference_seeds=(0,))
  made = {(v.recipe.cells, v.recipe.projection) for v in found[3:]}
  assert made == {("grid", name) for name in projections.PROJECTIONS}


@pytest.mark.parametrize(
  "axis,changes,message",
  [
    ("seeds", {}, "is 'seeds'; allowed: map_seed"),
    ("reference_seed", {"score__reference_seeds": (0,)}, "give two or more"),
    ("perplexity", {"landscape__projection": "pca"}, "no cells come from"),
    ("perplexity", {"landscape__cells": "kmeans"}, "no cells come from"),
    ("map_seed", {"landscape__projection": "pca"}, "know no seed"),
  ],
)
def test_axes_that_vary_nothing_are_refused(axis, changes, message):
  with pytest.raises(errors.InputError, match=message):
    tiny.config("pool.jsonl", landscape__stability=(axis,), **changes)
  allowed = {"landscape__cells": "kmeans", "landscape__projection": "pca"}
  tiny.config("pool.jsonl", landscape__stability=("map_seed",), **allowed)
