"""The pool's index: what goes in comes out, by shards and by columns."""

import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest

from ila_jax import errors, pipeline
from ila_jax.dry_run import dry_run
from ila_jax.pool import examples, index
from ila_jax.pool.tokens import encode
from ila_jax.run import tables
from ila_jax.run.disk import files
from tests.support import tiny

_N, _SHARD = 23, 10


def _example(i):
  """An example and its tokens, as far as the index reads them."""
  rng = np.random.default_rng(i)
  length = int(rng.integers(2, 9))
  example = examples.Example(
    id=int(rng.integers(2**63, 2**64, dtype=np.uint64)),
    prompt_id=i // 2,
    source=f"file{i % 3}",
    turns=(),
    n_labels=1 + i % 4,
    has_labels=True,
    domain=("", "code", "ä")[i % 3],
    record_json="{}",
    file="file",
    line=i + 1,
  )
  place = np.arange(length, dtype=np.int32)
  encoded = encode.Encoded(place, place > 0, cut=(0, int(i == 5)))
  return example, encoded


@pytest.fixture
def written(tmp_path):
  kept = [_example(i) for i in range(_N)]
  columns = index.Columns()
  for start in range(0, _N, _SHARD):
    assert len(columns) == start
    columns.add(kept[start : start + _SHARD])
  is_dev = np.arange(_N) % 7 == 0
  columns.write(tmp_path, is_dev, shard_rows=_SHARD)
  return tmp_path, kept, is_dev, columns


def test_the_file_holds_every_example_in_a_group_for_each_shard(written):
  workdir, kept, is_dev, _ = written
  path = tables.INDEX.path(workdir)
  table = pq.read_table(path)
  assert {f.name: str(f.type) for f in table.schema} == tables.INDEX.columns
  groups = pq.ParquetFile(path)
  sizes = [
    groups.metadata.row_group(i).num_rows for i in range(groups.num_row_groups)
  ]
  assert sizes == [10, 10, 3]
  for row, (line, (example, encoded)) in enumerate(
    zip(table.to_pylist(), kept, strict=True)
  ):
    assert line == {
      "row": row,
      "id": example.id,
      "prompt_id": example.prompt_id,
      "source": example.source,
      "n_prompt_tokens": 1,
      "n_response_tokens": len(encoded.ids) - 1,
      "n_labels": example.n_labels,
      "domain": example.domain,
      "truncated": encoded.truncated,
      "split": "dev" if is_dev[row] else "pool",
    }


def test_columns_are_read_as_they_were(written):
  workdir, kept, is_dev, columns = written
  np.testing.assert_array_equal(index.is_dev(workdir), is_dev)
  ids = index.column(workdir, "id")
  assert ids.dtype == np.uint64
  assert ids.tolist() == [example.id for example, _ in kept]
  lengths = index.lengths(workdir)
  assert lengths.tolist() == [len(encoded.ids) for _, encoded in kept]
  names, place = files.read_names(tables.INDEX.path(workdir), "domain")
  assert names.tolist() == ["", "code", "ä"] == sorted(names)
  assert names[place].tolist() == [example.domain for example, _ in kept]
  mine = np.array(columns.names("source"))[columns["source"]]
  assert mine.tolist() == [example.source for example, _ in kept]


def test_the_fingerprint_is_that_of_the_ids_in_their_order(
  written, monkeypatch
):
  workdir, kept, _, _ = written
  monkeypatch.setattr(index, "_PART_ROWS", 4)
  ids = np.array([example.id for example, _ in kept], "<u8")
  assert index.fingerprint(workdir) == hashlib.sha256(ids.tobytes()).hexdigest()


def test_an_example_takes_forty_bytes():
  columns = index.Columns()
  columns.add([_example(i) for i in range(1000)])
  held = sum(columns[name].nbytes for name in columns._parts)
  assert held / 1000 < 40


def test_a_column_is_put_together_once(written):
  """Each shard that is written takes a part of it."""
  _, _, _, columns = written
  for name in columns._parts:
    assert columns[name] is columns[name]


@pytest.mark.parametrize("stage", ["landscape", "select", "report"])
def test_a_pool_of_an_older_version_is_refused(tmp_path, stage):
  path = tables.INDEX.path(tmp_path)
  index.check_version(tmp_path)  # There is none.
  files.write_table(path, {"row": [0], "id": ["00000000000000ff"]})
  before = sorted(tmp_path.rglob("*"))
  remedy = "ids were text. Use another --workdir, or add --redo=pool"
  config = tiny.config("pool.jsonl")
  with pytest.raises(errors.InputError, match=remedy):
    pipeline.run(config, tmp_path, stages=[stage], redo=stage)
  with pytest.raises(errors.InputError, match=remedy):
    dry_run.run(config, tmp_path, stages=[stage])
  assert sorted(tmp_path.rglob("*")) == before
