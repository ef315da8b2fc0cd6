"""The pool's text and tokens on disk: numbered shards of the used examples.

`pool/records-00000.parquet` and on: row, id, record (JSON text as read),
prompt (text of everything before the last response), tokens, is_response.
A shard is what a stage does between two chances to be killed.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath
from jaxtyping import Int

from ila_jax import artifacts, checksums, trainset
from ila_jax import mesh as mesh_lib

SCHEMA = pa.schema(
  {
    "row": pa.int64(),
    "id": pa.string(),
    "record": pa.string(),
    "prompt": pa.string(),
    "response": pa.string(),
    "tokens": pa.list_(pa.int32()),
    "is_response": pa.list_(pa.bool_()),
  }
)
# Rows of a Parquet row group.
_GROUP_ROWS = 512


def path(
  workdir: epath.PathLike,
  stage: str,
  name: str,
  shard: int,
  suffix: str = "parquet",
) -> epath.Path:
  """The file of one shard: `WORKDIR/STAGE/NAME-00000.parquet`."""
  return epath.Path(workdir) / stage / f"{name}-{shard:05d}.{suffix}"


def done(targets: Sequence[epath.Path]) -> list[bool]:
  """Which files a stage has written whole, as the first host sees it."""
  looks = mesh_lib.is_writer()
  return mesh_lib.agree([looks and checksums.is_whole(t) for t in targets])


def count(workdir: epath.PathLike) -> int:
  """The number of record shards of the pool.

  All have as many rows as the first, but for the last; together they have
  those of the index.

  Raises:
    checksums.Damaged: a shard is missing, or the rows are not those.
  """
  rows = _rows(epath.Path(workdir) / "pool" / "index.parquet")
  size = _rows(path(workdir, "pool", "records", 0))
  total = -(-rows // size)
  last = path(workdir, "pool", "records", total - 1)
  found = (total - 1) * size + _rows(last)
  if found != rows or path(workdir, "pool", "records", total).exists():
    raise checksums.Damaged(
      last.parent,
      f"its index has {rows:,} rows, and its shards up to {last.name} have "
      f"{found:,}",
    )
  return total


def _rows(file: epath.Path) -> int:
  """The rows of a Parquet file, of which only the footer is read."""
  with artifacts.reading(file) as opened:
    return pq.read_metadata(opened).num_rows


def write_records(workdir: epath.PathLike, shard: int, table: pa.Table) -> None:
  """Writes one shard of `SCHEMA`."""
  target = path(workdir, "pool", "records", shard)
  with artifacts.create(target) as file:
    pq.write_table(table, file, compression="zstd", row_group_size=_GROUP_ROWS)


def read_records(
  workdir: epath.PathLike, shard: int, columns: Sequence[str]
) -> pa.Table:
  """Reads some columns of one shard.

  Raises:
    checksums.Damaged: it is missing, or not what was written.
  """
  with artifacts.reading(path(workdir, "pool", "records", shard)) as file:
    return pq.read_table(file, columns=list(columns))


def tokens_of(table: pa.Table) -> trainset.TokenSet:
  """The token columns of a table as lists of arrays, without copies."""
  return trainset.TokenSet(
    _lists(table.column("tokens")), _lists(table.column("is_response"))
  )


def _lists(column: pa.ChunkedArray) -> list[np.ndarray]:
  lists = column.combine_chunks()
  if isinstance(lists, pa.ChunkedArray):
    lists = pa.concat_arrays(lists.chunks)
  offsets = lists.offsets.to_numpy()
  values = lists.values.to_numpy(zero_copy_only=False)
  return [values[begin:end] for begin, end in itertools.pairwise(offsets)]


def lengths(workdir: epath.PathLike) -> Int[np.ndarray, " n"]:
  """Tokens of every example of the pool, prompt and response together."""
  index = artifacts.read_table(
    epath.Path(workdir) / "pool" / "index.parquet",
    ["n_prompt_tokens", "n_response_tokens"],
  )
  return (index["n_prompt_tokens"] + index["n_response_tokens"]).astype(
    np.int32
  )


def gather(
  workdir: epath.PathLike,
  rows: Int[np.ndarray, " k"],
  columns: Sequence[str],
) -> pa.Table:
  """Reads chosen rows of the pool, in the order asked for.

  Only the chosen rows are held, and one shard; shards without a chosen row are
  not opened.

  Args:
    workdir: folder of the run.
    rows: row numbers of the pool, in any order, each once.
    columns: of `SCHEMA`.
  """
  if not len(rows):
    return SCHEMA.empty_table().select(list(columns))
  # All shards have as many rows as the first, but for the last.
  size = read_records(workdir, 0, ["row"]).num_rows
  by_row = np.sort(rows)
  parts = []
  for shard in np.unique(by_row // size):
    chosen = by_row[by_row // size == shard] - shard * size
    table = read_records(workdir, int(shard), columns)
    parts.append(table.take(chosen))
  return pa.concat_tables(parts).take(np.searchsorted(by_row, rows))


def iterate(
  workdir: epath.PathLike, columns: Sequence[str]
) -> Iterator[pa.Table]:
  """Reads shard after shard."""
  for shard in range(count(workdir)):
    yield read_records(workdir, shard, columns)
