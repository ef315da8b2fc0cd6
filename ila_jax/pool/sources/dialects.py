"""Dialects of delimited text: what separates cells, and what quotes mean.

Both are told from the lines themselves, by what makes the rows as wide as the
first one, which names the columns. Lines become rows one by one, and each says
which lines it took: what its quotes join that could be rows is never hidden.
"""

import collections
import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ila_jax.pool.sources import json_text

NATIVE = {"csv": ",", "tsv": "\t"}
CALLED = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_QUOTED = re.compile(r'\s*".*"\s*', re.DOTALL)
_SPACED_QUOTE = re.compile(r'\s+".*"\s*', re.DOTALL)
# So many lines, each a row by itself, are not one row with an open quote.
_MANY_ROWS = 10
# Rows that tell how a file is written.
_TRIED_ROWS = 2000
# Quotes are text in a file of which so much becomes rows by that.
_PLAIN_SHARE = 0.9
# Lines read ahead for quotes that did not close, before quotes are text.
_VAIN_LINES = 1_000_000


class Dialect(NamedTuple):
  """How a file separates cells.

  Attributes:
    delimiter: one character.
    is_quoted: whether quotes wrap cells; else they are text.
    skips_spaces: whether spaces before a cell are none of it.
    is_lenient: whether quotes that cannot be followed are text: where tabs
      separate cells, for many who write such files know no quotes.
  """

  delimiter: str
  is_quoted: bool = True
  skips_spaces: bool = False
  is_lenient: bool = False

  def split(self, line: str) -> list[str]:
    """The cells of a line whose quotes are text."""
    return line.rstrip("\r\n").split(self.delimiter)


class TextRow(NamedTuple):
  """A row of a file, as texts.

  Attributes:
    line: 1-based line on which it begins.
    lines: how many it takes.
    cells: what stands in it.
    trouble: why its quotes cannot be followed; "": they can.
    is_doubtful: whether each of its lines could be a row by itself.
  """

  line: int
  lines: int
  cells: list[str]
  trouble: str = ""
  is_doubtful: bool = False


class Rows:
  """Joins lines to rows.

  Attributes:
    width: cells of a row; 0: not known yet.
  """

  def __init__(self, lines: Iterator[str], dialect: Dialect, first: int = 1):
    self._lines, self._dialect, self._number = lines, dialect, first
    self._ahead: collections.deque[str] = collections.deque()
    self._vain = 0
    self.width = 0

  def __iter__(self) -> Iterator[TextRow]:
    while (line := next(self._look(), None)) is not None:
      count = 1
      if line.strip(" \r\n"):
        row = self._next(line)
        count = row.lines
        yield row
      for _ in range(count):
        self._ahead.popleft()
      self._number += count

  def _look(self) -> Iterator[str]:
    """Yields the lines that are not taken yet, and reads more."""
    yield from self._ahead
    for line in self._lines:
      self._ahead.append(line)
      yield line

  def _next(self, line: str) -> TextRow:
    dialect = self._dialect
    plain = TextRow(self._number, 1, dialect.split(line))
    if not dialect.skips_spaces and (not dialect.is_quoted or '"' not in line):
      return plain
    lines: list[str] = []
    try:
      joined = plain._replace(cells=next(self._reader(lines)))
    except csv.Error as error:
      joined = plain._replace(cells=[], trouble=str(error))
    joined = joined._replace(lines=len(lines))
    if not joined.trouble and len(lines) > 1 and self.width:
      joined = joined._replace(is_doubtful=self._are_rows(lines, joined.cells))
    is_wide = len(lines) > 1 and len(joined.cells) != self.width
    if not dialect.is_lenient or not (
      joined.trouble or joined.is_doubtful or is_wide
    ):
      return joined
    self._vain += len(lines)
    if self._vain > _VAIN_LINES:
      self._dialect = dialect._replace(is_quoted=False)
    return plain._replace(trouble=joined.trouble or "a quote stays open")

  def _reader(self, lines: list[str]) -> Iterator[list[str]]:
    """The cells of the next row; `lines` gets what it is made of."""
    return csv.reader(
      self._kept(lines),
      delimiter=self._dialect.delimiter,
      skipinitialspace=self._dialect.skips_spaces,
      strict=True,
    )

  def _kept(self, lines: list[str]) -> Iterator[str]:
    """Yields lines into `lines`, as many as a record may be long."""
    size = 0
    for line in self._look():
      size += len(line)
      if size > json_text.MAX_RECORD_BYTES:
        return
      lines.append(line)
      yield line

  def _are_rows(self, lines: Sequence[str], cells: list[str]) -> bool:
    """Whether lines that quotes join could be rows by themselves.

    The last one may be of another width where the joined row is so as well.
    """
    split = [self._dialect.split(line) for line in lines]
    rows = [len(c) == self.width and bool(c[0].strip()) for c in split]
    return all(rows if len(cells) == self.width else rows[:-1])


def _fit(lines: list[str], dialect: Dialect) -> tuple[float, int, list[str]]:
  """How well a dialect fits: share of the rows, columns, cells of a sample.

  The share is that of the rows that are as wide as the first one and whose
  quotes, if they wrap cells, can be followed.
  """
  rows = Rows(iter(lines), dialect)
  good, total, sample = 0, 0, []
  for row in itertools.islice(rows, _TRIED_ROWS):
    sample += row.cells
    if not rows.width:
      if row.trouble:
        return 0.0, 0, []
      rows.width = len(row.cells)
      continue
    if row.trouble and row.line + row.lines > len(lines):
      break  # Open where the beginning of the file ends.
    total += 1
    good += not row.trouble and fits(row, rows.width)
  return (good / total if total else 1.0), rows.width, sample


def fits(row: TextRow, width: int) -> bool:
  """Whether a row has a cell for each column."""
  return len(cut(row.cells, width)) == width


def is_open(row: TextRow, width: int) -> bool:
  """Whether a quote of a row did not close, and joins lines that are rows.

  Where the row that it makes fits, it did.
  """
  is_long = row.is_doubtful and row.lines >= _MANY_ROWS
  return is_long and not fits(row, width)


def cut(cells: list[str], width: int) -> list[str]:
  """A row without empty cells beyond the last column."""
  while len(cells) > width and not cells[-1].strip():
    cells = cells[:-1]
  return cells


def detect(lines: list[str], kind: str) -> Dialect:
  r"""The dialect under which most rows are as wide as the first.

  Of those that fit alike, the one that the file's suffix promises, and quotes
  that wrap cells.

  Args:
    lines: the first of the file, from the one that names the columns.
    kind: `csv` or `tsv`.

  >>> detect(["prompt;response\n", '"1,5";2,5\n'], "csv").delimiter
  ';'
  """
  best, most = None, 0.0
  native = NATIVE[kind]
  has_quotes = any('"' in line for line in lines)
  for delimiter in (native, *(d for d in CALLED if d != native)):
    quoted = Dialect(delimiter, is_lenient=delimiter == "\t")
    spaced = quoted._replace(skips_spaces=True)
    plain = quoted._replace(is_quoted=False)
    # Quotes around each name of a column are none of the names.
    wraps = bool(lines) and all(map(_QUOTED.fullmatch, plain.split(lines[0])))
    for dialect in (quoted, spaced, plain) if has_quotes else (quoted,):
      share, width, cells = _fit(lines, dialect)
      if dialect is quoted and any(map(_SPACED_QUOTE.fullmatch, cells)):
        share -= 1e-9  # The next one takes these quotes off.
      is_able = dialect is not plain or (share >= _PLAIN_SHARE and not wraps)
      if width > 1 and share > most and is_able:
        best, most = dialect, share
  return best or Dialect(native, is_lenient=native == "\t")
