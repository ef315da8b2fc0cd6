"""Spans: parts of sources that can be read each for itself, and how large.

A span is a range of a file where the format has places to begin at: lines of
JSON, groups of rows of Parquet, records of ArrayRecord. Other files are one
span each: packed ones, a JSON array or document, CSV, whose cells may hold line
ends, and Arrow. So is a source that a library reads.
"""

import itertools
import lzma
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ila_jax import errors
from ila_jax.pool.sources import files, formats, json_records
from ila_jax.run.disk import paths as paths_lib

_LIBRARIES = ("docstrings", "tfds", "hf")
_CHUNK = 1 << 20
# Servers that may send a file from its start alone.
_WHOLE_ONLY = ("http", "https")


class Span(NamedTuple):
  """A part of a source.

  Attributes:
    spec: the source, as the user named it.
    file: the file; None: all that a library gives.
    begin: where it begins: byte of lines, row group of Parquet, or record.
    end: where it ends, likewise; None: with the file.
    size: bytes of input; 0 where they are not known.
    is_first: no span before it has records of this source name.
  """

  spec: str
  file: formats.DataFile | None = None
  begin: int = 0
  end: int | None = None
  size: int = 0
  is_first: bool = True

  @classmethod
  def from_plain(cls, values: list[Any]) -> "Span":
    """The span that JSON has made a list of."""
    spec, file, *others = values
    return cls(spec, formats.DataFile(*file) if file else None, *others)


def library(spec: str) -> tuple[str, str]:
  """The library for a source that is no file, and its name there; or "".

  >>> library("docstrings:json"), library("hf://datasets/a/b.jsonl")
  (('docstrings', 'json'), ('', 'hf://datasets/a/b.jsonl'))
  """
  kind, colon, name = spec.partition(":")
  # hf://datasets/... is a URL.
  is_known = colon and kind in _LIBRARIES and not name.startswith("//")
  return (kind, name) if is_known else ("", spec)


def of(
  spec: str,
  *,
  most_bytes: int,
  announce: Callable[[str], object] = lambda message: None,
) -> list[Span]:
  """The spans of a source, in the order of its records.

  They follow from the files and `most_bytes` alone. No file is read through:
  a line that begins in a range of bytes belongs to it.

  Args:
    spec: as `sources.open_source` takes it.
    most_bytes: about so many bytes a span has at most, where it can be cut.
    announce: gets a line of which files are read.

  Raises:
    InputError: nothing there to read.

  >>> of("docstrings:json", most_bytes=1 << 20)
  [Span(spec='docstrings:json', file=None, begin=0, end=None, ...)]
  """
  if library(spec)[0]:
    return [Span(spec)]
  found: list[Span] = []
  names: set[str] = set()
  for file in files.find(spec, announce=announce):
    size = _size(file.path)
    for begin, end, part in _ranges(file, size, most_bytes):
      is_first = file.source not in names
      names.add(file.source)
      found.append(Span(spec, file, begin, end, part, is_first))
  return found


def _size(path: str) -> int:
  """Bytes of a file; 0: they are not known, or it can only be read whole."""
  if not paths_lib.is_url(path):
    return os.path.getsize(path)
  if paths_lib.scheme(path) in _WHOLE_ONLY:
    return 0
  return files.remote_signature(path)[path][0] or 0


def _ranges(
  file: formats.DataFile, size: int, most: int
) -> list[tuple[int, int | None, int]]:
  """(begin, end, bytes) of the spans of a file."""
  whole: list[tuple[int, int | None, int]] = [(0, None, size)]
  if size <= most or file.packed:
    return whole
  try:
    if file.format == "json":
      head = formats.head(file, json_records.HEAD_BYTES)
      found = _of_lines(size, most) if json_records.is_lines(head) else whole
    elif file.format == "parquet":
      found = list(_of_groups(file, most))
    elif file.format == "array_record":
      found = list(_of_records(file.path, size, most))
    else:
      found = whole
  # Whoever reads it says what is wrong with it.
  except (errors.InputError, OSError, ValueError, RuntimeError, lzma.LZMAError):
    return whole
  return found or whole


def _of_lines(size: int, most: int) -> list[tuple[int, int | None, int]]:
  places = [*range(0, size, most), size]
  return [(a, b, b - a) for a, b in itertools.pairwise(places)]


def _of_groups(
  file: formats.DataFile, most: int
) -> Iterator[tuple[int, int | None, int]]:
  from pyarrow import parquet

  with formats.open_bytes(file) as stream:
    known = parquet.ParquetFile(stream).metadata
    sizes = [
      known.row_group(i).total_byte_size for i in range(known.num_row_groups)
    ]
  begin = total = 0
  for group, size in enumerate(sizes):
    if total and total + size > most:
      yield begin, group, total
      begin, total = group, 0
    total += size
  if sizes:
    yield begin, len(sizes), total


def _of_records(
  path: str, size: int, most: int
) -> Iterator[tuple[int, int | None, int]]:
  from array_record.python import array_record_module

  reader = array_record_module.ArrayRecordReader(path)
  try:
    total = reader.num_records()
  finally:
    reader.close()
  step = max(total * most // size, 1)
  for begin in range(0, total, step):
    end = min(begin + step, total)
    yield begin, end, (end - begin) * size // total


def is_of_lines(span: Span) -> bool:
  """Whether a span's lines are numbered from its own beginning.

  >>> is_of_lines(Span("a", formats.DataFile("a.jsonl", "json"), 64, 128))
  True
  """
  return bool(span.file and span.file.format == "json" and span.begin)


def lines_before(span: Span) -> int:
  """Lines of a span's file that begin before it: the file is read for it."""
  count, left, last = 0, span.begin, b"\n"
  with formats.open_bytes(span.file) as stream:
    while left and (chunk := stream.read(min(_CHUNK, left))):
      count += chunk.count(b"\n")
      last = chunk[-1:]
      left -= len(chunk)
  # A line that goes on into the span belongs to the one before.
  return count + (last != b"\n")
