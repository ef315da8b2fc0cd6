"""Rows of tables as records: Parquet, Arrow, and data sets of libraries.

Tables hold values that JSON has no form for. A cell that can not be converted
is left out of its row's record and named with it, so that it costs nothing
where nobody reads that column, and one record where somebody does.
"""

import datetime
import decimal
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import ipc, parquet

from ila_jax import errors
from ila_jax.pool.sources import json_text

BATCH_ROWS = 1024
# How a stream of Arrow messages ends.
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
# Cells that have no JSON form, by file, column and reason.
Lost = dict[tuple[str, str, str], int]
_SHORT_FLOATS = (pa.types.is_float16, pa.types.is_float32)


class Row(NamedTuple):
  """A row of a table.

  Attributes:
    record: what JSON can hold of it; None where the row itself is damaged.
    text: the record's JSON text, in one line.
    problem: reason and detail where there is no record.
    lost: (column, why) of cells that are not in the record.
  """

  record: dict[str, Any] | None
  text: str = ""
  problem: tuple[str, str] | None = None
  lost: tuple[tuple[str, str], ...] = ()


def to_row(cells: Mapping[str, Any] | Sequence[tuple[str, Any]]) -> Row:
  """A row's cells as a record.

  Bytes are read as UTF-8; dates and times become ISO 8601 text, durations
  seconds, decimals text; NaN, which stands for a missing value in tables,
  becomes null. Infinity, and bytes that are no text, have no JSON form.

  Args:
    cells: values by column; pairs, where two columns may have one name.

  >>> to_row({"prompt": b"hi", "score": float("nan"), "image": b"\\xff"})[::3]
  ({'prompt': 'hi', 'score': None}, (('image', 'bytes that are no UTF-8'),))
  """
  record: dict[str, Any] = {}
  lost: dict[str, str] = {}
  pairs = cells.items() if isinstance(cells, Mapping) else cells
  for name, value in pairs:
    if name in record or name in lost:
      record.pop(name, None)
      lost[name] = "two columns have this name"
      continue
    try:
      record[str(name)] = _plain(value)
    except UnicodeDecodeError:
      lost[name] = "bytes that are no UTF-8"
    except (ValueError, RecursionError) as error:
      lost[name] = str(error) or type(error).__name__
  text = json.dumps(record, ensure_ascii=False)
  if len(text) > json_text.MAX_RECORD_BYTES:
    return Row(None, "", json_text.TOO_LARGE)
  return Row(record, text, None, tuple(lost.items()))


def read_parquet(
  stream: io.BufferedIOBase, begin: int = 0, end: int | None = None
) -> Iterator[tuple[int, Row]]:
  """The rows of a Parquet file with their numbers from 1, in their order.

  Args:
    stream: the file.
    begin: the first group of rows to read.
    end: the group that is not read any more; None: all are read.
  """
  file = parquet.ParquetFile(stream)
  groups = range(file.num_row_groups)[begin:end]
  number = 1 + sum(file.metadata.row_group(i).num_rows for i in range(begin))
  for batch in file.iter_batches(BATCH_ROWS, row_groups=list(groups)):
    yield from enumerate(_rows(batch), start=number)
    number += batch.num_rows


def read_arrow(stream: io.BufferedIOBase, *, name: str) -> Iterator[Row]:
  """The rows of an Arrow file, or of a stream of Arrow messages.

  Raises:
    InputError: the stream was cut off.
  """
  start = stream.read(6)
  if start == b"ARROW1":
    reader = ipc.open_file(stream)
    batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
  else:
    stream.seek(-min(len(_END_OF_STREAM), stream.seek(0, 2)), 2)
    if stream.read() != _END_OF_STREAM:
      raise errors.InputError(
        f"{name} does not end as an Arrow file does: it is damaged or cut "
        "off. Allowed: a whole file. Copy it again."
      )
    stream.seek(0)
    batches = ipc.open_stream(stream)
  for batch in batches:
    for first in range(0, batch.num_rows, BATCH_ROWS):
      yield from _rows(batch.slice(first, BATCH_ROWS))


def _rows(batch: pa.RecordBatch) -> Iterator[Row]:
  names = batch.schema.names
  columns = [_cells(column) for column in batch.columns]
  for cells in zip(*columns, strict=True):
    yield to_row(list(zip(names, cells, strict=True)))


def told_lost(lost: Lost) -> list[str]:
  """What is said of cells that have no JSON form.

  Args:
    lost: how many, by file, column and reason.

  >>> told_lost({("a.parquet", "image", "bytes that are no UTF-8"): 2})
  ["a.parquet: 2 cells of column 'image' left out: bytes that are no UTF-8"]
  """
  return [
    f"{file}: {count:,} {'cell' if count == 1 else 'cells'} of column "
    f"{column!r} left out: {why}"
    for (file, column, why), count in lost.items()
  ]


class _Unreadable(NamedTuple):
  """Stands for a cell that Arrow cannot give to Python."""

  why: str


def _cells(column: pa.Array) -> list[Any]:
  """A column's values; where one fails, all are asked one by one."""
  if pa.types.is_time(column.type):  # Python drops the nanoseconds.
    column = column.cast(pa.string())
  try:
    return _shortest(column).to_pylist()
  except UnicodeDecodeError:
    bare = _as_bytes(column.type)
    if not pa.types.is_nested(column.type) or bare is None:
      return [_cell(scalar) for scalar in column]
    return _as_text(column.cast(bare).to_pylist())
  except (ValueError, OverflowError, pa.ArrowException):
    return [_cell(scalar) for scalar in column]


def _shortest(column: pa.Array) -> pa.Array:
  """A column whose short floats are the doubles that their texts write.

  The float32 that is written 0.1 is 0.10000000149011612 as a double.
  """
  if pa.types.is_dictionary(column.type):
    column = column.dictionary_decode()
  if pa.types.is_float16(column.type):
    halves = column.to_pylist()
    texts = [None if x is None else str(np.float16(x)) for x in halves]
    return pa.array(texts, pa.string()).cast(pa.float64())
  texts = _with_floats(column.type, pa.string())
  if texts == column.type:
    return column
  try:
    return column.cast(texts).cast(_with_floats(column.type, pa.float64()))
  except pa.ArrowException:  # Of kinds that Arrow does not cast.
    return column


def _with_floats(kind: pa.DataType, float_kind: pa.DataType) -> pa.DataType:
  """The type with another in place of its short floats."""
  if any(is_kind(kind) for is_kind in _SHORT_FLOATS):
    return float_kind
  if pa.types.is_list(kind):
    return pa.list_(_with_floats(kind.value_type, float_kind))
  if pa.types.is_large_list(kind):
    return pa.large_list(_with_floats(kind.value_type, float_kind))
  if pa.types.is_fixed_size_list(kind):
    inside = _with_floats(kind.value_type, float_kind)
    return pa.list_(inside, kind.list_size)
  if pa.types.is_struct(kind):
    return pa.struct([(f.name, _with_floats(f.type, float_kind)) for f in kind])
  return kind


def _as_bytes(kind: pa.DataType) -> pa.DataType | None:
  """The type with bytes in place of texts; None where it has bytes already."""
  if pa.types.is_list(kind) or pa.types.is_large_list(kind):
    inside = _as_bytes(kind.value_type)
    return inside and pa.list_(inside)
  if pa.types.is_struct(kind):
    parts = [(field.name, _as_bytes(field.type)) for field in kind]
    return None if None in dict(parts).values() else pa.struct(parts)
  if pa.types.is_string(kind) or pa.types.is_large_string(kind):
    return pa.large_binary()
  return None if pa.types.is_binary(kind) else kind


def _as_text(value: Any) -> Any:
  """Decodes bytes; each byte that is no UTF-8 becomes a lone surrogate."""
  if isinstance(value, bytes):
    return value.decode(errors="surrogateescape")
  if isinstance(value, dict):
    return {key: _as_text(item) for key, item in value.items()}
  return (
    [_as_text(item) for item in value] if isinstance(value, list) else value
  )


def _cell(scalar: pa.Scalar) -> Any:
  try:
    return scalar.as_py()
  except UnicodeDecodeError:
    return _Unreadable("bytes that are no UTF-8")
  except (ValueError, OverflowError, pa.ArrowException) as error:
    if not pa.types.is_temporal(scalar.type):
      return _Unreadable(str(error).partition("\n")[0])
  try:  # Years and nanoseconds that Python's own types do not hold.
    return scalar.cast(pa.string()).as_py().replace(" ", "T")
  except pa.ArrowException:
    return _Unreadable("a time that has no text")


def _plain(value: Any) -> Any:
  """The JSON value of what tables hold; NaN there means null."""
  if value is None or isinstance(value, str | bool | int):
    return value
  if isinstance(value, bytes):
    return value.decode()
  if isinstance(value, _Unreadable):
    raise ValueError(value.why)
  if isinstance(value, np.ndarray | np.generic):
    if value.dtype in (np.float16, np.float32):
      value = np.asarray(value).astype(str).astype(np.float64)
    return _plain(value.tolist())
  if isinstance(value, float):
    if math.isinf(value):
      raise ValueError("an infinite number")
    return None if math.isnan(value) else value
  if isinstance(value, Mapping):
    return {str(key): _plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  if isinstance(value, datetime.date | datetime.time):
    return value.isoformat()
  if isinstance(value, datetime.timedelta):
    return value.total_seconds()
  if isinstance(value, decimal.Decimal):
    return str(value)
  raise ValueError(f"a value of type {type(value).__name__}")
