import numpy as np
import pytest
import scipy.stats
from sklearn import neighbors as sklearn_neighbors

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.landscape import coverage
from ila_jax.landscape import grid as grid_lib


def _numpy_cells(xy, grid, box=None):
  """Cells by numpy.histogram2d itself: one point at a time marks its cell."""
  xy = xy.astype(np.float64)
  if box is None:
    box = list(zip(xy.min(axis=0), xy.max(axis=0), strict=True))
  cells = []
  for x, y in xy:
    counts = np.histogram2d([x], [y], bins=grid, range=box)[0]
    cells.append(int(np.argmax(counts)) if counts.any() else -1)
  return np.array(cells)


def _maps():
  rng = np.random.default_rng(0)
  grid = np.linspace(0, 1, 8)
  yield "random", rng.normal(size=(200, 2)) * 30
  yield "on the edges", np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
  yield "thirds", rng.integers(0, 4, size=(60, 2)) / 3
  yield "one point", np.array([[3.0, -2.0]])
  yield "all equal", np.full((5, 2), 0.1)
  yield "a vertical line", np.stack([np.full(30, 7.0), np.arange(30) / 10], 1)
  yield "far from 0", 1e6 + rng.random((40, 2))


MAPS = {name: xy.astype(np.float32) for name, xy in _maps()}


@pytest.mark.parametrize("grid", [1, 2, 3, 7, 10, 64])
@pytest.mark.parametrize("name", MAPS)
def test_grid_equals_numpys_rule(name, grid):
  found = grid_lib.grid_cells(MAPS[name], grid=grid)
  np.testing.assert_array_equal(found, _numpy_cells(MAPS[name], grid))


def test_points_outside_the_box_have_no_cell():
  xy = np.array(
    [[0, 0], [1, 1], [-0.01, 0.5], [0.5, 1.01], [np.nan, 0], [np.inf, 0]],
    np.float32,
  )
  low, high = np.zeros(2, np.float32), np.ones(2, np.float32)
  found = grid_lib.grid_cells(xy, grid=4, low=low, high=high)
  wanted = _numpy_cells(xy[:4], 4, [(0, 1), (0, 1)])
  np.testing.assert_array_equal(found, [*wanted, -1, -1])
  assert wanted.tolist() == [0, 15, -1, -1]


def test_points_that_join_a_map_count_to_the_nearest_cell():
  old = MAPS["random"]
  low, high = grid_lib.bounding_box(old)
  rng = np.random.default_rng(1)
  new = (rng.normal(size=(300, 2)) * 90).astype(np.float32)
  box = {"grid": 7, "low": low, "high": high}
  found = np.asarray(grid_lib.grid_cells(new, clip=True, **box))
  inside = np.all((new >= low) & (new <= high), axis=1)
  assert 20 < inside.sum() < 280
  # Nobody who has a cell gets another, in company or alone.
  unclipped = np.asarray(grid_lib.grid_cells(new, **box))
  np.testing.assert_array_equal(found[inside], unclipped[inside])
  assert np.all(unclipped[~inside] == -1)
  ranges = list(zip(low.tolist(), high.tolist(), strict=True))
  nearest = np.clip(new, low, high)
  np.testing.assert_array_equal(found, _numpy_cells(nearest, 7, ranges))
  far = np.array([[np.inf, -np.inf], [np.nan, 0]], np.float32)
  cells = grid_lib.grid_cells(far, clip=True, **box)
  assert cells.tolist() == [6 * 7, -1]


@pytest.mark.parametrize("m, grid", [(1, 9), (3, 2), (3, 5), (4, 6)])
def test_grids_in_more_dimensions_equal_numpys_rule(m, grid):
  rng = np.random.default_rng(m)
  xy = np.concatenate([rng.normal(size=(60, m)), rng.integers(0, 3, (20, m))])
  xy = xy.astype(np.float32)
  box = [(float(a.min()), float(a.max())) for a in xy.T]
  wanted = [
    int(np.argmax(np.histogramdd(p[None], bins=grid, range=box)[0])) for p in xy
  ]
  np.testing.assert_array_equal(grid_lib.grid_cells(xy, grid=grid), wanted)


@pytest.mark.parametrize("flags", [2**25, 0])
def test_auto_grid_in_space_keeps_its_promise(flags, monkeypatch):
  monkeypatch.setattr(grid_lib, "_MAX_FLAGS", flags)
  xy = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)

  def occupied(grid):
    counts = np.histogramdd(xy.astype(np.float64), bins=grid)[0]
    return np.count_nonzero(counts)

  for max_cells in (7, 300):
    found = grid_lib.auto_grid(xy, max_cells=max_cells, max_grid=40)
    assert occupied(found) <= max_cells < occupied(found + 1)


def test_no_points_and_bad_grids():
  empty = np.zeros((0, 2), np.float32)
  assert grid_lib.grid_cells(empty, grid=3).shape == (0,)
  assert grid_lib.auto_grid(empty, max_cells=1) == 1
  # 1290^3 cells have numbers, 1291^3 have not; and no memory is asked for them.
  close = np.array([[0, 0, 0], [1e-9, 0, 0], [1 / 1289.5, 0, 0], [1, 1, 1]])
  close = close.astype(np.float32)
  assert grid_lib.auto_grid(close, max_cells=9) == 1290
  for m, grid in ((2, 0), (2, 46_341), (3, 1291), (4, 216)):
    with pytest.raises(
      errors.InputError, match=f"grid is {grid}; allowed: 1 to"
    ):
      grid_lib.grid_cells(np.zeros((5, m)), grid=grid)
  corner = grid_lib.grid_cells(np.eye(3), grid=1290)
  assert corner.tolist() == [1289 * 1290**2, 1289 * 1290, 1289]


@pytest.mark.parametrize("name", MAPS)
def test_auto_grid_keeps_its_promise(name):
  xy, top = MAPS[name], 40
  occupied = np.array(
    [
      np.count_nonzero(np.histogram2d(*xy.astype(np.float64).T, bins=grid)[0])
      for grid in range(1, top + 1)
    ]
  )
  for max_cells in (0, 1, 2, 5, 20, 63, 64, 150, len(xy)):
    found = grid_lib.auto_grid(xy, max_cells=max_cells, max_grid=top)
    granted = max(max_cells, 1)
    assert occupied[found - 1] <= granted
    assert (
      occupied[found] > granted
      if occupied[top - 1] > granted
      else occupied[found - 1] >= occupied[top - 1]
    )
    # Where the count never falls, that is the finest of all, or the coarsest
    # of those that tell as many places apart.
    if np.all(np.diff(occupied) >= 0):
      best = occupied[occupied <= granted][-1]
      same = np.flatnonzero(occupied == best) + 1
      assert found == same[0 if same[-1] == top else -1]


def test_auto_grid_stops_where_every_place_has_its_cell():
  """Each example many times, and a budget above the number of places."""
  rng = np.random.default_rng(0)
  places = rng.normal(size=(60, 2)).astype(np.float32)
  xy = places[rng.integers(0, 60, 900)]
  found = grid_lib.auto_grid(xy, max_cells=80, max_grid=512)
  assert found < 512
  before, after = (
    np.count_nonzero(np.histogram2d(*xy.astype(np.float64).T, bins=grid)[0])
    for grid in (found - 1, found)
  )
  assert before < after == 60


def test_coverage_equals_numpy_and_scipy():
  rng = np.random.default_rng(0)
  for _ in range(50):
    cell = rng.integers(-1, 12, size=40)
    rows = rng.choice(40, size=rng.integers(0, 41), replace=False)
    found = coverage.coverage(cell, rows, num_cells=16)
    pool = set(cell.tolist()) - {-1}
    chosen = [c for c in cell[rows].tolist() if c >= 0]
    assert found["pool_cells"] == len(pool)
    assert found["occupied_cells"] == len(set(chosen))
    assert found["coverage"] == len(set(chosen)) / len(pool)
    assert found["coverage_all"] == len(set(chosen)) / 16
    counts = np.bincount(chosen, minlength=16) if chosen else np.zeros(16)
    effective = np.exp(scipy.stats.entropy(counts)) if chosen else 0
    np.testing.assert_allclose(found["effective_cells"], effective)


def test_coverage_curve_equals_coverage_of_every_prefix():
  rng = np.random.default_rng(1)
  cell = rng.integers(-1, 9, size=30)
  order = rng.permutation(30)[:25]
  curve = coverage.coverage_curve(cell, order, np.arange(26))
  wanted = [
    coverage.coverage(cell, order[:budget], num_cells=9)["coverage"]
    for budget in range(26)
  ]
  np.testing.assert_array_equal(curve, wanted)


def test_coverage_of_nothing_is_nothing():
  none = np.zeros(0, int)
  found = coverage.coverage(none, none, num_cells=4)
  assert set(found.values()) == {0}
  assert coverage.coverage_curve(none, none, np.array([0])).tolist() == [0]


def test_nearest_distance_equals_sklearn():
  x = np.random.default_rng(0).normal(size=(150, 16)).astype(np.float32)
  rows = np.array([3, 149, 20, 77])
  found = coverage.nearest_distance(x, rows)
  brute = sklearn_neighbors.NearestNeighbors(algorithm="brute").fit(x[rows])
  wanted = brute.kneighbors(x, n_neighbors=1)[0][:, 0]
  np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
  assert np.all(np.asarray(found)[rows] == 0)
  summary = coverage.distance_summary(found)
  np.testing.assert_allclose(summary["mean"], np.mean(wanted), rtol=1e-5)
  np.testing.assert_allclose(
    summary["p95"], np.quantile(wanted, 0.95), rtol=1e-5
  )


def test_nothing_chosen_is_infinitely_far():
  found = coverage.nearest_distance(np.eye(3), np.zeros(0, int))
  assert np.all(np.isinf(found))
  assert coverage.distance_summary(found) == {"mean": np.inf, "p95": np.inf}


@pytest.mark.parametrize("axes", [{}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_eight_devices_equal_one(axes):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(160, 12)).astype(np.float32)
  devices = mesh.make(**axes)
  sharded, xy = mesh.put(x, devices), mesh.put(x[:, :2], devices)
  cells = grid_lib.grid_cells(xy, grid=9)
  np.testing.assert_array_equal(cells, grid_lib.grid_cells(x[:, :2], grid=9))
  assert not cells.sharding.is_fully_replicated
  auto = (grid_lib.auto_grid(y, max_cells=70) for y in (xy, x[:, :2]))
  assert len(set(auto)) == 1
  rows = np.array([5, 100, 33])
  many = coverage.nearest_distance(sharded, rows)
  one = coverage.nearest_distance(x, rows)
  np.testing.assert_allclose(many, one, rtol=1e-6)
  assert not many.sharding.is_fully_replicated
