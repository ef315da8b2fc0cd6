"""Columns of Parquet files as NumPy arrays, held once while they are read."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int, Shaped

# Rows that are read at once.
_PART_ROWS = 2**20


def read(file: pq.ParquetFile, name: str) -> np.ndarray:
  """Reads one column; parts go to their place as they are read.

  Returns:
    Numbers [n], NaN for null; texts as `str`.

  Raises:
    ValueError: a null where there is no NaN.
  """
  parts = file.iter_batches(_PART_ROWS, columns=[name])
  kind = file.schema_arrow.field(name).type
  if pa.types.is_string(kind):
    texts = [_array(part.column(0)) for part in parts]
    return np.concatenate([np.zeros(0, np.str_), *texts])
  whole, start = np.empty(file.metadata.num_rows, kind.to_pandas_dtype()), 0
  for part in parts:
    column = part.column(0)
    if column.null_count and not pa.types.is_floating(kind):
      raise ValueError(f"column {name!r} has a null, and {kind} has no NaN")
    whole[start : start + len(column)] = _array(column)
    start += len(column)
  return whole


def read_names(
  file: pq.ParquetFile, name: str
) -> tuple[Shaped[np.ndarray, " k"], Int[np.ndarray, " n"]]:
  """Reads a column of texts that many rows share.

  The file must have been opened with `read_dictionary=[name]`.

  Returns:
    The k different texts, sorted, `str` [k]; and the place of each row's text
    among them, int32 [n].
  """
  places: dict[str, int] = {}
  parts = [np.zeros(0, np.int32)]
  for part in file.iter_batches(_PART_ROWS, columns=[name]):
    own = part.column(0)
    texts = own.dictionary.to_pylist()
    place = [places.setdefault(text, len(places)) for text in texts]
    parts.append(np.array(place, np.int32)[own.indices.to_numpy()])
  names = np.array(list(places), np.str_)
  order = np.argsort(names)
  rank = np.empty(len(names), np.int32)
  rank[order] = np.arange(len(names))
  return names[order], rank[np.concatenate(parts)]


def to_numpy(table: pa.Table | pa.RecordBatch) -> dict[str, np.ndarray]:
  """Converts all columns of a table (texts to `str` arrays).

  >>> to_numpy(pa.table({"a": ["x"]}))
  {'a': array(['x'], dtype='<U1')}
  """
  return {name: _array(table.column(name)) for name in table.schema.names}


def _array(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
  if pa.types.is_string(column.type):
    return np.asarray(column.to_pylist(), dtype=np.str_)
  if isinstance(column, pa.Array):
    return column.to_numpy(zero_copy_only=False)
  return column.to_numpy()
