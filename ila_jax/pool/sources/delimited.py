"""Delimited text, CSV and TSV, as rows that stand for themselves.

The first line names the columns. Nothing merges and nothing is dropped without
a word: a row of another width is a reject, and quotes that cannot be followed
are plain text where tabs separate cells, and elsewhere an error.
"""

import collections
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator

from ila_jax import errors
from ila_jax.pool.sources import columnar, dialects, json_text

HEAD_BYTES = 1 << 20
# As Excel writes it, for readers in other countries.
_DECLARED = re.compile(r'"?sep=(.)"?\s*$', re.IGNORECASE)
# What databases and pandas write where nothing is; "None" may be an answer.
_MISSING = frozenset(("NULL", r"\N", "NaN", "nan", "<NA>", "NaT"))
# Why a cell is not read where the whole file may be in another encoding.
NO_UTF8 = "bytes that are no UTF-8 in a file of text"
_SENTENCE = re.compile(r".*\w[.?!]|.*[\r\n].*|.{80,}", re.DOTALL)


def read(
  stream: io.BufferedIOBase,
  head: bytes,
  *,
  kind: str,
  name: str,
  announce: Callable[[str], object] = lambda message: None,
) -> Iterator[tuple[int, columnar.Row]]:
  r"""Yields (line, row) of a text table whose first line names the columns.

  All cells are text; those that say NULL, \N or NaN are null. A line end inside
  quotes belongs to its cell. Cells beyond the columns are dropped where they
  are empty.

  Args:
    stream: the file, from its start.
    head: its first HEAD_BYTES, by which the dialect is told.
    kind: `csv` or `tsv`, the file's suffix.
    name: of the file, for messages.
    announce: gets a line of what is not as the suffix promises.

  Raises:
    InputError: quotes that do not close, or a line that is no text.

  >>> content = b"prompt|response\nq, r|a\n"
  >>> next(read(io.BytesIO(content), content, kind="csv", name="a.csv"))[1].text
  '{"prompt": "q, r", "response": "a"}'
  """
  csv.field_size_limit(json_text.MAX_RECORD_BYTES)
  # Bytes that are no UTF-8 become lone surrogates: one row's problem.
  text = io.TextIOWrapper(
    stream, "utf-8-sig", errors="surrogateescape", newline=""
  )
  first = _lines(head)
  declared = _DECLARED.match(first[0]) if first else None
  dialect = dialects.detect(first[1:] if declared else first, kind)
  if declared:
    dialect = dialect._replace(delimiter=declared[1])
  _tell_dialect(dialect, first, kind, name, announce)
  with text:
    lines = _bounded_lines(text, name)
    if declared:
      next(lines)
    yield from _read(lines, dialect, 1 + bool(declared), name, announce)


def _lines(head: bytes) -> list[str]:
  """The whole lines of the beginning of a file."""
  text = head.decode("utf-8-sig", errors="surrogateescape")
  lines = io.StringIO(text, newline="").readlines()
  return lines[:-1] if len(head) >= HEAD_BYTES else lines


def _tell_dialect(
  dialect: dialects.Dialect,
  lines: Iterable[str],
  kind: str,
  name: str,
  announce: Callable[[str], object],
) -> None:
  if dialect.delimiter != dialects.NATIVE[kind]:
    called = dialects.CALLED.get(dialect.delimiter, repr(dialect.delimiter))
    announce(f"{name}: columns are separated by {called}")
  if not dialect.is_quoted and any('"' in line for line in lines):
    announce(f"{name}: quotes are text; they wrap no cells")
  if dialect.skips_spaces:
    announce(f"{name}: spaces before a cell are none of it")


def _read(
  lines: Iterator[str],
  dialect: dialects.Dialect,
  first: int,
  name: str,
  announce: Callable[[str], object],
) -> Iterator[tuple[int, columnar.Row]]:
  rows = dialects.Rows(lines, dialect, first)
  told = _Told(name)
  header: list[str] = []
  try:
    for row in rows:
      is_open = row.trouble and not dialect.is_lenient
      if is_open or dialects.is_open(row, len(header)):
        raise _open_quote(name, row)
      if not header:
        header = told.header(row.cells)
        rows.width = len(header)
        continue
      told.has_rows = True
      cells = dialects.cut(row.cells, len(header))
      if len(cells) == len(header):
        yield row.line, _row(header, told.cells(header, row, cells))
      else:
        yield row.line, _ragged(row, len(header))
  finally:  # Also where no more rows are wanted.
    for line in told.lines():
      announce(line)


def _open_quote(name: str, row: dialects.TextRow) -> errors.InputError:
  what = row.trouble or f"a quote stays open for {row.lines} lines"
  return errors.InputError(
    f"{name} line {row.line}: {what}. Allowed: cells whose quotes close, "
    'with quotes inside them written twice (""). Mend the file, or write its '
    "rows as .jsonl."
  )


def _ragged(row: dialects.TextRow, width: int) -> columnar.Row:
  said = f"{len(row.cells)} cells, and {width} columns are named"
  much = "many" if len(row.cells) > width else "few"
  if row.lines > 1:
    said += f"; lines {row.line} to {row.line + row.lines - 1}"
  return columnar.Row(None, "", (f"row with too {much} cells", said))


class _Told:
  """Counts what a file has that its suffix does not promise, and tells it."""

  def __init__(self, name: str):
    self._name = name
    self._first: dict[str, int] = {}
    self._counts: collections.Counter[str] = collections.Counter()
    self._said: list[str] = []
    self.has_rows = self._has_names = False

  def header(self, cells: list[str]) -> list[str]:
    """The names of the columns; an empty one is called as pandas does."""
    if any(map(_SENTENCE.fullmatch, cells)):
      shown = ", ".join(repr(cell[:40]) for cell in cells[:5])
      self._said.append(
        "the first line names the columns, and it seems to be a row "
        f"({shown}); if so, write a line of names such as prompt,response "
        "above it"
      )
    self._has_names = True
    return [c.strip() or f"Unnamed: {i}" for i, c in enumerate(cells)]

  def cells(
    self, header: list[str], row: dialects.TextRow, cells: list[str]
  ) -> list[str | None]:
    """The cells of a row that is as wide as the header; counts what is odd."""
    if row.trouble:
      self._count(
        "rows whose quotes are text, for they join lines that could be rows, "
        "or do not close",
        row,
      )
    if row.is_doubtful:
      self._count(
        "rows of several lines by their quotes, each line of which could be a "
        "row",
        row,
      )
    for column, cell in zip(header, cells, strict=True):
      if cell in _MISSING:
        self._count(
          f"cells of column {column!r} that say {cell} and count as empty",
          row,
        )
    return [None if cell in _MISSING else cell for cell in cells]

  def _count(self, what: str, row: dialects.TextRow) -> None:
    self._counts[what] += 1
    self._first.setdefault(what, row.line)

  def lines(self) -> Iterator[str]:
    if self._has_names and not self.has_rows:
      self._said.append("has names of columns and no row")
    for said in self._said:
      yield f"{self._name}: {said}"
    for what, count in self._counts.items():
      first = self._first[what]
      yield f"{self._name}: {what}: {count:,}, the first in line {first}"


def _bounded_lines(text: io.TextIOWrapper, name: str) -> Iterator[str]:
  """The lines of a file; refuses one that no memory would hold."""
  limit = json_text.MAX_RECORD_BYTES
  number = 0
  while line := text.readline(limit + 1):
    number += 1
    if len(line) > limit:
      raise errors.InputError(
        f"{name} line {number}: {json_text.TOO_LARGE[1]} in one line. Allowed: "
        "a row of a table. Mend the file, or write its rows as .jsonl."
      )
    yield line


def _row(header: list[str], cells: list[str | None]) -> columnar.Row:
  row = columnar.to_row(list(zip(header, cells, strict=True)))
  try:
    row.text.encode()
  except UnicodeEncodeError:
    bad = [k for k, v in zip(header, cells, strict=True) if not _is_text(v)]
    good = {k: v for k, v in (row.record or {}).items() if k not in bad}
    lost = tuple((name, NO_UTF8) for name in bad)
    return columnar.Row(good, json.dumps(good, ensure_ascii=False), None, lost)
  return row


def _is_text(value: str | None) -> bool:
  try:
    (value or "").encode()
  except UnicodeEncodeError:
    return False
  return True
