"""Formats of data files: known by the suffix, or else by the first bytes."""

import bz2
import codecs
import io
import lzma
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa

from ila_jax import errors
from ila_jax.run.disk import paths

_TEXT = "jsonl|jsonlines|json|ndjson|csv|tsv"
_COLUMNAR = "parquet|pq|arrow|feather|array_record"
# A file that was rotated or sharded has its number after the suffix.
_NUMBER = r"(\.\d+|-\d+-of-\d+)?"
_SUFFIX = re.compile(
  rf"\.(?P<text>{_TEXT}){_NUMBER}(\.(?P<packed>gz|gzip|zst|zstd|bz2|xz))?$"
  rf"|\.(?P<columnar>{_COLUMNAR}){_NUMBER}$",
  re.IGNORECASE,
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_SAME = {
  **{"jsonl": "json", "jsonlines": "json", "ndjson": "json"},
  **{"pq": "parquet", "feather": "arrow", "gzip": "gz", "zstd": "zst"},
}
ALLOWED = (
  ".jsonl, .ndjson, .json, .csv, .tsv (each also with .gz, .zst, .bz2 or "
  ".xz), .parquet, .arrow, .feather, .array_record"
)
# What a file is by its first bytes: (bytes, format, packed).
_READABLE = (
  (b"PAR1", "parquet", ""),
  (b"ARROW1", "arrow", ""),
  (b"\xff\xff\xff\xff", "arrow", ""),
  (b"\x1f\x8b", "json", "gz"),
  (b"\x28\xb5\x2f\xfd", "json", "zst"),
  (b"BZh", "json", "bz2"),
  (b"\xfd7zXZ\x00", "json", "xz"),
)
_FOREIGN = (
  (
    b"version https://git-lfs",
    "a git-lfs pointer, which stands for the file. Run `git lfs pull`",
  ),
  (b"PK\x03\x04", "a zip archive. Unpack it"),
  (
    b"FEA1",
    "Feather of version 1. Read it with pyarrow.feather and write it as "
    ".parquet",
  ),
  (b"%PDF", "a PDF. Write its records as .jsonl"),
  (b"SQLite format 3", "an SQLite database. Write its rows as .jsonl"),
  (b"\xff\xfe\0\0", "UTF-32. Convert it with `iconv -f UTF-32 -t UTF-8`"),
  (b"\0\0\xfe\xff", "UTF-32. Convert it with `iconv -f UTF-32 -t UTF-8`"),
  (b"\xff\xfe", "UTF-16. Convert it with `iconv -f UTF-16 -t UTF-8`"),
  (b"\xfe\xff", "UTF-16. Convert it with `iconv -f UTF-16 -t UTF-8`"),
  (b"<!doctype html", "a web page. Download the file itself"),
  (b"<html", "a web page. Download the file itself"),
  (b"<?xml", "XML. Write its records as .jsonl, or download the file itself"),
)
# Where the zeros are in each four bytes of ASCII without a mark.
_WIDE = (
  ("UTF-32LE", (1, 2, 3)),
  ("UTF-32BE", (0, 1, 2)),
  ("UTF-16LE", (1, 3)),
  ("UTF-16BE", (0, 2)),
)
_SNIFFED_BYTES = 512
# No names of columns look so.
_JSON_LINE = re.compile(rb'(\xef\xbb\xbf)?\[?\{\s*"[^"]*"\s*:')


class DataFile(NamedTuple):
  """One file of a source.

  Attributes:
    path: a local path, or a URL.
    format: json, csv, tsv, parquet, arrow or array_record.
    packed: gz, zst, bz2 or xz; "" where it is not compressed.
  """

  path: str
  format: str
  packed: str = ""

  @property
  def source(self) -> str:
    """The short name that its records carry."""
    return source_name(self.path)


def source_name(path: str) -> str:
  """A file's name without folder, suffixes and shard number.

  >>> source_name("data/train-00000-of-00002.JSONL.gz")
  'train'
  """
  return _SHARD.sub("", _SUFFIX.sub("", last(path)))


def by_name(path: str) -> DataFile | None:
  """What a file holds by its suffix, in any case; None: that tells nothing.

  >>> by_name("data/POOL.JSONL.GZ")
  DataFile(path='data/POOL.JSONL.GZ', format='json', packed='gz')
  >>> by_name("part-00000") is None
  True
  """
  match = _SUFFIX.search(last(path))
  if not match:
    return None
  kind = (match["text"] or match["columnar"]).lower()
  packed = (match["packed"] or "").lower()
  return DataFile(path, _SAME.get(kind, kind), _SAME.get(packed, packed))


def by_content(path: str) -> DataFile | None:
  """What the first bytes say: JSON, packed or not, Parquet or Arrow."""
  with open_bytes(DataFile(path, "")) as stream:
    start = stream.read(_SNIFFED_BYTES)
  kind, packed = _signed(start)
  if kind:
    return DataFile(path, kind, packed)
  return DataFile(path, "json") if _is_json(start) else None


def last(path: str) -> str:
  """The last part of a path, or of a URL without its query.

  >>> last("https://host/data/a.jsonl?download=true")
  'a.jsonl'
  """
  if paths.is_url(path):
    path = path.partition("?")[0]
  return os.path.basename(path.rstrip("/"))


def open_bytes(file: DataFile) -> io.BufferedIOBase:
  """The bytes of a file, unpacked; reading tells where one was cut off."""
  stream: Any = file.path
  if paths.is_url(file.path):
    import fsspec

    stream = _RemoteFile(fsspec.open(file.path, "rb"))
  elif file.packed not in ("bz2", "xz"):
    stream = open(file.path, "rb")  # noqa: SIM115
  if file.packed == "bz2":
    stream = bz2.BZ2File(stream)
  elif file.packed == "xz":
    stream = lzma.LZMAFile(stream)  # noqa: SIM115
  elif file.packed:
    # Arrow's decompression notices when a file is cut.
    packed = {"gz": "gzip", "zst": "zstd"}[file.packed]
    stream = pa.CompressedInputStream(stream, packed)
  return io.BufferedReader(stream, buffer_size=1 << 20)


class _RemoteFile(io.RawIOBase):
  """A file at a URL, by fsspec; all that its libraries raise is an OSError."""

  def __init__(self, file: Any):
    """Opens a `fsspec.core.OpenFile`."""
    self._file = None
    self._file = self._ask(file.open)

  def _ask(self, call: Callable[[], Any]) -> Any:
    try:
      return call()
    except OSError:
      raise
    except Exception as error:  # Of aiohttp, botocore, google.auth, ...
      raise OSError(f"{type(error).__name__}: {error}") from error

  def readable(self) -> bool:
    """Whether bytes can be read: always."""
    return True

  def seekable(self) -> bool:
    """Whether the server gives parts of the file."""
    return self._ask(self._file.seekable)

  def readinto(self, buffer: Any) -> int:
    """Fills a buffer; returns how many bytes were left to read."""
    got = self._ask(lambda: self._file.read(len(buffer)))
    buffer[: len(got)] = got
    return len(got)

  def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
    """Moves to a byte, and returns its number."""
    return self._ask(lambda: self._file.seek(offset, whence))

  def tell(self) -> int:
    """Number of the next byte."""
    return self._file.tell()

  def close(self) -> None:
    """Closes the connection."""
    if not self.closed and self._file is not None:
      self._file.close()
    super().close()


def head(file: DataFile, size: int) -> bytes:
  """The first bytes of a file, unpacked; fewer where it is shorter.

  Raises:
    InputError: they are those of something else, such as a git-lfs pointer.
  """
  said = _other_packing(file) if file.packed else ""
  if not said:
    with open_bytes(file) as stream:
      content = stream.read(size)
    said = _foreign(content, file)
  if said:
    raise errors.InputError(
      f"{file.path} seems to be {said}. Allowed in config.pool.source: "
      f"{ALLOWED}."
    )
  return content


def _other_packing(file: DataFile) -> str:
  """What a file seems to be that is not packed as its name says; "": it is."""
  with open_bytes(file._replace(packed="")) as stream:
    start = stream.read(_SNIFFED_BYTES)
  said = _alien(start)
  if said:
    return said
  suffix = os.path.splitext(last(file.path))[1]
  kind, packed = _signed(start)
  if kind and packed != file.packed:
    return f"of the format .{packed or kind}. {_rename(packed or kind, suffix)}"
  if not kind and _is_text(start):
    return f"text that is not packed. Take {suffix} off the end of its name"
  return ""


def _foreign(start: bytes, file: DataFile) -> str:
  """What a file seems to be instead of what its name says; "": nothing else."""
  said = _alien(start)
  if said:
    return said
  is_text = file.format in ("json", "csv", "tsv")
  for name, zeros in _WIDE if is_text else ():
    parts = [(i in zeros, start[i:64:4]) for i in range(4)]
    if len(start) > 8 and all(
      not any(part) if is_zero else all(part) for is_zero, part in parts
    ):
      return f"{name[:6]}. Convert it with `iconv -f {name} -t UTF-8`"
  kind, packed = _signed(start)
  if kind and file.packed:
    inner = packed or kind
    what = f"packed twice: .{packed}" if packed else f".{kind}"
    return (
      f"{what} inside .{file.packed}. Unpack it once, and let the name of what "
      f"comes out end in .{inner}"
    )
  if packed and not is_text:
    return f"packed as .{packed}. Unpack it"
  if packed or (kind and kind != file.format):
    inner = packed or kind
    return f"of the format .{inner}. {_rename(inner)}"
  if is_text and b"\0" in start[:_SNIFFED_BYTES]:
    return "binary: it has zero bytes. Write its records as .jsonl"
  is_line = file.format != "json" and _JSON_LINE.match(start)
  if is_line or (not is_text and _is_json(start)):
    return f"JSON in text. {_rename('jsonl')}"
  if not is_text and start and _is_text(start[:_SNIFFED_BYTES]):
    return "text. Let its name end in .csv, or in what else it is"
  return ""


def _rename(suffix: str, old: str = "") -> str:
  return f"Let its name end in .{suffix}" + (f", not in {old}" if old else "")


def _alien(start: bytes) -> str:
  """Names a file that can be no source, and a remedy; "": it may be one."""
  if start[257:262] == b"ustar":
    return "a tar archive. Unpack it"
  text = start.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")[:64].lower()
  for sign, said in _FOREIGN:
    if text.startswith(sign.lower()):
      return said
  return ""


def _signed(start: bytes) -> tuple[str, str]:
  """Format and packing by the first bytes; ("", "") where nothing tells."""
  for sign, kind, packed in _READABLE:
    if start.startswith(sign):
      return kind, packed
  return "", ""


def _is_json(start: bytes) -> bool:
  text = start.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\x1e")
  return text.startswith((b"{", b"["))


def _is_text(start: bytes) -> bool:
  """Whether bytes are UTF-8, of which the last letter may be cut, or JSON."""
  try:
    text = codecs.getincrementaldecoder("utf-8")().decode(start)
  except UnicodeDecodeError:
    return _is_json(start) and b"\0" not in start
  return bool(text.strip()) and "\0" not in text
