"""Rows come back as they went in, in any order, from few shards."""

import numpy as np
import pyarrow as pa
import pytest

from ila_jax import errors
from ila_jax.passes import token_set
from ila_jax.pool import records, shards
from ila_jax.run import tables
from ila_jax.run.disk import checksums, files

SIZES = (4, 4, 3)


def _turns(row):
  """One exchange or two, the first of which is not learnt."""
  ask = records.Turn("user", f"prompt {row}")
  answer = records.Turn(
    "assistant", f"response {row}", thought="so", calls="[]"
  )
  return (ask, answer._replace(is_learnt=False)) * (row % 2) + (ask, answer)


@pytest.fixture
def workdir(tmp_path):
  """Three shards of a pool of eleven, and its index."""
  index = tmp_path / "pool/index.parquet"
  files.write_table(index, {"row": np.arange(sum(SIZES))})
  row = 0
  for shard, size in enumerate(SIZES):
    rows = np.arange(row, row + size)
    row += size
    table = pa.table(
      {
        "row": rows,
        "id": pa.array([2**63 + int(r) for r in rows], pa.uint64()),
        "record": [f"record {r}" for r in rows],
        "turns": [_turns(r) for r in rows],
        "tokens": [list(range(r + 1)) for r in rows],
        "is_response": [[False] * r + [True] for r in rows],
      },
      schema=shards.SCHEMA,
    )
    shards.write_records(tmp_path, shard, table)
  return tmp_path


@pytest.mark.parametrize(
  "rows", [[], [0], [10], [3, 4], [9, 0, 5, 4], list(range(10, -1, -1))]
)
def test_gather_keeps_the_order_asked_for(workdir, rows):
  table = shards.gather(workdir, np.array(rows, int), ["id", "tokens"])
  assert table.column_names == ["id", "tokens"]
  assert table["id"].to_pylist() == [2**63 + r for r in rows]
  data = (
    token_set.tokens_of(
      shards.gather(workdir, np.array(rows, int), ["tokens", "is_response"])
    )
    if rows
    else ()
  )
  for r, ids in zip(rows, data.tokens if rows else (), strict=True):
    np.testing.assert_array_equal(ids, np.arange(r + 1))


@pytest.mark.parametrize("rows", [[], [9, 0, 5, 4], [7]])
def test_turns_come_back_whole(workdir, rows):
  table = shards.gather(workdir, np.array(rows, int), ["turns"])
  assert shards.turns_of(table) == [list(_turns(row)) for row in rows]
  whole = shards.read_records(workdir, 1, ["turns"])
  assert shards.turns_of(whole.slice(1, 2)) == [list(_turns(r)) for r in (5, 6)]


def test_a_shard_of_another_version_is_refused(tmp_path):
  target = tables.RECORDS.path(tmp_path, shard=0)
  files.write_table(target, {"row": np.arange(3), "prompt": ["a"] * 3})
  assert len(shards.read_records(tmp_path, 0, ["row"])) == 3
  with pytest.raises(errors.InputError, match=r"00000.* 'turns'.*--redo=pool"):
    shards.read_records(tmp_path, 0, ["row", "turns"])


def test_shards_without_a_chosen_row_are_not_opened(workdir):
  tables.RECORDS.path(workdir, shard=1).unlink()
  table = shards.gather(workdir, np.array([10, 0]), ["record"])
  assert table["record"].to_pylist() == ["record 10", "record 0"]


def test_iterate_reads_all(workdir):
  rows = [t["row"].to_pylist() for t in shards.iterate(workdir, ["row"])]
  assert rows == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
  assert shards.count(workdir) == 3


def test_a_pool_without_its_last_shard_is_half_a_pool(workdir):
  files.remove(tables.RECORDS.path(workdir, shard=2))
  with pytest.raises(checksums.Damaged, match=r"records-00002.*missing"):
    shards.count(workdir)


@pytest.mark.parametrize("rows", [10, 12, 15])
def test_rows_of_the_index_are_those_of_the_shards(workdir, rows):
  index = workdir / "pool/index.parquet"
  files.write_table(index, {"row": np.arange(rows)})
  with pytest.raises(
    checksums.Damaged, match=rf"index has {rows} rows|missing"
  ):
    shards.count(workdir)


def test_a_shard_beyond_the_index_is_named(workdir):
  table = shards.read_records(workdir, 0, shards.SCHEMA.names)
  shards.write_records(workdir, 3, table)
  with pytest.raises(checksums.Damaged, match="index has 11 rows"):
    shards.count(workdir)
