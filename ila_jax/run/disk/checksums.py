"""Files that are what was written: a folder's ledger of sizes and checksums.

Each folder of artifacts holds `checksums.json`: of every file its bytes and
its CRC-32C, `{"scores.parquet": [[5120, "crc32c:9ae0daaf"]]}`. Versions up to
0.1 wrote CRC-32, without a name before it. An entry is written
before its file takes its name, with the file's former one beside it: whenever
a run is killed, what stands under the name is one of the two.
"""

import concurrent.futures
import io
import json
import os
import zlib
from collections.abc import Callable
from typing import Any

import google_crc32c
from etils import epath

from ila_jax import errors
from ila_jax.run import tables
from ila_jax.run.disk import buckets

FILE = tables.CHECKSUMS.file(folder="")
# Bytes that are read at once.
_CHUNK = 2**16
_COPIED = 2**22
# Files that this process has found whole, as they were then.
_SEEN: dict[str, tuple[Any, ...]] = {}

Ledger = dict[str, list[list[Any]]]
# What new entries have, and what of old ones has no name.
_KIND, _OLD_KIND = "crc32c", "crc32"
_EXTEND = {
  _KIND: google_crc32c.extend,
  _OLD_KIND: lambda crc, content: zlib.crc32(content, crc),
}


class Damaged(errors.InputError):
  """An artifact that is not what was written.

  Attributes:
    reason: what is wrong with it, in words.
  """

  def __init__(self, path: epath.PathLike, reason: str):
    super().__init__(
      f"{path} is damaged: {reason}. Run again with its --workdir and without "
      "--stages: what is damaged is made anew."
    )
    self.reason = reason


class Writer(io.RawIOBase):
  """Passes bytes on to a file and takes their size and checksum.

  >>> writer = Writer(io.BytesIO())
  >>> writer.write(b"abc"), writer.entry
  (3, [3, 'crc32c:364b3fb7'])
  """

  def __init__(self, file: Any):
    super().__init__()
    self._file, self._size, self._crc = file, 0, 0

  def writable(self) -> bool:
    """Always."""
    return True

  def tell(self) -> int:
    """Bytes that were written."""
    return self._size

  def write(self, content: Any) -> int:
    """Writes bytes, all of them."""
    view = memoryview(content).cast("B")
    self._file.write(view)
    self._size += len(view)
    for start in range(0, len(view), _COPIED):  # It takes `bytes` only.
      part = bytes(view[start : start + _COPIED])
      self._crc = google_crc32c.extend(self._crc, part)
    return len(view)

  @property
  def entry(self) -> list[Any]:
    """[bytes, CRC-32C], as the ledger has them."""
    return [self._size, f"{_KIND}:{self._crc:08x}"]


def read(folder: epath.PathLike) -> Ledger | None:
  """The ledger of a folder; None where there is none.

  Raises:
    errors.InputError: the ledger itself is damaged.
  """
  path = epath.Path(folder) / FILE
  try:
    content = (
      buckets.read(path) if buckets.is_remote(path) else path.read_bytes()
    )
  except (FileNotFoundError, NotADirectoryError):
    return None
  try:
    ledger = json.loads(content)
    for entries in ledger.values():
      for size, crc in entries:
        kind, digits = _parse(crc)
        int(size), int(digits, 16), _EXTEND[kind]
  except (LookupError, ValueError, TypeError, AttributeError) as error:
    # Of a run's own folder it is of the manifest, which is easily written.
    of_run = tables.MANIFEST.path(path.parent).exists()
    raise errors.InputError(
      f"{path} is damaged ({str(error)[:80]}): nothing tells whether the "
      f"files beside it are whole. Remove {path if of_run else path.parent} "
      "and run again: it is made anew."
    ) from error
  return ledger


def text(ledger: Ledger) -> bytes:
  """A ledger as it is written, a file a line.

  >>> print(text({"a": [[3, "crc32c:364b3fb7"]]}).decode(), end="")
  {
  "a": [[3, "crc32c:364b3fb7"]]
  }
  """
  lines = (
    f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(ledger[name])}"
    for name in sorted(ledger)
  )
  return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def check(path: epath.PathLike) -> None:
  """Compares a file with the ledger of its folder, once in a process.

  A folder without a ledger is none of ours: a model, a map from elsewhere.

  Raises:
    Damaged: the file is missing, not in the ledger, or not what was written.
  """
  path = epath.Path(path)
  ledger = read(path.parent)
  if ledger is None and path.exists():
    return
  reason = damage(path, (ledger or {}).get(path.name, []))
  if reason:
    raise Damaged(path, reason)


def is_whole(path: epath.PathLike) -> bool:
  """Whether a file is there, and is what was written.

  >>> is_whole("/no/such/file")
  False
  """
  try:
    check(path)
  except Damaged:
    return False
  return True


def check_folder(folder: epath.PathLike) -> None:
  """Compares all files that the ledger of a folder names with it.

  Raises:
    Damaged: as `check`; or the folder itself is missing.
  """
  if not epath.Path(folder).exists():
    raise Damaged(folder, "it is missing")
  for path, reason in find_damage(folder).items():
    raise Damaged(path, reason)


def find_damage(folder: epath.PathLike) -> dict[epath.Path, str]:
  """Files of a folder and of those in it that are not as their ledgers say.

  Returns:
    {path: what is wrong with it}; empty where all is whole.
  """
  folder = epath.Path(folder)
  folders = [folder, *(path for path in folder.iterdir() if path.is_dir())]
  paths, entries = [], []
  for own in folders:
    for name, known in (read(own) or {}).items():
      paths.append(own / name)
      entries.append(known)
  # Side by side: while one is waited for, others are read.
  with concurrent.futures.ThreadPoolExecutor() as pool:
    reasons = list(pool.map(damage, paths, entries))
  return {
    path: reason for path, reason in zip(paths, reasons, strict=True) if reason
  }


def damage(
  path: epath.Path,
  entries: list[list[Any]],
  advance: Callable[[int], object] = lambda size: None,
) -> str:
  """What is wrong with a file that is to be as one of the entries; "": nothing.

  Args:
    path: of the file.
    entries: of it in the ledger; [] where that does not name it.
    advance: called with the bytes that were read, a part at a time.

  >>> damage(epath.Path("/no/such/file"), [[3, "352441c2"]])
  'it is missing'
  """
  if buckets.is_remote(path):
    known = buckets.look(path)
    stamp: tuple[Any, ...] | None = known
  else:
    known, stamp = None, _stamp(path) if path.exists() else None
  if stamp is None:
    return "it is missing"
  if not entries:
    return f"{FILE} beside it does not name it"
  key = (stamp, *map(tuple, entries))
  if _SEEN.get(os.fspath(path)) == key:
    return ""
  size = stamp[0]
  if all(size != written for written, _ in entries):
    return f"it has {size:,} bytes, and {entries[0][0]:,} were written"
  found = {}
  for kind in sorted({_parse(crc)[0] for _, crc in entries}):
    if kind == _KIND and known is not None and known.crc32c is not None:
      found[kind] = known.crc32c  # The bucket has computed it.
      advance(size)
    else:
      found[kind] = _sum(path, kind, advance)
  if not any(
    [size, found[kind]] == [written, digits]
    for written, crc in entries
    for kind, digits in [_parse(crc)]
  ):
    kind, digits = _parse(entries[0][1])
    return f"its checksum is {found[kind]}, and {digits} was written"
  _SEEN[os.fspath(path)] = key
  return ""


def entry(path: epath.Path) -> list[Any]:
  """[bytes, CRC-32C] of a file as it is now, for a ledger."""
  known = buckets.look(path) if buckets.is_remote(path) else None
  crc = known.crc32c if known else None
  if crc is None:
    crc = _sum(path, _KIND, lambda size: None)
  return [path.stat().length, f"{_KIND}:{crc}"]


def _parse(crc: str) -> tuple[str, str]:
  """Which checksum an entry has, and its digits."""
  kind, _, digits = crc.rpartition(":")
  return kind or _OLD_KIND, digits


def _stamp(path: epath.Path) -> tuple[int, ...]:
  """Size, and what tells whether a local file was touched since."""
  stat = os.stat(path)
  return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _sum(path: epath.Path, kind: str, advance: Callable[[int], object]) -> str:
  crc = 0
  with path.open("rb") as file:
    while chunk := file.read(_CHUNK):
      crc = _EXTEND[kind](crc, chunk)
      advance(len(chunk))
  return f"{crc:08x}"
