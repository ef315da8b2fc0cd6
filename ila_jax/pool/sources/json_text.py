"""JSON as it stands in files: parsed with the text kept, never repaired.

A selected record is written back from its text, so numbers such as 1e400 or a
20-digit integer survive although no Python number holds them as written. What
JSON does not define is a reason to reject a record: NaN and Infinity, and a
key that occurs twice in an object, of which readers keep now one, now another.
Only what stands between records is read as it is often written: the record
separators of RFC 7464, and a comma after the last record.
"""

import io
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from ila_jax import errors

# The longest contexts of today's models, a million tokens, are some 5 MB.
MAX_RECORD_BYTES = 16 << 20
# JSON that holds a whole file in one value, such as a table by columns.
MAX_DOCUMENT_BYTES = 128 << 20
# Deeper than any record that people wrote; Python's recursion ends at 1000.
MAX_DEPTH = 200
TOO_LARGE = ("record too large", f"more than {MAX_RECORD_BYTES >> 20} MiB")
_BAD_BYTE = re.compile(r"[\udc80-\udcff]")
_SEPARATORS = " \t\r\n\x1e"
_NOT_SPACE = re.compile(r"[ \t\r\n\x1e]*")
_CHUNK_CHARACTERS = 1 << 20


class Parser:
  """A JSON reader that remembers what was wrong with an otherwise whole value.

  >>> parser = Parser()
  >>> parser.parse('{"a": 1, "a": 2}')
  ({'a': 2}, 16)
  >>> parser.problem
  ('key occurs twice', "'a'")
  """

  def __init__(self):
    self.problem: tuple[str, str] | None = None
    self._decode = json.JSONDecoder(
      object_pairs_hook=self._object,
      parse_constant=self._constant,
      parse_int=self._integer,
    ).raw_decode

  def parse(self, text: str, start: int = 0) -> tuple[Any, int]:
    """The value at `start` and where it ends; sets `problem`.

    Raises:
      json.JSONDecodeError: no JSON there.
      RecursionError: nested deeper than Python reads.
    """
    self.problem = None
    return self._decode(text, start)

  def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    if len(whole) != len(pairs):
      seen = set()
      # `add` returns None: the first key that was there before.
      twice = next(k for k, _ in pairs if k in seen or seen.add(k))
      self.problem = ("key occurs twice", repr(twice))
    return whole

  def _constant(self, name: str) -> None:
    self.problem = ("not JSON", f"{name} is no JSON number")

  def _integer(self, digits: str) -> int | float:
    try:
      return int(digits)
    except ValueError:  # Python converts no more than 4300 digits.
      return math.inf


def one_line(text: str) -> str:
  """The same JSON value without line ends: in JSON they are only spaces.

  >>> one_line('{"a":\\n 1}')
  '{"a":  1}'
  """
  return text.replace("\n", " ").replace("\r", " ")


def parse_line(
  parser: Parser, raw: bytes
) -> tuple[dict[str, Any] | None, str, tuple[str, str] | None]:
  """One line of JSON: record, text, and the reason if it is not usable.

  Bytes that are no UTF-8 become lone surrogates (`surrogateescape`), in record
  and text: they matter where they are read, and `repaired` makes text of them.

  >>> parse_line(Parser(), b'{"a": 1e400}')
  ({'a': inf}, '{"a": 1e400}', None)
  >>> parse_line(Parser(), b"[1]")[2]
  ('not a JSON object', 'list')
  """
  text = raw.decode(errors="surrogateescape")
  text = one_line(text).strip(_SEPARATORS)
  if text.endswith("},"):  # Lines that were cut out of an array.
    text = text[:-1]
  try:
    value, end = parser.parse(text)
  except json.JSONDecodeError as error:
    return None, text, ("not JSON", f"{error.msg} at column {error.colno}")
  except RecursionError:
    return None, text, ("not JSON", "nested too deep")
  if end != len(text):
    return None, text, ("not JSON", f"more text from column {end + 1} on")
  return check_object(parser, value, text)


def check_object(
  parser: Parser, value: Any, text: str
) -> tuple[dict[str, Any] | None, str, tuple[str, str] | None]:
  """A parsed value as a record: objects without problems are, and turns.

  A list of turns is the record {"messages": turns}; its text stays the list.

  >>> check_object(Parser(), {"a": 1}, '{"a": 1}')
  ({'a': 1}, '{"a": 1}', None)
  >>> check_object(Parser(), [{"role": "user"}], '[{"role": "user"}]')[0]
  {'messages': [{'role': 'user'}]}
  """
  if parser.problem:
    return None, text, parser.problem
  if _is_deep(value, text):
    return None, "", ("not JSON", "nested too deep")
  if isinstance(value, list) and is_conversation(value):
    value = {"messages": value}
  if not isinstance(value, dict):
    return None, text, ("not a JSON object", type(value).__name__)
  return value, text, None


def repaired(text: str) -> tuple[str, str]:
  """A text in which U+FFFD stands for bytes that are no UTF-8, and the first.

  >>> repaired(b"a\\xff".decode(errors="surrogateescape"))
  ('a\ufffd', 'byte 0xff at column 2')
  >>> repaired("a")
  ('a', '')
  """
  bad = None if text.isascii() else _BAD_BYTE.search(text)
  if not bad:
    return text, ""
  first = len(text[: bad.start()].encode(errors="surrogateescape")) + 1
  byte = ord(bad[0]) - 0xDC00
  return _BAD_BYTE.sub("\ufffd", text), f"byte 0x{byte:02x} at column {first}"


def is_conversation(value: list[Any]) -> bool:
  """Whether a list may be a record by itself: turns that tell who speaks.

  >>> is_conversation([{"role": "user"}]), is_conversation([{"text": "a"}])
  (True, False)
  """
  return bool(value) and all(
    isinstance(turn, dict) and ("role" in turn or "from" in turn)
    for turn in value
  )


def _is_deep(value: Any, text: str) -> bool:
  """Whether values lie in more than MAX_DEPTH others."""
  if text.count("[") + text.count("{") <= MAX_DEPTH:
    return False
  layer = [value]
  for _ in range(MAX_DEPTH):
    below: list[Any] = []
    for item in layer:
      if isinstance(item, dict):
        below.extend(item.values())
      elif isinstance(item, list):
        below.extend(item)
    layer = [item for item in below if isinstance(item, dict | list)]
    if not layer:
      return False
  return True


class ValueReader:
  """JSON values of a stream with their texts; holds one chunk at a time.

  `parser.problem` belongs to the value that came last.

  >>> stream = io.StringIO('[1, "b"]')
  >>> list(ValueReader(stream, Parser(), name="x.json").elements())
  [(1, '1'), ('b', '"b"')]
  >>> stream = io.StringIO('{"a":\\n 1} {}')
  >>> list(ValueReader(stream, Parser(), name="x.json").values())
  [({'a': 1}, '{"a":  1}'), ({}, '{}')]
  """

  def __init__(self, stream: io.TextIOBase, parser: Parser, *, name: str):
    self._stream, self._parser, self._name = stream, parser, name
    self._buffer, self._at, self._number = "", 0, 1
    self._limit = MAX_RECORD_BYTES

  def elements(self) -> Iterator[tuple[Any, str]]:
    """Walks an array; a comma before its end is let pass.

    Raises:
      InputError: the array is damaged or ends early; names the element.
    """
    if self._peek() != "[":
      raise self._failure("no JSON array")
    self._at += 1
    separator = "]" if self._peek() == "]" else ","
    self._at += separator == "]"
    while separator == ",":
      if self._number > 1 and self._peek() == "]":
        separator = "]"
      else:
        yield self._value()
        separator = self._peek()
      if separator not in (",", "]"):
        raise self._failure("no comma or bracket after it")
      self._at += 1
      self._number += 1
    if self._peek():
      raise self._failure("more text after the array")

  def values(self) -> Iterator[tuple[Any, str]]:
    """Walks values that follow each other, with or without commas.

    The first may be a whole document.

    Raises:
      InputError: one of them is damaged or cut off; names it.
    """
    self._limit = MAX_DOCUMENT_BYTES
    while self._peek():
      yield self._value()
      self._limit = MAX_RECORD_BYTES
      self._number += 1
      if self._peek() == ",":
        self._at += 1

  def _failure(self, what: str) -> errors.InputError:
    return errors.InputError(
      f"{self._name} element {self._number}: {what}. Allowed: whole JSON "
      "objects, in an array or one after the other. Mend the file, or write "
      "one object per line as .jsonl, where a bad line does not hide those "
      "after it."
    )

  def _more(self) -> bool:
    held = len(self._buffer) - self._at
    if held > self._limit:
      raise self._failure(f"more than {self._limit >> 20} MiB in one value")
    chunk = self._stream.read(max(_CHUNK_CHARACTERS, held))
    self._buffer, self._at = self._buffer[self._at :] + chunk, 0
    return bool(chunk)

  def _peek(self) -> str:
    """The next character that is no space; "" at the end of the file."""
    passed = 0
    while passed <= MAX_DOCUMENT_BYTES:
      self._at = _NOT_SPACE.match(self._buffer, self._at).end()
      if self._at < len(self._buffer):
        return self._buffer[self._at]
      passed += len(self._buffer)
      if not self._more():
        return ""
    raise self._failure("nothing but spaces")

  def _value(self) -> tuple[Any, str]:
    if not self._peek():
      raise self._failure("the array ends early")
    while True:
      try:
        value, end = self._parser.parse(self._buffer, self._at)
      except json.JSONDecodeError as error:
        # An error close to the end of what was read may be the cut itself.
        near = error.pos > len(self._buffer) - 16
        cut = near or error.msg.startswith("Unterminated string")
        if cut and self._more():
          continue
        raise self._failure(f"not JSON ({error.msg})") from error
      except RecursionError as error:
        raise self._failure("nested too deep") from error
      # A number that touches the end of the chunk may go on after it.
      if end < len(self._buffer) or not self._more():
        text, self._at = self._buffer[self._at : end], end
        return value, one_line(text)
