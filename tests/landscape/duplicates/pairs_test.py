"""Pairs, groups and false depth, against brute force and planted data."""

import itertools

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csgraph, csr_array

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape.duplicates import (
  cell_neighbours,
  false_depth,
  pair_search,
)
from ila_jax.landscape.duplicates import pairs as pairs_lib

NONE = np.zeros((0, 2), np.int64)


@pytest.fixture(scope="module")
def mesh():
  return mesh_lib.make()


@pytest.fixture(scope="module")
def one_device():
  return jax.make_mesh((1, 1, 1), mesh_lib.AXES, devices=jax.devices()[:1])


def _pool(n, *, d=16, seed=0, families=40, noise=0.12):
  """Unit vectors in families, so that many pairs lie about the threshold."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(families, d))[rng.integers(families, size=n)]
  x = x / np.linalg.norm(x, axis=1, keepdims=True)
  x = x + noise * rng.normal(size=(n, d)) * rng.random((n, 1))
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def _brute_force(x, cell, near, threshold):
  """All pairs, one by one."""
  beside = {(a, b) for a, b in near.tolist()} | {(b, a) for a, b in near}
  cosine = x.astype(np.float64) @ x.T.astype(np.float64)
  return [
    (a, b)
    for a, b in itertools.combinations(range(len(x)), 2)
    if cosine[a, b] >= threshold
    and (cell[a] == cell[b] or (cell[a], cell[b]) in beside)
  ]


def _found(x, cell, near, threshold, mesh):
  found = pairs_lib.pairs(
    x, cell=cell, near=near, threshold=threshold, mesh=mesh
  )
  return list(zip(found.a.tolist(), found.b.tolist(), strict=True))


def _map_of(n, *, grid, seed=1):
  return np.random.default_rng(seed).integers(grid**2, size=n)


@pytest.mark.parametrize("threshold", [0.9, 0.99])
def test_pairs_are_those_of_brute_force_in_cells_and_beside(mesh, threshold):
  x, cell = _pool(700), _map_of(700, grid=5)
  near = cell_neighbours.grid_neighbours(cell, grid=5)
  wanted = _brute_force(x, cell, near, threshold)
  assert _found(x, cell, near, threshold, mesh) == wanted
  # There are pairs across borders, and pairs too far to be found.
  own = _brute_force(x, cell, NONE, threshold)
  everywhere = _brute_force(x, 0 * cell, NONE, threshold)
  assert len(own) < len(wanted) < len(everywhere)


def test_cosines_are_those_of_float64(mesh):
  x = _pool(300)
  found = pairs_lib.pairs(
    x, cell=np.zeros(300, int), near=NONE, threshold=0.9, mesh=mesh
  )
  wide = x.astype(np.float64)
  cosine = (wide[found.a] * wide[found.b]).sum(axis=1)
  np.testing.assert_array_equal(found.cosine, cosine.astype(np.float32))


def test_a_crowded_cell_takes_several_tiles_and_blocks(mesh, monkeypatch):
  monkeypatch.setattr(pair_search, "_BLOCK_ROWS", (64, 128))
  monkeypatch.setattr(pair_search, "_HOST_ROWS", 3)
  monkeypatch.setattr(pair_search, "_HOST_PAIRS", 7)
  monkeypatch.setattr(pairs_lib, "_TILE_ROWS", (32, 64))
  x = _pool(500)
  cell = np.minimum(_map_of(500, grid=6), 12)  # cell 12 holds most
  near = cell_neighbours.grid_neighbours(cell, grid=6)
  wanted = _brute_force(x, cell, near, 0.95)
  assert _found(x, cell, near, 0.95, mesh) == wanted
  assert _found(x, 0 * cell, NONE, 0.95, mesh) == _brute_force(
    x, 0 * cell, NONE, 0.95
  )


@pytest.mark.parametrize(
  ("threshold", "counts"), [(0.75, True), (np.nextafter(0.75, 1), False)]
)
def test_at_the_threshold_float64_decides(mesh, threshold, counts):
  """The third row is nearer, but at a place that does not count."""
  x = np.float32([[1, 0], [0.75, 0.6614378], [1, 0]])
  first = np.arange(1)
  tile = pair_search.Tile(first, first, first + 2, np.arange(3), np.arange(3))
  asked = {"threshold": threshold, "mesh": mesh}
  (found,) = pair_search.sweep(x, iter([tile]), **asked)
  assert found.b.tolist() == [1] * counts
  rows = list(pair_search.with_partner(x, iter([tile]), **asked))
  assert np.concatenate(rows).tolist() == [0] * counts


@pytest.mark.parametrize("n", [0, 1, 2, 257])
def test_edge_sizes(mesh, n):
  x = np.ones((n, 1), np.float32)
  wanted = list(itertools.combinations(range(n), 2))
  assert _found(x, np.zeros(n, int), NONE, 0.5, mesh) == wanted


def test_one_device_and_eight_and_a_permuted_pool_agree(mesh, one_device):
  x, cell = _pool(400), _map_of(400, grid=4)
  near = cell_neighbours.grid_neighbours(cell, grid=4)
  settings = {"near": near, "threshold": 0.93}
  whole = pairs_lib.pairs(x, cell=cell, mesh=mesh, **settings)
  alone = pairs_lib.pairs(x, cell=cell, mesh=one_device, **settings)
  for left, right in zip(whole, alone, strict=True):
    np.testing.assert_array_equal(left, right)
  order = np.random.default_rng(2).permutation(400)
  moved = pairs_lib.pairs(x[order], cell=cell[order], mesh=mesh, **settings)

  def named(found, name):
    ends = np.sort([name[found.a], name[found.b]], axis=0).T.tolist()
    return {
      (*pair, cosine)
      for pair, cosine in zip(ends, found.cosine.tolist(), strict=True)
    }

  assert named(whole, np.arange(400)) == named(moved, order)


def test_rows_are_asked_for_and_never_all_at_once(mesh, monkeypatch):
  monkeypatch.setattr(pair_search, "_BLOCK_ROWS", (64, 64))
  monkeypatch.setattr(pairs_lib, "_TILE_ROWS", (64, 64))
  x = _pool(600)
  asked = []

  class Reader:
    def __getitem__(self, rows):
      asked.append(len(rows))
      return x[rows]

  cell = np.zeros(600, int)
  assert _found(Reader(), cell, NONE, 0.95, mesh) == _found(
    x, cell, NONE, 0.95, mesh
  )
  assert max(asked) == 64


def test_too_many_pairs_are_refused(mesh, monkeypatch):
  monkeypatch.setattr(pairs_lib, "MAX_PAIRS", 10)
  with pytest.raises(
    errors.InputError, match=r"cosine of 0\.5 or more; raise config"
  ):
    _found(np.ones((9, 1), np.float32), np.zeros(9, int), NONE, 0.5, mesh)


def test_progress_counts_every_row_once(mesh):
  done = []
  pairs_lib.pairs(
    _pool(700),
    cell=_map_of(700, grid=5),
    near=NONE,
    threshold=0.9,
    mesh=mesh,
    on_rows=done.append,
  )
  assert sum(done) == 700


@pytest.mark.parametrize(
  ("grid", "dimensions"), [(4, 1), (4, 2), (4, 3), (3, 12)]
)
def test_grid_neighbours_touch(grid, dimensions):
  cell = np.random.default_rng(0).integers(grid**dimensions, size=40)
  near = cell_neighbours.grid_neighbours(cell, grid=grid, dimensions=dimensions)
  place = {
    c: np.array(np.unravel_index(c, (grid,) * dimensions)) for c in set(cell)
  }
  assert sorted(map(tuple, near.tolist())) == sorted(
    (a, b)
    for a, b in itertools.combinations(sorted(place), 2)
    if abs(place[a] - place[b]).max() == 1
  )


def test_center_neighbours_are_the_nearest_either_way():
  centers = _pool(30, families=30)
  squared = ((centers[:, None] - centers[None]) ** 2).sum(axis=2)
  np.fill_diagonal(squared, np.inf)
  wanted = set()
  for a, row in enumerate(squared):
    wanted |= {tuple(sorted((a, int(b)))) for b in np.argsort(row)[:3]}
  near = cell_neighbours.center_neighbours(centers, k=3)
  assert list(map(tuple, near.tolist())) == sorted(wanted)
  assert len(cell_neighbours.center_neighbours(centers[:1])) == 0


def test_recall_is_the_share_of_true_pairs(mesh):
  x, cell = _pool(600), _map_of(600, grid=5)
  near = cell_neighbours.grid_neighbours(cell, grid=5)
  everything = np.arange(600)
  total, there = pairs_lib.recall(
    x, everything, cell=cell, near=near, threshold=0.95, mesh=mesh
  )
  # Every pair is seen from both of its rows.
  assert total == 2 * len(_brute_force(x, 0 * cell, NONE, 0.95))
  assert there == 2 * len(_brute_force(x, cell, near, 0.95))


def test_recall_reads_every_row_once(mesh, monkeypatch):
  monkeypatch.setattr(pair_search, "_BLOCK_ROWS", (64, 64))
  monkeypatch.setattr(pairs_lib, "_TILE_ROWS", (32, 512))
  x, asked, done = _pool(600), [], []

  class Reader:
    def __getitem__(self, rows):
      asked.append(len(rows))
      return x[rows]

  pairs_lib.recall(
    Reader(),
    np.arange(0, 600, 2),
    cell=np.zeros(600, int),
    near=NONE,
    threshold=0.95,
    mesh=mesh,
    on_rows=done.append,
  )
  # The 300 of the sample, and all rows, 64 at once.
  assert asked == [300, *[64] * 9, 24]
  # It is told how far it is, block by block.
  assert len(done) == 10 and sum(done) == 300 and max(done) < 35


def test_closest_is_that_of_brute_force(mesh, monkeypatch):
  monkeypatch.setattr(pairs_lib, "_BLOCK_ROWS", 100)
  x, asked = _pool(250), []

  class Reader:
    def __getitem__(self, rows):
      asked.extend(rows)
      return x[rows]

  sets = [x[:40], x[:0], x[200:]]
  index, cosine = pairs_lib.closest(Reader(), sets, rows=250, mesh=mesh)
  # The rows are read once, however many sets there are.
  assert asked == list(range(250))
  for found, best, points in zip(index, cosine, sets, strict=True):
    if not len(points):
      assert set(found) == set(best) == {-1}
      continue
    product = x.astype(np.float64) @ points.T.astype(np.float64)
    np.testing.assert_allclose(best, product.max(axis=1), rtol=1e-6)
    own = product[np.arange(250), found]
    np.testing.assert_allclose(own, best, rtol=1e-6)
  np.testing.assert_array_equal(index[0, :40], np.arange(40))
  np.testing.assert_array_equal(index[2, 200:], np.arange(50))


def _pairs_of(x, mesh, threshold):
  return pairs_lib.pairs(
    x,
    cell=np.zeros(len(x), int),
    near=NONE,
    threshold=threshold,
    mesh=mesh,
  )


def test_leaders_stay_apart_and_all_others_are_near_one(mesh):
  x, n = _pool(400), 400
  found = _pairs_of(x, mesh, 0.97)
  rank = np.random.default_rng(3).permutation(n)
  leader = pairs_lib.leaders(found, rank)
  kept = np.flatnonzero(leader == np.arange(n))
  near = {*zip(found.a, found.b, strict=True)}
  near |= {(b, a) for a, b in near}
  assert not [pair for pair in itertools.combinations(kept, 2) if pair in near]
  for row in set(range(n)) - set(kept):
    assert leader[row] in kept
    assert (row, leader[row]) in near
    assert rank[leader[row]] < rank[row]
  # Leaders split components, and never join two.
  graph = csr_array((np.ones(len(found.a)), (found.a, found.b)), (n, n))
  component = csgraph.connected_components(graph, directed=False)[1]
  np.testing.assert_array_equal(component[leader], component)
  assert len(kept) > component.max() + 1


def test_leaders_follow_ids_and_not_row_numbers(mesh):
  x, rank = _pool(200), np.random.default_rng(4).permutation(200)
  leader = pairs_lib.leaders(_pairs_of(x, mesh, 0.95), rank)
  order = np.random.default_rng(5).permutation(200)
  moved = pairs_lib.leaders(_pairs_of(x[order], mesh, 0.95), rank[order])
  np.testing.assert_array_equal(order[moved], leader[order])


@pytest.mark.parametrize("kind", ["random", "chain", "clique"])
def test_leaders_and_nearest_are_those_of_a_walk(kind):
  n, rng = 120, np.random.default_rng(7)
  every = np.array(list(itertools.combinations(range(n), 2)))
  a, b = {
    "random": every[rng.random(len(every)) < 0.04],
    "chain": every[every[:, 1] == every[:, 0] + 1],
    "clique": every,
  }[kind].T
  # Cosines of a few values, so that many are equal.
  cosine = rng.choice(np.array([0.95, 0.96, 0.97], np.float32), len(a))
  rank = np.arange(n) if kind == "chain" else rng.permutation(1000)[:n]
  near = {row: {} for row in range(n)}
  for one, two, value in zip(a, b, cosine.tolist(), strict=True):
    near[one][two] = near[two][one] = value
  leader, nearest = np.arange(n), np.full(n, -1)
  for row in np.argsort(rank):
    kept = [o for o in near[row] if leader[o] == o and rank[o] < rank[row]]
    leader[row], nearest[row] = (
      min(others, key=lambda o: (-near[row][o], rank[o]), default=other)
      for others, other in ((kept, row), (near[row], -1))
    )
  pairs = pairs_lib.Pairs(a, b, cosine)
  found, best = pairs_lib.nearest_of(pairs, rank)
  np.testing.assert_array_equal(pairs_lib.leaders(pairs, rank), leader)
  np.testing.assert_array_equal(found, nearest)
  wanted = [near[r].get(o, np.nan) for r, o in enumerate(nearest.tolist())]
  np.testing.assert_array_equal(best, np.float32(wanted))


def test_nearest_of_is_that_of_brute_force(mesh):
  x = _pool(200)
  nearest, cosine = pairs_lib.nearest_of(
    _pairs_of(x, mesh, 0.95), np.arange(200)
  )
  product = x.astype(np.float64) @ x.T.astype(np.float64)
  np.fill_diagonal(product, -1)
  has = product.max(axis=1) >= 0.95
  assert 0 < has.sum() < 200
  np.testing.assert_array_equal(nearest[has], product.argmax(axis=1)[has])
  np.testing.assert_array_equal(nearest[~has], -1)
  np.testing.assert_array_equal(np.isnan(cosine), ~has)


def _planted(leak, *, seed, n=6000, size=150, placebos=2):
  """Subsets drawn alike; crowded rows are deep; what is near R leaks.

  Every row lies near some rows of its family, and families differ in size and
  depth, so that what is near one row of a subset is alike.
  """
  rng = np.random.default_rng(seed)
  family = rng.choice(300, n, p=rng.dirichlet(np.ones(300)))
  shift = rng.normal(0, 0.2, 300)
  size_of = np.bincount(family, minlength=300)
  drawn = rng.permutation(n)[: size * (1 + placebos)].reshape(-1, size)
  source, cosine = np.empty((2, 1 + placebos, n))
  for i, rows in enumerate(drawn):
    held = np.full(300, -1)
    held[family[rows]] = rows
    source[i] = held[family]
    near = 0.85 + 0.15 * rng.random(n)
    cosine[i] = np.where(held[family] >= 0, near, 0.3)
    cosine[i, rows] = np.nan
  domain = rng.integers(5, size=n)
  n_tokens = rng.lognormal(4, 1, n).astype(int) + 1
  depth = 0.2 * domain + 1 / np.sqrt(n_tokens) + rng.normal(0, 0.3, n)
  depth += shift[family] + 0.3 * np.log1p(size_of[family])
  depth += leak * (cosine[0] >= 0.9)
  free = ~np.isnan(cosine[0])
  above = false_depth.above_like(depth[free], n_tokens[free], domain[free])
  nearest = false_depth.Nearest(source.astype(int)[:, free], cosine[:, free])
  return (
    above,
    false_depth.Nearest(nearest.source[:1], nearest.cosine[:1]),
    false_depth.Nearest(nearest.source[1:], nearest.cosine[1:]),
  )


def test_a_planted_leak_is_found():
  found = false_depth.check(*_planted(0.5, seed=0), seed=0)
  low, high = found[0]["interval"]
  assert 0.2 < low < 0.5 < high < 0.8
  assert "gain false depth" in false_depth.verdict(found)


def test_no_leak_no_verdict_though_crowded_rows_are_deep():
  covered = []
  for seed in range(12):
    above, reference, placebos = _planted(0.0, seed=seed)
    row = false_depth.check(above, reference, placebos, seed=0)[0]
    covered.append(row["interval"][0] < 0 < row["interval"][1])
    # Beside all others those near R are deeper: the placebo is what helps.
    near = reference.cosine[0] >= 0.9
    assert above[near].mean() > above[~near].mean() + 0.02
  assert sum(covered) >= 10
  found = false_depth.check(*_planted(0.0, seed=0), seed=0)
  assert false_depth.verdict(found).startswith("No false depth")


def test_a_negative_gain_is_called_less_deep():
  row = {"low": 0.9, "near": 52, "peers": 48, "gain": -0.001}
  assert false_depth.verdict([row | {"interval": [-0.008, 0.006]}]) == (
    "No false depth of near-duplicates of the reference set was found: the 52 "
    "candidates of cosine 0.9 and more to it are 0.001 nats per token less "
    "deep than their peers (95 % interval of what they gain: −0.008 to 0.006)."
  )


def test_the_gain_of_the_reference_itself_is_that_of_its_means():
  rng = np.random.default_rng(0)
  seen = rng.random(5000) < 0.1
  above = rng.normal(0, 0.3, 5000) + 0.05 * seen
  found = false_depth.own_gain(above, seen)
  welch = stats.ttest_ind(above[seen], above[~seen], equal_var=False)
  interval = welch.confidence_interval(0.95)
  assert found["gain"] == pytest.approx(
    above[seen].mean() - above[~seen].mean()
  )
  assert found["interval"] == pytest.approx(list(interval), abs=1e-3)
  assert false_depth.own_gain(above, 0 * seen > 0)["gain"] is None


def test_like_examples_have_the_same_domain_and_length():
  rng = np.random.default_rng(0)
  domain, n_tokens = rng.integers(5, size=9000), rng.integers(1, 900, size=9000)
  depth = 0.2 * domain - 0.2 * np.log(n_tokens) + rng.normal(0, 0.1, 9000)
  above = false_depth.above_like(depth, n_tokens, domain)
  for one in range(5):
    assert abs(above[domain == one].mean()) < 1e-9
  assert abs(np.corrcoef(above, np.log(n_tokens))[0, 1]) < 0.4
  assert above.std() < depth.std() / 2
  # A small domain has no mean of its own.
  alone = false_depth.above_like(depth[:200], n_tokens[:200], np.arange(200))
  assert alone.std() > 0.1


def test_bands_hold_their_lower_end_and_one():
  cosine = np.array([[0.8, 0.9, 0.95, 1.0, 0.7999, np.nan]])
  source = np.zeros((1, 6), int)
  far = false_depth.Nearest(source, np.zeros((1, 6)))
  found = false_depth.check(
    np.zeros(6), false_depth.Nearest(source, cosine), far, seed=0
  )
  assert [row["near"] for row in found] == [3, 1, 1, 2]
  assert found[0]["gain"] is None
  assert "cannot be told" in false_depth.verdict(found)


def test_a_candidate_near_both_is_of_neither_group():
  cosine, source = np.full((1, 40), 0.97), np.arange(40)[None]
  both = false_depth.Nearest(source, cosine)
  found = false_depth.check(np.zeros(40), both, both, seed=0)
  assert {(row["near"], row["peers"]) for row in found} == {(0, 0)}
