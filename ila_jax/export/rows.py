"""Rows as files: JSON lines, Parquet and ArrayRecord, in their order."""

import json
import pathlib
import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ila_jax import errors
from ila_jax.export import example

LINES = "train.jsonl"
# Rows of one Parquet or ArrayRecord file, which are held at once.
ROWS_A_FILE = 20_000
# Readers that shuffle read a Parquet file by such groups.
_GROUP_ROWS = 1_000
_HALF_PAIR = re.compile("[\ud800-\udfff]")


def json_text(value: Any) -> str:
  r"""One JSON value as text that is UTF-8: half a surrogate pair is escaped.

  >>> json_text({"a": "ü\ud800"})
  '{"a": "ü\\ud800"}'
  """
  return escaped(json.dumps(value, ensure_ascii=False, allow_nan=False))


def escaped(text: str) -> str:
  """A JSON text in which halves of surrogate pairs are escaped."""
  return _HALF_PAIR.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_lines(path: pathlib.Path, rows: Iterable[Any]) -> None:
  """Writes one JSON value a line."""
  with path.open("w", encoding="utf-8", newline="\n") as file:
    file.writelines(json_text(row) + "\n" for row in rows)


def write_parquet(
  folder: pathlib.Path, rows: Iterable[dict[str, Any]], schema: pa.Schema
) -> None:
  """Writes `train-00000-of-0000N.parquet` and on, of the same columns."""
  written = []
  for part in example.chunks(rows, ROWS_A_FILE):
    written.append(folder / f"{len(written)}.parquet")
    _write_part(written[-1], part, schema)
  _number(written, ".parquet")


def write_both(
  folder: pathlib.Path, rows: Iterable[dict[str, Any]], schema: pa.Schema
) -> None:
  """Writes the same rows as Parquet and as ArrayRecord files.

  A record of an ArrayRecord file is the JSON of a row, in a group of its own:
  readers then take any record without those beside it.

  Raises:
    errors.InputError: array-record is not installed.
  """
  try:
    from array_record.python import array_record_module
  except ImportError as error:
    raise errors.InputError(
      "array-record, which writes ArrayRecord files, is not installed here; "
      "it has wheels for Linux: pip install array-record. Without it, take "
      "--to hf."
    ) from error
  parquet, array_record = [], []
  for part in example.chunks(rows, ROWS_A_FILE):
    parquet.append(folder / f"{len(parquet)}.parquet")
    _write_part(parquet[-1], part, schema)
    array_record.append(folder / f"{len(array_record)}.array_record")
    writer = array_record_module.ArrayRecordWriter(
      str(array_record[-1]), "group_size:1"
    )
    for row in part:
      writer.write(json_text(row).encode())
    writer.close()
  _number(parquet, ".parquet")
  _number(array_record, ".array_record")


def _write_part(
  path: pathlib.Path, rows: list[dict[str, Any]], schema: pa.Schema
) -> None:
  table = pa.Table.from_pylist(rows, schema=schema)
  pq.write_table(table, path, compression="zstd", row_group_size=_GROUP_ROWS)


def _number(paths: list[pathlib.Path], suffix: str) -> None:
  """Renames the files, now that it is known how many there are."""
  for place, path in enumerate(paths):
    name = f"train-{place:05d}-of-{len(paths):05d}{suffix}"
    path.rename(path.parent / name)
