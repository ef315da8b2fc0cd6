"""The deepest of every cell: round 1 of the total order, on any devices."""

import jax
import numpy as np
import pytest

from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape import ordering, segment_max
from ila_jax.methods import candidates
from tests.support import reference_selection as reference

# Few shapes, so that few programs are compiled.
_CELLS = 9


def _deepest(c, num_cells=_CELLS):
  rows = c.cell, c.depth, c.id_rank, c.candidate
  return np.asarray(segment_max.deepest(*rows, num_cells=num_cells))


@pytest.mark.parametrize("n", reference.SIZES)
def test_equals_brute_force_and_round_1(n):
  """Ties, -0.0, subnormal depths, empty cells, rows that may not win."""
  for seed in range(40):
    pool = reference.pool(n, seed)
    c = candidates.candidates(**pool, seed=0)
    got = _deepest(c)
    for cell in range(_CELLS):
      own = np.flatnonzero(c.candidate & (c.cell == cell))
      want = min(own, key=lambda i: (-c.depth[i], c.ids[i]), default=-1)
      assert got[cell] == want
    order, turn = ordering.total_order(c.cell, c.depth, c.id_rank, c.candidate)
    assert set(order[turn == 1]) == set(got[got >= 0])


def test_one_device_equals_eight_and_lets_only_cells_travel():
  c = candidates.candidates(**reference.big_pool(), seed=0)
  mesh = mesh_lib.make(data=4, fsdp=2)
  columns = c.cell, c.depth, c.id_rank, c.candidate
  eight = mesh_lib.put(columns, mesh)
  assert len(eight[0].sharding.device_set) == 8
  got = segment_max.deepest(*eight, num_cells=60)
  np.testing.assert_array_equal(np.asarray(got), _deepest(c, 60))
  assert got.is_fully_replicated
  static = {"num_cells": 60, "mesh": mesh, "axes": ("data", "fsdp")}
  text = segment_max._deepest.lower(*eight, **static).compile().as_text()
  assert "all-reduce" in text
  # Rows never leave their device: nothing of their number is gathered.
  for other in ("all-gather", "all-to-all", "collective-permute"):
    assert f" {other}(" not in text


@pytest.mark.parametrize("rows", [7, 60, 64, 4000])
def test_blocks_change_nothing(monkeypatch, rows):
  """Also a last block that begins early, and more cells than rows of one."""
  c = candidates.candidates(**reference.big_pool(), seed=0)
  wanted = _deepest(c, 60)
  monkeypatch.setattr(segment_max, "_BLOCK_ROWS", rows)
  jax.clear_caches()
  np.testing.assert_array_equal(_deepest(c, 60), wanted)
  none = candidates.candidates(
    **{name: column[:0] for name, column in reference.big_pool().items()},
    seed=0,
  )
  assert _deepest(none, 3).tolist() == [-1, -1, -1]


def test_depth_that_is_not_finite_is_refused():
  ones = np.ones(2, np.int32)
  depth = np.array([np.nan, 1.0], np.float32)
  with pytest.raises(ValueError, match="depth of 1 candidates is not finite"):
    segment_max.deepest(ones, depth, np.arange(2), ones > 0, num_cells=2)
  free = np.array([False, True])
  got = segment_max.deepest(ones, depth, np.arange(2), free, num_cells=2)
  assert got.tolist() == [-1, 1]
  assert jax.device_count() == 8
