"""JSON files as records, whatever their layout.

One object per line is the usual one, in which a bad line costs one record. An
array, objects that span lines or share them, and a single value that holds the
whole table are told from the beginning of the file.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ila_jax import errors
from ila_jax.pool import unread
from ila_jax.pool.shapes import fields
from ila_jax.pool.sources import documents, json_text

# Where lines, an array or objects that span lines are told apart.
HEAD_BYTES = 1 << 20
Entry = documents.Entry
_SPACES = b" \t\r\n\x1e"
# Names of ids that say which conversation a message is of, or what it answers.
_WHOLE_ID = re.compile(
  r"^parent|(^|_)(conv|conversation|dialog|dialogue|thread|session|chat|tree|"
  r"sample|example)_?(id|idx|index|hash)$"
)


def read(
  stream: io.BufferedIOBase,
  head: bytes,
  *,
  name: str,
  announce: Callable[[str], object] = lambda message: None,
) -> Iterator[Entry]:
  """Yields line or number, record, text, and what is wrong with it.

  Args:
    stream: the file, from its start.
    head: its first HEAD_BYTES, by which the layout is told.
    name: of the file, for messages.
    announce: gets a line where the layout is not the usual one.

  Raises:
    InputError: what makes the rest of a file unreadable.

  >>> content = b'{"data": [{"a": 1}, {"a": 2}]}'
  >>> [f[:2] for f in read(io.BytesIO(content), content, name="x.json")]
  [(1, {'a': 1}), (2, {'a': 2})]
  """
  layout = _layout(head)
  if layout == "lines":
    yield from _lines(stream, name, announce)
    return
  parser = json_text.Parser()
  # Bytes that are no UTF-8 become lone surrogates: one value's problem.
  with io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape") as text:
    reader = json_text.ValueReader(text, parser, name=name)
    if layout == "array":
      for number, (value, raw) in enumerate(reader.elements(), start=1):
        yield bounded((number, *json_text.check_object(parser, value, raw)))
    else:
      yield from _values(reader, parser, name, announce)


def read_part(
  stream: io.BufferedIOBase,
  begin: int,
  end: int | None,
  *,
  name: str,
  before: int = 0,
  counted: Callable[[int], object] = lambda lines: None,
) -> Iterator[Entry]:
  r"""Yields the entries of the lines that begin in a range of bytes.

  The file has one object per line (`is_lines`). Parts that follow each other
  yield together what `read` yields, but for the numbers: those of a part
  begin at `before` + 1.

  Args:
    stream: the file, which can seek.
    begin: byte at which the range begins, in a line or between two.
    end: byte at which it ends; None: at the end of the file.
    name: of the file, for messages.
    before: lines of the file before the range, as far as they count.
    counted: gets the number of lines, once all are read.

  Raises:
    InputError: a line that is too long for a record of text.

  >>> stream = io.BytesIO(b'{"a": 1}\n{"a": 2}\n{"a": 3}\n')
  >>> [e[1] for e in read_part(stream, 4, 12, name="x.jsonl")]
  [{'a': 2}]
  """
  at = begin
  if begin:
    # A line that begins at `begin` has a line end before it.
    stream.seek(begin - 1)
    at -= 1
    while chunk := stream.readline(1 << 20):
      at += len(chunk)
      if chunk.endswith(b"\n"):
        break
  parser, number = json_text.Parser(), before
  lines = _bounded_lines(stream, name, at=at, end=end, before=before)
  for number, raw in lines:
    if raw is None:
      yield number, None, "", json_text.TOO_LARGE
    elif raw:
      yield number, *json_text.parse_line(parser, raw)
  counted(number - before)


def is_lines(head: bytes) -> bool:
  r"""Whether a file has one object per line, and more than one line.

  Args:
    head: its first HEAD_BYTES.

  >>> is_lines(b'{"a": 1}\n{"a": 2}\n'), is_lines(b'{"a": 1}\n')
  (True, False)
  """
  text = head.removeprefix(b"\xef\xbb\xbf").strip(_SPACES)
  return b"\n" in text and _layout(head) == "lines"


def bounded(entry: Entry) -> Entry:
  """The entry itself, or the reject of a record that is too large.

  >>> bounded((1, {}, "{}", None))
  (1, {}, '{}', None)
  """
  if len(entry[2]) > json_text.MAX_RECORD_BYTES:
    return entry[0], None, "", json_text.TOO_LARGE
  return entry


def _layout(head: bytes) -> str:
  """`lines`, `array`, or `values`: such as span lines or share one."""
  text = head.removeprefix(b"\xef\xbb\xbf").strip(_SPACES)
  first, _, rest = text.partition(b"\n")
  parser = json_text.Parser()
  is_list = text.startswith(b"[")
  shown = text.decode(errors="surrogateescape")
  try:
    value, end = parser.parse(shown)
  except json.JSONDecodeError as error:
    if is_list:
      return "array"
    # An object of several lines goes on after its first; where a line is
    # only damaged, the next record begins.
    opens = re.match(rb'\{\s*$|\{\s*"[^"]*"\s*:.*[,{[]\s*$', first)
    goes_on = error.pos >= len(first) and not rest.lstrip().startswith(b"{")
    return "values" if opens and goes_on else "lines"
  except RecursionError:
    return "array" if is_list else "lines"
  used = len(shown[:end].encode(errors="surrogateescape"))
  after = text[used:]
  # Lists that follow each other are records, each for itself; so is one list
  # of messages.
  follows = after.lstrip(_SPACES).startswith((b"[", b"{"))
  if is_list and not (follows or _is_one(value)):
    return "array"
  shares = re.match(rb"[ \t\r\x1e,]*[\[{]", after)
  return "values" if used > len(first) or shares else "lines"


def _is_one(value: list[Any]) -> bool:
  """Whether a list is one record, messages in turn, and no table of records.

  Rows of a tree of messages, and those of several conversations, are a table.
  """
  if not json_text.is_conversation(value):
    return False
  if not any(documents.is_said([turn]) for turn in value):
    return False
  names = {name for turn in value for name in turn}
  ids = [n for n in names if _WHOLE_ID.search(unread.plain_name(n))]
  are_several = any(
    len({str(turn.get(name)) for turn in value}) > 1 for name in ids
  )
  return not are_several and not all(map(fields.detect, value))


def _lines(
  stream: io.BufferedIOBase, name: str, announce: Callable[[str], object]
) -> Iterator[Entry]:
  parser = json_text.Parser()
  pending: Entry | None = None  # The first may turn out to be a document.
  is_first = True
  for number, raw in _bounded_lines(stream, name):
    if raw == b"":
      continue
    if pending:
      yield bounded(pending)
      pending = None
    if raw is None:
      yield number, None, "", json_text.TOO_LARGE
    else:
      entry = number, *json_text.parse_line(parser, raw)
      if is_first:
        pending = entry
      else:
        yield entry
    is_first = False
  if pending:
    yield from _only(pending, name, announce)


def _bounded_lines(
  stream: io.BufferedIOBase,
  name: str,
  *,
  at: int = 0,
  end: int | None = None,
  before: int = 0,
) -> Iterator[tuple[int, bytes | None]]:
  """Yields (number, line); None of one that is too long, b"" of a blank one.

  Args:
    stream: read from where it is.
    name: of the file, for messages.
    at: the byte where that is.
    end: lines that begin there or later are not read.
    before: lines of the file before.

  Raises:
    InputError: so long a line, or so many blank ones, that this is no text.
  """
  # The first line of a file may hold all of it.
  limit = json_text.MAX_RECORD_BYTES if at else json_text.MAX_DOCUMENT_BYTES
  number, blank = before, 0
  while end is None or at < end:
    raw = stream.readline(limit + 1)
    if not raw:
      return
    number += 1
    at += len(raw)
    # Files that were put together have more than one.
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    passed = len(raw)
    is_long = passed > limit
    while is_long and not raw.endswith(b"\n") and raw:
      raw = stream.readline(1 << 20)
      passed += len(raw)
      at += len(raw)
      if passed > 2 * json_text.MAX_DOCUMENT_BYTES:
        raise _no_text(name, number, "a line")
    if is_long:
      yield number, None
    elif raw.strip(_SPACES):
      blank = 0
      yield number, raw
    else:
      blank += passed
      if blank > 2 * json_text.MAX_DOCUMENT_BYTES:
        raise _no_text(name, number, "blank lines")
      yield number, b""
    limit = json_text.MAX_RECORD_BYTES


def _no_text(name: str, number: int, what: str) -> errors.InputError:
  size = 2 * json_text.MAX_DOCUMENT_BYTES >> 20
  return errors.InputError(
    f"{name} line {number}: {what} of more than {size} MiB. Allowed: one JSON "
    f"record per line, of up to {json_text.MAX_RECORD_BYTES >> 20} MiB. Write "
    "the records as .jsonl."
  )


def _values(
  reader: json_text.ValueReader,
  parser: json_text.Parser,
  name: str,
  announce: Callable[[str], object],
) -> Iterator[Entry]:
  pending: Entry | None = None
  for number, (value, raw) in enumerate(reader.values(), start=1):
    if pending:
      yield bounded(pending)
      pending = None
    entry = number, *json_text.check_object(parser, value, raw)
    if number == 1:
      pending = entry
    else:
      yield bounded(entry)
  if pending:
    yield from _only(pending, name, announce)


def _only(
  entry: Entry, name: str, announce: Callable[[str], object]
) -> Iterator[Entry]:
  """The records of a file that has one value."""
  if entry[1] is None or entry[2].startswith("["):  # A list of messages.
    yield entry
    return
  for row in documents.rows(entry, name=name, announce=announce):
    yield bounded(row)
