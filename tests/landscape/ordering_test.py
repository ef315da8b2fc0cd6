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
