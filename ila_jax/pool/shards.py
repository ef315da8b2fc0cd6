"""The pool's text and tokens on disk: numbered shards of the used examples.

`pool/records-00000.parquet` and on: row, id, record (JSON text as read), turns
(who said what: all that is embedded and shown), tokens, is_response.
A shard is what a stage does between two chances to be killed.
"""

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath
from jaxtyping import Int

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.pool import examples as examples_lib
from ila_jax.pool import records
from ila_jax.pool.tokens import encode
from ila_jax.run import tables
from ila_jax.run.disk import artifact as artifact_lib
from ila_jax.run.disk import checksums, files

_TURN = pa.struct(
  {
    name: pa.bool_() if kind is bool else pa.string()
    for name, kind in records.Turn.__annotations__.items()
  }
)
SCHEMA = pa.schema(
  {
    "row": pa.int64(),
    "id": pa.uint64(),
    "record": pa.string(),
    "turns": pa.list_(_TURN),
    "tokens": pa.list_(pa.int32()),
    "is_response": pa.list_(pa.bool_()),
  }
)
# Rows of a Parquet row group.
_GROUP_ROWS = 512


def listed(
  workdir: epath.PathLike, artifact: artifact_lib.Artifact
) -> list[epath.Path]:
  """The shards of an artifact that a workdir holds, by their number.

  They are found by listing, for the folder's own name is the user's, and may
  hold what a glob takes for a pattern. A missing one stands in the ledger.

  >>> import tempfile
  >>> with tempfile.TemporaryDirectory() as workdir:
  ...   (epath.Path(workdir) / tables.RECORDS.folder).mkdir()
  ...   listed(workdir, tables.RECORDS)
  []
  """
  folder = epath.Path(workdir) / artifact.folder
  names = checksums.read(folder) or [path.name for path in folder.iterdir()]
  matches = (artifact.matches(f"{artifact.folder}/{name}") for name in names)
  matched = filter(None, matches)
  by_number = sorted((int(match["shard"]), match[0]) for match in matched)
  return [epath.Path(workdir) / name for _, name in by_number]


def done(targets: Sequence[epath.Path]) -> list[bool]:
  """Which files a stage has written whole, as the first host sees it."""
  looks = mesh.is_writer()
  return mesh.first_host_says(
    [looks and checksums.is_whole(t) for t in targets]
  )


def count(workdir: epath.PathLike) -> int:
  """The number of record shards of the pool.

  All have as many rows as the first, but for the last; together they have
  those of the index.

  Raises:
    checksums.Damaged: a shard is missing, or the rows are not those.
  """
  rows = files.count_rows(tables.INDEX.path(workdir))
  size = files.count_rows(tables.RECORDS.path(workdir, shard=0))
  total = -(-rows // size)
  last = tables.RECORDS.path(workdir, shard=total - 1)
  beyond = tables.RECORDS.path(workdir, shard=total)
  held = (total - 1) * size + files.count_rows(last)
  if held != rows or beyond.exists():
    raise checksums.Damaged(
      last.parent,
      f"its index has {rows:,} rows, and its shards up to {last.name} have "
      f"{held:,}",
    )
  return total


def table_of(
  first_row: int, kept: list[tuple[examples_lib.Example, encode.Encoded]]
) -> pa.Table:
  """The columns of a shard: of the examples from some row on."""
  return pa.table(
    {
      "row": np.arange(first_row, first_row + len(kept)),
      "id": np.array([example.id for example, _ in kept], np.uint64),
      "record": [example.record_json for example, _ in kept],
      "turns": [example.turns for example, _ in kept],
      "tokens": [encoded.ids for _, encoded in kept],
      "is_response": [encoded.is_response for _, encoded in kept],
    },
    schema=SCHEMA,
  )


def write_records(workdir: epath.PathLike, shard: int, table: pa.Table) -> None:
  """Writes one shard of `SCHEMA`."""
  target = tables.RECORDS.path(workdir, shard=shard)
  with files.create(target) as file:
    _write(table, file)


class Cutter:
  """Cuts the records of a pool into shards, as they come.

  All shards have as many rows as the first, but for the last.

  Attributes:
    rows: that came so far.
  """

  def __init__(self, workdir: epath.PathLike, *, shard_rows: int):
    """Begins with no record."""
    self._workdir, self._size = workdir, shard_rows
    self._parts: list[pa.Table] = []
    self._held = self._shards = self.rows = 0

  def add(self, table: pa.Table) -> None:
    """Takes the next records, of `SCHEMA`; numbers them, and writes shards."""
    while len(table):
      part = table.slice(0, self._size - self._held)
      table = table.slice(len(part))
      self._parts.append(part)
      self._held += len(part)
      if self._held == self._size:
        self.finish()

  def finish(self) -> None:
    """Writes what is left as the last shard."""
    if not self._held:
      return
    table = pa.concat_tables(self._parts).combine_chunks()
    row = pa.array(np.arange(self.rows, self.rows + self._held))
    table = table.set_column(0, SCHEMA.field("row"), row)
    write_records(self._workdir, self._shards, table)
    self.rows += self._held
    self._shards += 1
    self._parts, self._held = [], 0


def _write(table: pa.Table, file: Any) -> None:
  pq.write_table(table, file, compression="zstd", row_group_size=_GROUP_ROWS)


def stored_bytes(table: pa.Table) -> int:
  """Bytes of a shard of these rows of `SCHEMA`.

  >>> stored_bytes(SCHEMA.empty_table()) > 0
  True
  """
  buffer = io.BytesIO()
  _write(table, buffer)
  return len(buffer.getvalue())


def read_records(
  workdir: epath.PathLike, shard: int, columns: Sequence[str]
) -> pa.Table:
  """Reads some columns of one shard.

  Raises:
    checksums.Damaged: it is missing, or not what was written.
    errors.InputError: it has not all of them, as another version wrote it.
  """
  target = tables.RECORDS.path(workdir, shard=shard)
  with files.reading(target) as stream:
    file = pq.ParquetFile(stream)
    missing = set(columns) - set(file.schema_arrow.names)
    if missing:
      raise errors.InputError(
        f"{target} has no column {min(missing)!r}: another version of ila_jax "
        "wrote it. Read the pool again with --redo=pool, or use another "
        "--workdir."
      )
    return file.read(columns=list(columns))


def turns_of(table: pa.Table) -> list[Sequence[records.Turn]]:
  """The column `turns` of a table: the turns of each conversation."""
  return lists(table.column("turns"), _turns)


def _turns(held: pa.StructArray) -> list[records.Turn]:
  return list(map(records.Turn, *(f.to_pylist() for f in held.flatten())))


def lists(
  column: pa.ChunkedArray, read: Callable[[pa.Array], Sequence]
) -> list[Any]:
  """Parts of what `read` makes of all lists together, one for each list."""
  lists = column.combine_chunks()
  if isinstance(lists, pa.ChunkedArray):
    lists = pa.concat_arrays(lists.chunks)
  offsets = lists.offsets.to_pylist()
  values = read(lists.values)
  return [values[begin:end] for begin, end in itertools.pairwise(offsets)]


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
