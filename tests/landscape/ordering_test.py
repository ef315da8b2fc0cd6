"""Ordering: brute force, one device against eight, and the edges of floats."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ila_jax.landscape import ordering
from ila_jax.methods import candidates
from tests.support import reference_selection as reference


def test_one_device_equals_eight():
  assert jax.device_count() == 8
  c = candidates.candidates(**reference.big_pool(), seed=0)
  arrays = (c.cell, c.depth, c.id_rank, c.candidate)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  split = NamedSharding(mesh, PartitionSpec("data"))
  sharded = [jax.device_put(x, split) for x in arrays]
  assert len(sharded[0].sharding.device_set) == 8
  for one, eight in zip(
    ordering.total_order(*arrays), ordering.total_order(*sharded), strict=True
  ):
    np.testing.assert_array_equal(one, eight)


def test_a_quantile_takes_no_memory_for_empty_cells():
  """The cells of a fine grid: two thousand million, and four rows."""
  cell = np.array([0, 2**31 - 2, 0, 2**31 - 2], np.int32)
  depth = np.array([1.0, 5.0, 2.0, 4.0], np.float32)
  found = ordering.reaches_quantile(
    cell, depth, np.arange(4), np.ones(4, bool), quantile=1.0
  )
  assert found.tolist() == [False, True, True, False]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_depth_that_is_not_finite_is_never_sorted(value):
  pool = reference.pool(24, 7) | {
    "candidate": np.ones(24, bool),
    "depth": np.ones(24),
  }
  c = candidates.candidates(**pool, seed=0)
  bad = np.where(np.arange(24) == 5, value, 1.0)
  for field in ("depth", "relative_depth"):
    with pytest.raises(ValueError, match="depth of 1 candidates is not finite"):
      candidates.candidates(**(pool | {field: bad}), seed=0)
  with pytest.raises(ValueError, match="depth of 1 candidates is not finite"):
    ordering.total_order(c.cell, bad, c.id_rank, c.candidate)


def test_floats_sort_as_numbers_do_with_equal_zeros():
  """Also subnormals, which devices may flush to zero when they are floats."""
  tiny = np.finfo(np.float32).smallest_subnormal
  huge = np.finfo(np.float32).max
  x = np.array([0.0, tiny, -tiny, huge, -huge, -0.0, 1.0, -1.0], np.float32)
  ones = np.ones(8, bool)
  got = ordering.sort_rows((x,), np.arange(8), ones)
  np.testing.assert_array_equal(got, np.argsort(x, kind="stable"))
  down = ordering.sort_rows((-x,), np.arange(8), ones)
  np.testing.assert_array_equal(down, np.argsort(-x, kind="stable"))


def test_sort_rows_puts_rows_that_are_no_candidates_last():
  keys = (np.array([3, 1, 2, 0]),)
  free = np.array([True, True, False, False])
  got = ordering.sort_rows(keys, np.arange(4), free)
  assert got[:2].tolist() == [1, 0]
  assert set(got[2:].tolist()) == {2, 3}


def test_place_in_cell_equals_counting():
  """By the definition: how many of my cell come before me."""
  for seed in range(100):
    pool = reference.pool(24, seed)
    c = reference.tied_candidates(pool)
    place = ordering.place_in_cell(
      c.cell, (c.n_tokens, c.uniform), c.id_rank, c.candidate
    )
    key = [
      (int(c.n_tokens[i]), float(c.uniform[i]), int(pool["ids"][i]))
      for i in range(24)
    ]
    for i in np.flatnonzero(c.candidate):
      peers = np.flatnonzero(c.candidate & (c.cell == c.cell[i]))
      assert place[i] == sum(key[j] < key[i] for j in peers)


def _weighed(seed):
  """A pool, whose cells have weights that are small whole numbers."""
  pool = reference.pool(24, seed)
  by_cell = np.random.default_rng(seed).integers(1, 6, 9)
  return reference.tied_candidates(pool), by_cell


def test_weighed_cells_equal_brute_force():
  differ = 0
  for seed in range(100):
    c, by_cell = _weighed(seed)
    arrays = c.cell, c.depth, c.id_rank, c.candidate
    order, turn = ordering.total_order(*arrays, by_cell[c.cell] * 1.0)
    wanted = reference.weighed(c, dict(enumerate(by_cell.tolist())))
    assert order.tolist() == wanted
    plain, rounds = ordering.total_order(*arrays)
    assert dict(zip(order.tolist(), turn.tolist(), strict=True)) == dict(
      zip(plain.tolist(), rounds.tolist(), strict=True)
    )
    differ += order.tolist() != plain.tolist()
  assert differ > 50


@pytest.mark.parametrize("weight", [1.0, 3.0, 1 / 3, 1e-9])
def test_equal_weights_change_nothing(weight):
  c = candidates.candidates(**reference.big_pool(), seed=0)
  arrays = c.cell, c.depth, c.id_rank, c.candidate
  equal = np.full(len(c.ids), weight)
  for one, two in zip(
    ordering.total_order(*arrays),
    ordering.total_order(*arrays, equal),
    strict=True,
  ):
    np.testing.assert_array_equal(one, two)
  # Where float64 tells no two times apart, the place still does.
  far = np.array([2**31 - 2, 2**31 - 3], np.int32)
  assert ordering.turns(far, np.full(2, 1e300)).tolist() == [1, 0]


def test_every_prefix_gives_cells_their_shares():
  """Sainte-Laguë: never a row ahead or behind by more than the cells' own."""
  weight = np.array([1.0, 2.0, 5.0])
  cell = np.repeat(np.arange(3), [60, 120, 300])
  c = candidates.candidates(
    **reference.big_pool(480) | {"cell": cell, "candidate": cell >= 0}, seed=0
  )
  order, _ = ordering.total_order(
    c.cell, c.depth, c.id_rank, c.candidate, weight[cell]
  )
  taken = np.cumsum(np.eye(3)[cell[order]], axis=0)
  quota = np.arange(1, 481)[:, None] * weight / weight.sum()
  assert np.abs(taken - quota).max() <= 1


def test_weighed_cells_on_eight_devices():
  c = candidates.candidates(**reference.big_pool(), seed=0)
  weight = 1.0 + c.cell % 7
  arrays = (c.cell, c.depth, c.id_rank, c.candidate)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  split = NamedSharding(mesh, PartitionSpec("data"))
  sharded = [jax.device_put(x, split) for x in arrays]
  for one, eight in zip(
    ordering.total_order(*arrays, weight),
    ordering.total_order(*sharded, weight),
    strict=True,
  ):
    np.testing.assert_array_equal(one, eight)


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_power_weights_by_brute_force(seed, power):
  """The order by (r + 1/2) / n^power, of cells that are counted one by one."""
  pool = reference.pool(24, seed)
  c = candidates.candidates(**pool, seed=seed)
  weight = ordering.power_weights(c.cell, c.candidate, power)
  order, _ = ordering.total_order(
    c.cell, c.depth, c.id_rank, c.candidate, weight
  )
  slow = reference.weighed(c, reference.power_weights(c, power))
  assert order.tolist() == slow


def test_any_prefix_has_a_multiple_of_the_weights_to_half_a_row():
  """That is Sainte-Laguë's apportionment; cells are not used up before."""
  c = candidates.candidates(**reference.big_pool(), seed=0)
  size = np.bincount(c.cell[c.candidate], minlength=60)
  for power in (0.5, 1.0):
    weight = ordering.power_weights(c.cell, c.candidate, power)
    order, turn = ordering.total_order(
      c.cell, c.depth, c.id_rank, c.candidate, weight
    )
    counts = np.cumsum(c.cell[order][:, None] == np.arange(60), axis=0)
    # The time of the last row is the multiple.
    multiple = ((turn - 0.5) / weight[order])[:, None]
    wanted = np.minimum(multiple * size**power, size)
    assert np.abs(counts - wanted).max() <= 0.5 + 1e-9
