"""Files that are whole or absent: JSON, JSON lines, Parquet, arrays.

Every file has its name only when it is whole, and is written by the first host
only; all hosts read. What was written stands in the folder's `checksums.json`,
and is compared with it when it is read.
"""

import contextlib
import io
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath
from jaxtyping import Int, Shaped

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.run.disk import buckets, checksums, folders, local_copies
from ila_jax.run.disk import columns as columns_lib


@contextlib.contextmanager
def atomic(path: epath.PathLike) -> Iterator[IO[bytes]]:
  """Yields a file to write bytes to, which is `path` when the block is done.

  On a disk it has a temporary name until then, and is renamed. If the block
  raises, `path` is as it was. Files that checksums are kept of are written by
  `create`.
  """
  path = epath.Path(path)
  if buckets.is_remote(path):
    with buckets.upload(path) as file:
      yield file
    return
  buckets.make(path.parent)
  temporary = folders.temporary(path)
  try:
    with temporary.open("wb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    temporary.replace(path)
    _sync(path.parent)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise


def _sync(folder: epath.Path) -> None:
  """Waits until the names in a local folder are on the disk."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


@contextlib.contextmanager
def create(path: epath.PathLike) -> Iterator[checksums.Writer]:
  """Yields a file to write bytes to, which is `path` when the block is done.

  Its size and checksum are noted in the folder's ledger. If the block raises,
  all is as it was. On the first host only.
  """
  path = epath.Path(path)
  with atomic(path) as file:
    writer = checksums.Writer(file)
    yield writer
    ledger = checksums.read(path.parent) or {}
    # A kill before the file has its name leaves the one that was there.
    known = [
      entry for entry in ledger.get(path.name, []) if entry != writer.entry
    ]
    ledger[path.name] = [writer.entry, *known[:1]]
    write_ledger(path.parent, ledger)


def remove(path: epath.PathLike) -> None:
  """Removes a file, if it is there, and its entry in the folder's ledger."""
  path = epath.Path(path)
  ledger = checksums.read(path.parent)
  if ledger is not None and ledger.pop(path.name, None) is not None:
    write_ledger(path.parent, ledger)
  path.unlink(missing_ok=True)


def write_ledger(folder: epath.PathLike, ledger: checksums.Ledger) -> None:
  """Writes the ledger of a folder, whole."""
  with atomic(epath.Path(folder) / checksums.FILE) as file:
    file.write(checksums.text(ledger))


def write_bytes(path: epath.PathLike, content: bytes) -> None:
  """Writes a whole file atomically, on the first host only."""
  write_chunks(path, [content])


def read_bytes(path: epath.PathLike) -> bytes:
  """Reads a whole file.

  Raises:
    checksums.Damaged: it is missing, or not what was written.
  """
  with reading(path) as file:
    return file.read()


def reading(path: epath.PathLike) -> io.IOBase:
  """Opens a file for reading, once it is known to be what was written.

  Raises:
    checksums.Damaged: it is missing, or it is not.
  """
  checksums.check(path)
  return epath.Path(path).open("rb")


def write_chunks(path: epath.PathLike, chunks: Iterable[bytes]) -> None:
  """Writes a file piece by piece, atomically, on the first host only.

  Every host goes through the pieces: to make one may take them all.
  """
  if not mesh.is_writer():
    for _ in chunks:
      pass
    return
  with create(path) as file:
    for chunk in chunks:
      file.write(chunk)


def write_json(path: epath.PathLike, value: Any) -> None:
  """Writes one JSON value, indented, atomically."""
  text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
  write_bytes(path, (text + "\n").encode())


def read_json(path: epath.PathLike) -> Any:
  """Reads one JSON value.

  Raises:
    errors.InputError: the file is damaged, or not JSON.
  """
  try:
    return json.loads(read_bytes(path))
  except ValueError as error:
    raise errors.InputError(
      f"{path} is damaged: it is not JSON ({error}). Remove it, or use "
      "another --workdir."
    ) from error


def write_lines(path: epath.PathLike, lines: Iterable[str]) -> None:
  """Writes lines of text, each with its own end, as they come, atomically."""
  if mesh.is_writer():
    write_chunks(path, (line.encode() for line in lines))


def json_line(value: Any) -> str:
  """One JSON value as a line of a JSON-lines file.

  >>> json_line({"a": "ü"})
  '{"a": "ü"}\\n'
  """
  text = json.dumps(value, ensure_ascii=False, allow_nan=False)
  if any("\ud800" <= character <= "\udfff" for character in text):
    # Half a surrogate pair has no UTF-8; escaped it is JSON all the same.
    text = json.dumps(value, allow_nan=False)
  return text + "\n"


def write_jsonl(path: epath.PathLike, records: Iterable[Any]) -> None:
  """Writes one JSON value a line, atomically."""
  write_lines(path, map(json_line, records))


def append_jsonl(path: epath.PathLike, record: Any) -> None:
  """Adds one line, by writing the file anew: for files of few lines."""
  if mesh.is_writer():
    write_jsonl(path, [*read_jsonl(path), record])


def read_jsonl(path: epath.PathLike) -> list[Any]:
  """Reads one JSON value a line; nothing where there is no file."""
  path = epath.Path(path)
  if not path.exists():
    return []
  with reading(path) as file:
    return [json.loads(line) for line in file]


def write_table(
  path: epath.PathLike, columns: dict[str, Any] | pa.Table
) -> None:
  """Writes columns of equal length as one Parquet file, atomically."""
  table = columns if isinstance(columns, pa.Table) else pa.table(columns)
  write_parts(path, [table])


def write_parts(path: epath.PathLike, parts: Iterable[pa.Table]) -> None:
  """Writes tables of equal columns, at least one, as one Parquet file.

  The file is whole or absent. Each part is a group of rows or several; one is
  held at a time. On the first host only, and only there are they made.
  """
  if not mesh.is_writer():
    return
  with create(path) as file:
    parts = iter(parts)
    first = next(parts)
    with pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
      for part in itertools.chain([first], parts):
        writer.write_table(part)


def read_table(
  path: epath.PathLike, columns: list[str] | None = None
) -> dict[str, np.ndarray]:
  """Reads a Parquet file as NumPy columns (strings as `str` arrays).

  Numbers are held once: parts of the file go to their place as they are read.

  Raises:
    errors.InputError: the file is damaged.
  """
  with reading(path) as stream:
    try:
      file = pq.ParquetFile(stream)
      there = file.schema_arrow.names
      names = columns or there
      if missing := set(names) - set(there):
        raise errors.InputError(
          f"{path} has no column {min(missing)!r}: another version of ila_jax "
          "wrote it. Make its stage anew with --redo, or use another --workdir."
        )
      return {name: columns_lib.read(file, name) for name in names}
    except pa.ArrowException as error:
      raise errors.InputError(
        f"{path} is damaged ({str(error).splitlines()[0]}). Make its stage "
        "anew with --redo, or use another --workdir."
      ) from error


def read_names(
  path: epath.PathLike, column: str
) -> tuple[Shaped[np.ndarray, " k"], Int[np.ndarray, " n"]]:
  """Reads a column of text that many rows share.

  Returns:
    The k different texts, sorted, `str` [k]; and the place of each row's text
    among them, int32 [n].
  """
  with reading(path) as stream:
    file = pq.ParquetFile(stream, read_dictionary=[column])
    return columns_lib.read_names(file, column)


def read_head(path: epath.PathLike, rows: int) -> dict[str, np.ndarray]:
  """Reads the first rows of a Parquet file, at least one, as `read_table`."""
  head, left = [], rows
  for part in read_parts(path, rows=rows):
    head.append(part.slice(0, left))
    left -= len(head[-1])
    if not left:
      break
  return columns_lib.to_numpy(pa.Table.from_batches(head))


def read_parts(
  path: epath.PathLike, columns: list[str] | None = None, *, rows: int
) -> Iterator[pa.RecordBatch]:
  """Reads a Parquet file in its order, at most some rows at a time.

  Raises:
    checksums.Damaged: the file is missing, or not what was written.
  """
  with reading(path) as file:
    yield from pq.ParquetFile(file).iter_batches(rows, columns=columns)


def count_rows(path: epath.PathLike) -> int:
  """Rows of a Parquet file, of which only the footer is read.

  Raises:
    checksums.Damaged: the file is missing, or not what was written.
  """
  with reading(path) as file:
    return pq.read_metadata(file).num_rows


def write_array(path: epath.PathLike, array: np.ndarray) -> None:
  """Writes one array as .npy, atomically."""
  buffer = io.BytesIO()
  np.save(buffer, array, allow_pickle=False)
  write_bytes(path, buffer.getvalue())


def read_array(path: epath.PathLike) -> np.ndarray:
  """Reads one .npy array; pickled objects are refused.

  Raises:
    checksums.Damaged: the file is missing, or not what was written.
  """
  with reading(path) as file:
    return np.load(file, allow_pickle=False)


@contextlib.contextmanager
def local(folder: epath.PathLike) -> Iterator[str]:
  """Yields a local folder or file: this one, or a copy of one on gs://."""
  if not buckets.is_remote(folder):
    yield os.fspath(folder)
    return
  with tempfile.TemporaryDirectory() as target:
    yield os.fspath(local_copies.copy(folder, target))
