"""Sources: files, folders and data sets as streams of raw records.

Whatever the format, a source yields one `RawRecord` after the other: parsed,
with its JSON text, or with the reason why it cannot be read. What is wrong
with one record is that record's reason; what makes the rest of a file
unreadable is an `InputError`.
"""

import glob
import io
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa
from etils import epath
from pyarrow import parquet

from ila_jax import docstrings, errors, jsontext, provenance, records

_SUFFIX = re.compile(
  r"\.(?P<format>json|jsonl|ndjson)(\.(?P<packed>gz|zst))?$"
  r"|\.(?P<columnar>parquet|array_record)(-\d+-of-\d+)?$"
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_PACKED = {"gz": "gzip", "zst": "zstd"}
_ALLOWED = (
  ".jsonl, .ndjson, .json (each also with .gz or .zst), .parquet, .array_record"
)
_BATCH_ROWS = 1024


def known_fields(spec: str) -> dict[str, str]:
  """Labels and domain of sources that are built in.

  >>> known_fields("docstrings:numpy")
  {'labels': 'labels', 'domain': 'domain'}
  """
  if spec.startswith("docstrings:"):
    return {"labels": "labels", "domain": "domain"}
  return {}


def open_source(
  spec: str, *, data_dir: str | None = None
) -> Iterator[records.RawRecord]:
  """Streams the records of one source, in an order that never changes.

  Args:
    spec: a file, a glob or a folder (searched recursively, in sorted order);
      `tfds:NAME/SPLIT` of a data set prepared with file_format=array_record,
      read without TensorFlow; `hf:NAME/SPLIT` or `hf:NAME/CONFIG/SPLIT`, where
      `datasets` is installed; or `docstrings:PACKAGE,PACKAGE`.
    data_dir: where TFDS keeps its data; None: its default, TFDS_DATA_DIR.

  Raises:
    InputError: nothing there to read, or a file that is damaged as a whole.

  >>> next(open_source("docstrings:json")).source
  'json'
  """
  kind, colon, name = spec.partition(":")
  if colon and kind == "docstrings":
    yield from docstrings.read([n.strip() for n in name.split(",")])
  elif colon and kind == "tfds":
    yield from _tfds_records(name, data_dir)
  elif colon and kind == "hf":
    yield from _hf_records(name)
  else:
    try:
      paths = _files(spec)
    except (OSError, ValueError) as error:
      raise _missing(spec, f"cannot be opened ({error})") from error
    for path in paths:
      yield from _file_records(path)


def signature(spec: str) -> dict[str, Any] | None:
  """Tells whether a source is what it was; None where only its name can.

  Files, folders and globs: each file's size and a hash of both its ends.
  Docstrings: the versions of the packages, and Python's for its own modules.

  Raises:
    InputError: nothing there to read.

  >>> list(signature("docstrings:json"))
  ['json']
  """
  kind, colon, name = spec.partition(":")
  if colon and kind == "docstrings":
    return docstrings.versions([n.strip() for n in name.split(",")])
  if colon and kind in ("tfds", "hf"):
    return None
  signed: dict[str, Any] = {}
  for path in _files(spec):
    signed |= provenance.signature(path) or {}
  return signed


def source_name(path: str) -> str:
  """A file's name without folder, suffixes and shard number.

  >>> source_name("data/train-00000-of-00002.jsonl.gz")
  'train'
  """
  return _SHARD.sub("", _SUFFIX.sub("", os.path.basename(path)))


def _missing(spec: str, what: str) -> errors.InputError:
  return errors.InputError(
    f"config.pool.source is {spec!r}: {what}. Allowed: a file ({_ALLOWED}), a "
    "glob or a folder of such files, tfds:NAME/SPLIT, hf:NAME/SPLIT or "
    "docstrings:PACKAGE,... Correct the path."
  )


def _inside(folder: epath.Path) -> Iterator[str]:
  """Files of known formats in a folder and below, hidden ones left out."""
  for path in sorted(folder.iterdir(), key=lambda path: path.name):
    if path.name.startswith("."):
      continue
    if path.is_dir():
      yield from _inside(path)
    elif _SUFFIX.search(path.name):
      yield os.fspath(path)


def _files(spec: str) -> list[str]:
  path = epath.Path(spec)
  if path.is_dir():
    found = list(_inside(path))
    if not found:
      raise _missing(spec, "no file of a known format in this folder")
    return found
  if path.exists():
    if not _SUFFIX.search(path.name):
      raise _missing(spec, "the file's suffix tells no known format")
    return [os.fspath(path)]
  if not glob.has_magic(spec):
    raise _missing(spec, "no such file or folder")
  found = sorted(p for p in glob.glob(spec, recursive=True))
  found = [p for p in found if _SUFFIX.search(p) and not os.path.isdir(p)]
  if not found:
    raise _missing(spec, "no file of a known format matches")
  return found


def _file_records(path: str) -> Iterator[records.RawRecord]:
  match = _SUFFIX.search(path)
  reached = 0
  try:
    if match["columnar"]:
      read = _parquet if match["columnar"] == "parquet" else _array_record
      found = read(path)
    else:
      found = _json_records(path, match["format"], match["packed"])
    source = source_name(path)
    for reached, record, text, problem in found:
      reason, detail = problem or ("", "")
      yield records.RawRecord(
        path, reached, source, record, text, reason, detail
      )
  except (OSError, ValueError, RuntimeError) as error:
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise errors.InputError(
      f"{path}: cannot be read after line {reached} ({cause}). Allowed: a "
      "whole file; this one is damaged, cut off or not readable. Copy or "
      "download it again."
    ) from error


_Found = Iterator[
  tuple[int, dict[str, Any] | None, str, tuple[str, str] | None]
]


def _unpacked(path: str, packed: str | None) -> BinaryIO:
  """Bytes of a file; Arrow's decompression notices when a file is cut."""
  stream = epath.Path(path).open("rb")
  if packed:
    stream = pa.CompressedInputStream(stream, _PACKED[packed])
  return io.BufferedReader(stream, buffer_size=1 << 20)


def _json_records(path: str, suffix: str, packed: str | None) -> _Found:
  with _unpacked(path, packed) as stream:
    head = stream.peek(1 << 10)[: 1 << 10].removeprefix(b"\xef\xbb\xbf")
    is_array = head.lstrip().startswith(b"[")
    if is_array and suffix != "json":
      raise errors.InputError(
        f"{path} line 1: a JSON array, where one object per line was expected. "
        "Allowed: an array in a file named .json, or lines. Rename the file "
        "to .json, or write one object per line."
      )
    yield from _elements(path, stream) if is_array else _lines(stream)


def _lines(stream: BinaryIO) -> _Found:
  parser = jsontext.Parser()
  for number, raw in enumerate(stream, start=1):
    if number == 1:
      raw = raw.removeprefix(b"\xef\xbb\xbf")
    if raw.strip():
      yield number, *jsontext.parse_line(parser, raw)


def _elements(path: str, stream: BinaryIO) -> _Found:
  parser = jsontext.Parser()
  # Bytes that are no UTF-8 become lone surrogates: one element's problem.
  with io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape") as text:
    elements = jsontext.ArrayReader(text, parser, name=path)
    for number, (value, raw) in enumerate(elements, start=1):
      yield number, *jsontext.check_object(parser, value, raw)


def _parquet(path: str) -> _Found:
  with epath.Path(path).open("rb") as stream:
    batches = parquet.ParquetFile(stream).iter_batches(_BATCH_ROWS)
    rows = (row for batch in batches for row in batch.to_pylist())
    for number, row in enumerate(rows, start=1):
      yield number, *jsontext.from_columns(row)


def _array_record(path: str) -> _Found:
  from array_record.python import array_record_module

  parser = jsontext.Parser()
  reader = array_record_module.ArrayRecordReader(path)
  try:
    total = reader.num_records()
    for start in range(0, total, _BATCH_ROWS):
      rows = reader.read(start, min(start + _BATCH_ROWS, total))
      for number, raw in enumerate(rows, start=start + 1):
        yield number, *jsontext.parse_line(parser, raw)
  finally:
    reader.close()


def _numbered(
  rows: Iterator[Mapping[str, Any]], file: str, source: str
) -> Iterator[records.RawRecord]:
  for number, row in enumerate(rows, start=1):
    record, text, problem = jsontext.from_columns(row)
    reason, detail = problem or ("", "")
    yield records.RawRecord(file, number, source, record, text, reason, detail)


def _tfds_records(
  name: str, data_dir: str | None
) -> Iterator[records.RawRecord]:
  import tensorflow_datasets as tfds

  dataset, _, split = name.rpartition("/")
  if not (dataset and split):
    raise _missing(f"tfds:{name}", "a data set and a split are needed")
  try:
    rows = tfds.data_source(
      dataset, split=split, data_dir=data_dir, download=False
    )
  except (ValueError, RuntimeError, OSError, AssertionError) as error:
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise errors.InputError(
      f"config.pool.source is 'tfds:{name}': {cause} Allowed: tfds:NAME/SPLIT "
      "of a data set that was prepared with file_format='array_record' under "
      "TFDS_DATA_DIR. Prepare it so, or correct the name."
    ) from error
  yield from _numbered(iter(rows), f"tfds:{name}", dataset.split("/")[0])


def _hf_records(name: str) -> Iterator[records.RawRecord]:
  try:
    import datasets
  except ImportError as error:
    raise errors.InputError(
      f"config.pool.source is 'hf:{name}', but the package `datasets` is not "
      "installed. Allowed: any source where it is. Run `pip install "
      "datasets`, or save the data as .parquet or .jsonl and name the file."
    ) from error
  *parts, split = name.split("/")
  if not (all(parts) and parts and split):
    raise _missing(f"hf:{name}", "a data set and a split are needed")
  # Names have one or two parts (openai/gsm8k); a third is the configuration.
  dataset, config = "/".join(parts[:2]), "/".join(parts[2:]) or None
  try:
    rows = datasets.load_dataset(dataset, config, split=split, streaming=True)
  except (ValueError, OSError, RuntimeError) as error:
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise errors.InputError(
      f"config.pool.source is 'hf:{name}': {cause} Allowed: hf:NAME/SPLIT or "
      "hf:NAME/CONFIG/SPLIT, as the hub names them. Correct the name."
    ) from error
  yield from _numbered(iter(rows), f"hf:{name}", dataset.split("/")[-1])
