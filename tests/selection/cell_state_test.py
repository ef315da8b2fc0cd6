"""What is kept of a stream: the total order of the whole, merged to the bit."""

import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape import ordering
from ila_jax.selection import cell_lists, cell_state, cell_stream

_CELLS = 6
# Few shapes, so that few programs are compiled.
_SHARD_ROWS = 64


def _pool(n, seed):
  """Ties, -0.0, crowded and empty cells, rows that may not win."""
  rng = np.random.default_rng(seed)
  # Half of the ids share their upper word; the lower ones cross the sign.
  upper = rng.integers(0, 2, n) * rng.integers(0, 2**32, n)
  lower = rng.choice(2**32, n, replace=False)
  ids = np.array(
    [f"{u:08x}{v:08x}" for u, v in zip(upper, lower, strict=True)], "U16"
  )
  return {
    "cell": np.floor(_CELLS * rng.random(n) ** 2).astype(np.int32),
    "depth": (
      rng.integers(-2, 3, n) / 4 * rng.choice([1, 1e-40, -1], n)
    ).astype(np.float32),
    "ids": ids,
    "candidate": rng.random(n) < 0.8,
  }


def _shard(pool, rows):
  words = cell_stream.id_words(pool["ids"][rows])
  return cell_stream.Shard(
    pool["cell"][rows], pool["depth"][rows], words, pool["candidate"][rows]
  )


def _consume(pool, keep, *, ends=(), mesh=None):
  parts = np.split(np.arange(len(pool["cell"])), ends)
  return cell_stream.consume(
    (_shard(pool, part) for part in parts),
    num_cells=_CELLS,
    keep=keep,
    shard_rows=_SHARD_ROWS,
    mesh=mesh,
  )


def _expected(pool, keep):
  """Rows and rounds of the order of the whole pool, down to round `keep`."""
  _, rank = np.unique(pool["ids"], return_inverse=True)
  order, turn = ordering.total_order(
    pool["cell"], pool["depth"], rank, pool["candidate"]
  )
  return order[turn <= keep], turn[turn <= keep]


def _equal(one, two):
  jax.tree.map(np.testing.assert_array_equal, one, two)


@pytest.mark.parametrize("keep", [1, 3])
def test_what_is_kept_is_the_head_of_the_total_order(keep):
  for seed in range(12):
    rng = np.random.default_rng(seed)
    pool = _pool(200, seed)
    ends = np.sort(rng.integers(0, 201, rng.integers(0, 5)))
    state = _consume(pool, keep, ends=ends)
    kept = cell_stream.ranking(state)
    order, turn = _expected(pool, keep)
    np.testing.assert_array_equal(kept.row, order)
    np.testing.assert_array_equal(kept.round, turn)
    np.testing.assert_array_equal(kept.cell, pool["cell"][order])
    np.testing.assert_array_equal(kept.depth, pool["depth"][order])


@pytest.mark.parametrize("keep", [1, 3])
def test_one_device_equals_eight_and_joins_them_once(keep):
  mesh = mesh_lib.make(data=4, fsdp=2)
  pool = _pool(300, 3)
  one, eight = _consume(pool, keep), _consume(pool, keep, mesh=mesh)
  assert len(eight.refused.sharding.device_set) == 8
  assert eight.fields[0].addressable_shards[0].data.shape == (1, _CELLS, keep)
  _equal(cell_stream.ranking(one), cell_stream.ranking(eight))
  rows = (np.zeros(64, np.int32), np.zeros(64, np.float32))
  words = (rows[0], rows[0])
  arguments = mesh_lib.put((*rows, words, rows[0] < 1), mesh)
  text = _program(cell_state._update, eight, arguments, np.int32(0), mesh)
  assert "all-" not in text  # While rows pass, devices need not wait.
  join = cell_state._join.lower(eight.fields, mesh=mesh, axes=("data", "fsdp"))
  join = join.compile().as_text()
  assert sum(join.count(f" {op}(") for op in _COLLECTIVES) == 1


def test_a_state_is_made_on_its_devices(monkeypatch):
  def on_host(*arguments, **keywords):
    raise AssertionError("the whole state stands on the host")

  mesh = mesh_lib.make(data=4, fsdp=2)
  monkeypatch.setattr(mesh_lib, "put", on_host)
  monkeypatch.setattr(cell_state.np, "full", on_host)
  state = cell_state.empty(num_cells=_CELLS, keep=2, words=2, mesh=mesh)
  assert len(state.fields) == 4 and state.fields[0].shape == (8, _CELLS, 2)
  for array in (*state.fields, state.refused):
    assert array.sharding.shard_shape(array.shape)[0] == 1
    assert (
      np.asarray(array) == (0 if array.ndim == 1 else cell_lists.NONE)
    ).all()


_COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute")


def _program(function, state, rows, first_row, mesh):
  axes = ("data", "fsdp")
  lowered = function.lower(state, rows, first_row, mesh=mesh, axes=axes)
  return lowered.compile().as_text()


@pytest.mark.parametrize("keep", [1, 3])
def test_states_merge_in_any_order_to_the_bit(keep):
  """Commutative, associative, idempotent; shards = whole."""
  for seed in range(8):
    rng = np.random.default_rng(seed)
    pool = _pool(250, seed)
    whole = _consume(pool, keep)
    parts = []
    for rows in np.array_split(np.arange(250), 5):
      masked = pool | {"candidate": pool["candidate"] & np.isin(_ALL, rows)}
      parts.append(_consume(masked, keep))
    for _ in range(3):
      left = [parts[i] for i in rng.permutation(5)]
      while len(left) > 1:  # Any tree of merges.
        i, j = rng.choice(len(left), 2, replace=False)
        both = cell_state.merge(left[i], left[j])
        left = [s for k, s in enumerate(left) if k not in (i, j)] + [both]
      _equal(left[0], whole)
    _equal(cell_state.merge(whole, parts[2]), whole)
    none = cell_state.empty(num_cells=_CELLS, keep=keep, words=2)
    _equal(cell_state.merge(none, whole), whole)


_ALL = np.arange(250)


def test_blocks_and_few_survivors_change_nothing(monkeypatch):
  """A shard longer than a block, whose last block begins early."""
  pool = _pool(1000, 5)
  want = _expected(pool, 3)
  arguments = (pool["cell"], pool["depth"], cell_stream.id_words(pool["ids"]))
  for share in (1 / 500, 1 / 8, 1.0):
    monkeypatch.setattr(cell_state, "_BLOCK_ROWS", 300)
    monkeypatch.setattr(cell_lists, "_FEW", share)
    jax.clear_caches()
    state = cell_state.empty(num_cells=_CELLS, keep=3, words=2)
    state = cell_state.update(state, *arguments, pool["candidate"], first_row=0)
    kept = cell_stream.ranking(state)
    _equal((kept.row, kept.round), want)


def test_ties_go_to_the_id_and_then_to_the_place():
  ids = np.array(["00000000ffffffff", "0000000100000000", "00000000fffffffe"])
  same = np.ones(3, np.float32)
  for words, best in ((cell_stream.id_words(ids), 2), ((), 0)):
    state = cell_stream.consume(
      [cell_stream.Shard(np.zeros(3, np.int32), same, words)],
      num_cells=1,
      keep=1,
      shard_rows=8,
      words=len(words),
    )
    assert cell_stream.ranking(state).row.tolist() == [best]


def test_words_of_ids_sort_as_the_ids():
  ids = _pool(200, 1)["ids"]
  upper, lower = cell_stream.id_words(ids)
  assert np.lexsort((lower, upper)).tolist() == np.argsort(ids).tolist()
  assert [len(word) for word in cell_stream.id_words(ids[:0])] == [0, 0]
  for bad in (
    "00000000ABCDEF00",
    "0123",
    "0123456789abcdef0",
    "example-number-1",
  ):
    with pytest.raises(ValueError, match="16 hex digits"):
      cell_stream.id_words(np.array([bad]))


@pytest.mark.parametrize(
  "field, value",
  [("depth", np.nan), ("depth", np.inf), ("cell", -1), ("cell", _CELLS)],
)
def test_what_no_cell_can_take_is_refused_aloud(field, value):
  pool = _pool(64, 2) | {"candidate": np.ones(64, bool)}
  pool[field][9] = value
  with pytest.raises(
    ValueError, match="depth of 1 candidates is not finite, or"
  ):
    cell_stream.ranking(_consume(pool, 1))
  pool["candidate"][9] = False
  assert cell_stream.ranking(_consume(pool, 1)).row.tolist() == (
    _expected(pool, 1)[0].tolist() if field == "depth" else _winners(pool)
  )


def _winners(pool):
  free = np.flatnonzero(pool["candidate"])
  return free[_expected({k: v[free] for k, v in pool.items()}, 1)[0]].tolist()


def test_what_a_state_cannot_tell_apart_is_refused():
  state = _consume(_pool(64, 4), 2)
  one = (np.zeros(1, np.int32), np.zeros(1, np.float32))
  with pytest.raises(ValueError, match="row 2147483647 is beyond the 21474836"):
    cell_state.update(
      state, *one, (one[0],) * 2, one[0] < 1, first_row=2**31 - 1
    )
  with pytest.raises(ValueError, match="at least 1 of a cell"):
    cell_state.empty(num_cells=1, keep=0)
  with pytest.raises(ValueError, match="breaks ties by 2 words"):
    cell_state.update(state, *one, (), one[0] < 1, first_row=0)
  two = _pool(64, 4) | {"candidate": np.ones(64, bool)}
  two["ids"][:] = two["ids"][0]
  with pytest.raises(ValueError, match="ids repeat"):
    cell_stream.ranking(_consume(two, 2))


_BOUNDED = """
import resource, jax, numpy as np
from ila_jax.selection import cell_state, cell_stream
ROWS, SHARD = 2_000_000, 1 << 17
def pool(rows):
  rng = np.random.default_rng(0)
  for first in range(0, rows, SHARD):
    n = min(SHARD, rows - first)
    words = tuple(rng.integers(-2**31, 2**31, (2, n)).astype(np.int32))
    cell = rng.integers(0, 5000, n).astype(np.int32)
    yield cell_stream.Shard(cell, rng.normal(size=n).astype(np.float32), words)
def peak(rows):
  state = cell_stream.consume(
    pool(rows), num_cells=5000, keep=2, shard_rows=SHARD)
  assert len(cell_stream.ranking(state).row) == 10_000
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
few = peak(4 * SHARD)
print(few, peak(ROWS))
"""


def test_memory_does_not_grow_with_the_pool():
  done = subprocess.run(
    [sys.executable, "-c", _BOUNDED],
    capture_output=True,
    text=True,
    cwd=pathlib.Path(__file__).parents[2],
  )
  assert not done.returncode, done.stderr
  few, many = map(int, done.stdout.split())
  # 1.5 million rows more, of 17 bytes: 25 MB, if they were held.
  assert many - few < 10_000, done.stdout
