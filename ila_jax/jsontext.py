"""JSON as it stands in files: parsed with the text kept, never repaired.

A selected record is written back from its text, so numbers such as 1e400 or a
20-digit integer survive although no Python number holds them as written. What
JSON does not define is a reason to reject a record: NaN and Infinity, and a
key that occurs twice in an object, of which readers keep now one, now another.
"""

import datetime
import decimal
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ila_jax import errors

_SPACES = " \t\r\n"
_NOT_SPACE = re.compile(r"[ \t\r\n]*")
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
      keys = [key for key, _ in pairs]
      twice = next(key for key in keys if keys.count(key) > 1)
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

  >>> parse_line(Parser(), b'{"a": 1e400}')
  ({'a': inf}, '{"a": 1e400}', None)
  >>> parse_line(Parser(), b"[1]")[2]
  ('not a JSON object', 'list')
  """
  try:
    text = raw.decode()
  except UnicodeDecodeError as error:
    bad = f"byte 0x{raw[error.start]:02x} at column {error.start + 1}"
    return None, "", ("invalid UTF-8", bad)
  text = one_line(text).strip(_SPACES)
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
  """A parsed value as a record: only objects without problems are.

  >>> check_object(Parser(), {"a": 1}, '{"a": 1}')
  ({'a': 1}, '{"a": 1}', None)
  """
  if parser.problem:
    return None, text, parser.problem
  if not text.isascii():
    try:
      text.encode()
    except UnicodeEncodeError:
      return None, "", ("invalid UTF-8", "in this element")
  if not isinstance(value, dict):
    return None, text, ("not a JSON object", type(value).__name__)
  return value, text, None


class ArrayReader:
  """Elements of a JSON array with their texts; holds one chunk at a time.

  `parser.problem` belongs to the element that came last.

  >>> list(ArrayReader(io.StringIO('[1, "b"]'), Parser(), name="x.json"))
  [(1, '1'), ('b', '"b"')]
  """

  def __init__(self, stream: io.TextIOBase, parser: Parser, *, name: str):
    self._stream, self._parser, self._name = stream, parser, name
    self._buffer, self._at, self._number = "", 0, 1

  def __iter__(self) -> Iterator[tuple[Any, str]]:
    """Walks the array.

    Raises:
      InputError: the array is damaged or ends early; names the element.
    """
    if self._peek() != "[":
      raise self._failure("no JSON array")
    self._at += 1
    separator = "]" if self._peek() == "]" else ","
    self._at += separator == "]"
    while separator == ",":
      yield self._element()
      separator = self._peek()
      if separator not in (",", "]"):
        raise self._failure("no comma or bracket after it")
      self._at += 1
      self._number += 1
    if self._peek():
      raise self._failure("more text after the array")

  def _failure(self, what: str) -> errors.InputError:
    return errors.InputError(
      f"{self._name} element {self._number}: {what}. Allowed: one whole JSON "
      "array of objects. Mend the file, or write one object per line as "
      ".jsonl, where a bad line does not hide those after it."
    )

  def _more(self) -> bool:
    wanted = max(_CHUNK_CHARACTERS, len(self._buffer) - self._at)
    chunk = self._stream.read(wanted)
    self._buffer, self._at = self._buffer[self._at :] + chunk, 0
    return bool(chunk)

  def _peek(self) -> str:
    """The next character that is no space; "" at the end of the file."""
    while True:
      self._at = _NOT_SPACE.match(self._buffer, self._at).end()
      if self._at < len(self._buffer):
        return self._buffer[self._at]
      if not self._more():
        return ""

  def _element(self) -> tuple[Any, str]:
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


def _plain(value: Any) -> Any:
  """The JSON value of what columnar files hold; NaN there means null."""
  if value is None or isinstance(value, str | bool | int):
    return value
  if isinstance(value, bytes):
    return value.decode()
  if isinstance(value, np.ndarray | np.generic):
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
  if isinstance(value, decimal.Decimal):
    return str(value)
  raise ValueError(f"a value of type {type(value).__name__}")


def from_columns(
  record: Mapping[str, Any],
) -> tuple[dict[str, Any] | None, str, tuple[str, str] | None]:
  """A row of a columnar file as record, text and problem, as in `parse_line`.

  Bytes are read as UTF-8, times in ISO format, decimals as text; NaN, which
  stands for a missing value there, becomes null.

  >>> from_columns({"prompt": b"hi", "score": float("nan")})
  ({'prompt': 'hi', 'score': None}, '{"prompt": "hi", "score": null}', None)
  """
  try:
    record = _plain(record)
    return record, json.dumps(record, ensure_ascii=False), None
  except UnicodeDecodeError as error:
    return None, "", ("invalid UTF-8", f"byte at {error.start + 1}")
  except ValueError as error:
    return None, "", ("no JSON form", str(error))
