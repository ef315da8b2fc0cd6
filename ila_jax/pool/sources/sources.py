"""Sources: files, folders and data sets as streams of raw records.

Whatever the format, a source yields one `RawRecord` after the other: parsed,
with its JSON text, or with the reason why it cannot be read. What is wrong
with one record is that record's reason; what makes the rest of a file
unreadable is an `InputError`.
"""

import fnmatch
import lzma
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from etils import epath

from ila_jax import errors
from ila_jax.pool import records, revisions
from ila_jax.pool.sources import (
  columnar,
  data_sets,
  delimited,
  docstrings,
  files,
  formats,
  json_records,
  json_text,
)
from ila_jax.pool.sources import paths as source_paths
from ila_jax.pool.splits import spans
from ila_jax.run.disk import hashes
from ila_jax.run.disk import paths as paths_lib

# What reading a damaged file raises.
_DAMAGE = (OSError, ValueError, RuntimeError, EOFError, lzma.LZMAError)
_Announce = Callable[[str], object]


def known_fields(spec: str) -> dict[str, str]:
  """Labels and domain of sources that are built in.

  >>> known_fields("docstrings:numpy")
  {'labels': 'labels', 'domain': 'domain'}
  """
  if spec.startswith("docstrings:"):
    return {"labels": "labels", "domain": "domain"}
  return {}


def open_source(
  spec: str,
  *,
  data_dir: str | None = None,
  announce: _Announce = str,
) -> Iterator[records.RawRecord]:
  """Streams the records of one source, in an order that never changes.

  Args:
    spec: a file, a glob, a folder (searched recursively, in sorted order) or
      a URL, which needs what fsspec asks for; `tfds:NAME/SPLIT` of a data set
      prepared with file_format=array_record, read without TensorFlow;
      `hf:NAME/SPLIT` or `hf:NAME/CONFIG/SPLIT`, where `datasets` is installed;
      or `docstrings:PACKAGE,PACKAGE`.
    data_dir: where TFDS keeps its data; None: its default, TFDS_DATA_DIR.
    announce: gets a line of what is read and left out: files of a folder,
      cells of a table that have no JSON form.

  Raises:
    InputError: nothing there to read, or a file that is damaged as a whole.

  >>> next(open_source("docstrings:json")).source
  'json'
  """
  kind, name = spans.library(spec)
  if kind == "docstrings":
    yield from docstrings.read([n.strip() for n in name.split(",")])
  elif kind:
    rows = data_sets.rows(spec, data_dir=data_dir)
    numbered = enumerate(map(columnar.to_row, rows), start=1)
    yield from _numbered(numbered, spec, data_sets.name(spec), announce)
  else:
    for file in files.find(spec, announce=announce):
      yield from _file_records(file, announce)


def names(spec: str) -> set[str]:
  """The short names that the records of a source carry.

  Raises:
    InputError: nothing there to read.

  >>> sorted(names("docstrings:json,csv"))
  ['csv', 'json']
  """
  kind, name = spans.library(spec)
  if kind == "docstrings":
    return {n.strip() for n in name.split(",")}
  if kind:
    return {data_sets.name(spec)}
  return {file.source for file in files.find(spec)}


def matched(patterns: Iterable[str], specs: Iterable[str]) -> set[str]:
  """The patterns that match a name of some sources.

  A file that is gone has the name that it had.

  >>> sorted(matched(["js*", "a", "x"], ["docstrings:json", "no/a.jsonl"]))
  ['a', 'js*']
  """
  patterns = list(patterns)
  named: set[str] = set()
  for spec in specs if patterns else ():
    try:
      named |= names(spec)
    except errors.InputError:
      named.add(spec.rstrip("/").rpartition("/")[2].partition(".")[0])
  return {one for one in patterns if fnmatch.filter(named, one)}


def signature(
  spec: str, *, workdir: epath.PathLike | None = None
) -> dict[str, Any] | str | None:
  """Tells whether a source is what it was; None where nothing can.

  Files, folders and globs: each file's path, size and hash. Paths are told
  from the folder that the spec names before its first pattern, so that a
  folder with all that is in it may move. URLs: what the server says of them.
  `docstrings:` and `tfds:`: versions and files; `hf:`: the commit.

  Args:
    spec: as `open_source` takes it.
    workdir: folder of the run, which keeps the hashes of large files.

  Raises:
    InputError: nothing there to read.

  >>> list(signature("docstrings:json"))
  ['json']
  """
  kind, name = spans.library(spec)
  if kind == "docstrings":
    packages = [n.strip() for n in name.split(",")]
    return revisions.of_docstrings(packages, workdir=workdir)
  if kind == "tfds":
    return revisions.of_tfds(name, workdir=workdir)
  if kind == "hf":
    return revisions.of_hub(name)
  paths = [file.path for file in files.find(spec)]
  signed: dict[str, Any] = {}
  for path in filter(paths_lib.is_url, paths):
    signed |= files.remote_signature(path)
  paths = [path for path in paths if path not in signed]
  base = source_paths.folder_of(spec)
  names = [path.removeprefix(base).lstrip("/") for path in paths]
  hashed = hashes.of_files(paths, workdir=workdir)
  return signed | dict(zip(names, hashed, strict=True))


def read_span(
  span: spans.Span,
  *,
  announce: _Announce = str,
  lost: columnar.Lost | None = None,
  counted: Callable[[int], object] = lambda lines: None,
) -> Iterator[records.RawRecord]:
  """Streams the records of a part of a source; lines count from its begin.

  Args:
    span: of `spans.of`.
    announce: gets a line of what is as no one expects.
    lost: counts cells that have no JSON form; None: they are announced.
    counted: gets the number of lines of a range, once all are read.

  Raises:
    InputError: nothing there to read, or what is damaged as a whole.
  """
  if not span.file:
    yield from open_source(span.spec, announce=announce)
    return
  try:
    yield from _file_records(span.file, announce, span, lost, counted)
  except errors.InputError:
    if not spans.is_of_lines(span):
      raise
    # Once more, with the lines before counted, for the number in the message.
    before = spans.lines_before(span)
    list(_file_records(span.file, announce, span, {}, counted, before))
    raise


def _file_records(
  file: formats.DataFile,
  announce: _Announce,
  span: spans.Span | None = None,
  lost: columnar.Lost | None = None,
  counted: Callable[[int], object] = lambda lines: None,
  before: int = 0,
) -> Iterator[records.RawRecord]:
  reached = before
  begin, end = (span.begin, span.end) if span else (0, None)
  try:
    if (begin, end) != (0, None) and file.format == "json":
      raws = _lines(file, begin, end, before, counted)
    elif file.format == "json":
      raws = _json(file, announce)
    elif file.format == "array_record":
      raws = _array_record(file.path, begin, end)
    else:
      raws = _table(file, announce, begin, end, lost)
    for raw in raws:
      reached = raw.line
      yield raw
  except _DAMAGE as error:
    raise _damaged(file, reached, error) from error


def _damaged(
  file: formats.DataFile, reached: int, error: Exception
) -> errors.InputError:
  cause = str(error).splitlines()[0] if str(error) else type(error).__name__
  remedy = "Copy or download it again."
  if paths_lib.is_url(file.path):
    remedy = "Start again, or copy it to this machine and read the copy."
  return errors.InputError(
    f"{file.path}: cannot be read after line {reached} ({cause}). Allowed: a "
    "whole file; this one is damaged, cut off or not readable. " + remedy
  )


def _json(
  file: formats.DataFile, announce: _Announce
) -> Iterator[records.RawRecord]:
  head = formats.head(file, json_records.HEAD_BYTES)
  with formats.open_bytes(file) as stream:
    entries = json_records.read(stream, head, name=file.path, announce=announce)
    for number, record, text, problem in entries:
      yield _raw(file.path, number, file.source, record, text, problem)


def _lines(
  file: formats.DataFile,
  begin: int,
  end: int | None,
  before: int,
  counted: Callable[[int], object],
) -> Iterator[records.RawRecord]:
  with formats.open_bytes(file) as stream:
    entries = json_records.read_part(
      stream, begin, end, name=file.path, before=before, counted=counted
    )
    for number, record, text, problem in entries:
      yield _raw(file.path, number, file.source, record, text, problem)


def _table(
  file: formats.DataFile,
  announce: _Announce,
  begin: int,
  end: int | None,
  lost: columnar.Lost | None,
) -> Iterator[records.RawRecord]:
  head = formats.head(file, json_records.HEAD_BYTES)
  with formats.open_bytes(file) as stream:
    if file.format == "parquet":
      rows = columnar.read_parquet(stream, begin, end)
    elif file.format == "arrow":
      rows = enumerate(columnar.read_arrow(stream, name=file.path), start=1)
    else:
      rows = delimited.read(
        stream, head, kind=file.format, name=file.path, announce=announce
      )
    yield from _numbered(rows, file.path, file.source, announce, lost)


def _array_record(
  path: str, begin: int, end: int | None
) -> Iterator[records.RawRecord]:
  from array_record.python import array_record_module

  formats.head(formats.DataFile(path, "array_record"), json_records.HEAD_BYTES)
  parser = json_text.Parser()
  source = formats.DataFile(path, "array_record").source
  reader = array_record_module.ArrayRecordReader(path)
  try:
    total = reader.num_records() if end is None else end
    for start in range(begin, total, columnar.BATCH_ROWS):
      rows = reader.read(start, min(start + columnar.BATCH_ROWS, total))
      for number, raw in enumerate(rows, start=start + 1):
        entry = number, *json_text.parse_line(parser, raw)
        number, record, text, problem = json_records.bounded(entry)
        yield _raw(path, number, source, record, text, problem)
  finally:
    reader.close()


def _raw(
  path: str,
  number: int,
  source: str,
  record: dict[str, Any] | None,
  text: str,
  problem: tuple[str, str] | None,
) -> records.RawRecord:
  return records.RawRecord(
    path, number, source, record, text, *(problem or ("", ""))
  )


def _numbered(
  rows: Iterator[tuple[int, columnar.Row]],
  file: str,
  source: str,
  announce: _Announce,
  lost: columnar.Lost | None = None,
) -> Iterator[records.RawRecord]:
  """Rows as records; tells at the end which cells are in none of them."""
  own: columnar.Lost = {} if lost is None else lost
  try:
    for number, row in rows:
      for column, why in row.lost:
        cell = file, column, why
        own[cell] = own.get(cell, 0) + 1
      raw = _raw(file, number, source, row.record, row.text, row.problem)
      yield raw._replace(lost=row.lost)
  finally:  # Also where no more rows are wanted.
    for line in columnar.told_lost(own) if lost is None else ():
      announce(line)
