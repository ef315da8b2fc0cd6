"""Files that are what was written: a folder's ledger of sizes and checksums.

Each folder of artifacts holds `checksums.json`: of every file its bytes and
its CRC-32, `{"scores.parquet": [[5120, "9ae0daaf"]]}`. An entry is written
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

from etils import epath

from ila_jax import errors
from ila_jax.run import tables

FILE = tables.CHECKSUMS.file(folder="")
# Bytes that are read at once.
_CHUNK = 2**16
# Files that this process has found whole, as they were then.
_SEEN: dict[str, tuple[Any, ...]] = {}

Ledger = dict[str, list[list[Any]]]


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
  (3, [3, '352441c2'])
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
    self._crc = zlib.crc32(view, self._crc)
    return len(view)

  @property
  def entry(self) -> list[Any]:
    """[bytes, CRC-32], as the ledger has them."""
    return [self._size, f"{self._crc:08x}"]


def read(folder: epath.PathLike) -> Ledger | None:
  """The ledger of a folder; None where there is none.

  Raises:
    errors.InputError: the ledger itself is damaged.
  """
  path = epath.Path(folder) / FILE
  if not path.exists():
    return None
  try:
    ledger = json.loads(path.read_bytes())
    for entries in ledger.values():
      for size, crc in entries:
        int(size), int(crc, 16)
  except (ValueError, TypeError, AttributeError) as error:
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

  >>> print(text({"a": [[3, "352441c2"]]}).decode(), end="")
  {
  "a": [[3, "352441c2"]]
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
  # Files are hashed side by side: zlib lets go of the interpreter.
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
  if not path.exists():
    return "it is missing"
  if not entries:
    return f"{FILE} beside it does not name it"
  key = (_stamp(path), *map(tuple, entries))
  if _SEEN.get(os.fspath(path)) == key:
    return ""
  size = path.stat().length
  if all(size != known for known, _ in entries):
    return f"it has {size:,} bytes, and {entries[0][0]:,} were written"
  crc = _crc(path, advance)
  if [size, crc] not in entries:
    return f"its checksum is {crc}, and {entries[0][1]} was written"
  _SEEN[os.fspath(path)] = key
  return ""


def entry(path: epath.Path) -> list[Any]:
  """[bytes, CRC-32] of a file as it is now, for a ledger."""
  return [path.stat().length, _crc(path, lambda size: None)]


def _stamp(path: epath.Path) -> tuple[int, ...]:
  """Tells whether a file was touched since it was looked at."""
  if "://" in os.fspath(path):
    stat = path.stat()
    return stat.length, stat.mtime
  stat = os.stat(path)
  return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _crc(path: epath.Path, advance: Callable[[int], object]) -> str:
  crc = 0
  with path.open("rb") as file:
    while chunk := file.read(_CHUNK):
      crc = zlib.crc32(chunk, crc)
      advance(len(chunk))
  return f"{crc:08x}"
