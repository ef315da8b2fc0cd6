"""SHA-256 of whole files; a large one is read again only when it changed.

What is known is kept in a file of the run, by path, size, times and inode.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Sequence
from typing import Any

from etils import epath

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.run import progress, tables
from ila_jax.run.disk import buckets
from ila_jax.run.disk import files as files_lib

# Smaller files are read each time: that costs little, and needs no trust.
_KEPT_BYTES = 2**20
# A file may change twice within one tick of its file system's clock; what was
# written a moment ago is not relied on.
_SETTLED_SECONDS = 2.0
_CHUNK_BYTES = 2**23


def of_files(
  files: Sequence[epath.PathLike], *, workdir: epath.PathLike | None = None
) -> list[dict[str, Any]]:
  """Size and hash of each file, of all of its bytes.

  Args:
    files: local or on gs://.
    workdir: folder of a run, which keeps the hashes of large files; None reads
      every file.

  Returns:
    {"bytes": size, "sha256": hexadecimal digest} of each, as sha256sum and
    the Hub give it.

  Raises:
    errors.InputError: a pipe, a device or what else has no end.

  >>> import tempfile
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   file = epath.Path(folder) / "file"
  ...   _ = file.write_text("abc")
  ...   of_files([file])[0]["sha256"][:16]
  'ba7816bf8f01cfea'
  """
  known = {} if workdir is None else _read(tables.HASHES.path(workdir))
  before = dict(known)
  try:
    with progress.counter(None, desc="hashing", unit="MB") as advance:
      return [_of_file(epath.Path(file), known, advance) for file in files]
  finally:
    # Also when it is ended early: what is known of 15 GB stays known.
    if workdir is not None and known != before and mesh.is_writer():
      files_lib.write_json(tables.HASHES.path(workdir), known)


def _of_file(
  file: epath.Path, known: dict[str, Any], advance: Callable[[int], None]
) -> dict[str, Any]:
  name = str(file) if buckets.is_remote(file) else os.path.abspath(file)
  state = _state(file)
  size = state[0]
  kept = known.get(name)
  if kept and kept[0] == state:
    return {"bytes": size, "sha256": kept[1]}
  digest = _digest(file, advance)
  if size >= _KEPT_BYTES and _settled(state) and _state(file) == state:
    known[name] = [state, digest]
  return {"bytes": size, "sha256": digest}


def _state(file: epath.Path) -> list[int]:
  """Size, times in nanoseconds, inode: what any change of a file changes."""
  if buckets.is_remote(file):
    status = file.stat()
    return [status.length, int(status.mtime * 1e9)]
  status = os.stat(file)
  if not stat.S_ISREG(status.st_mode):
    raise errors.InputError(
      f"{file} is no regular file (a pipe, a device or a socket); allowed: "
      "files. Copy its content to a file, and name that."
    )
  # The time of the last change of the inode (ctime) cannot be set back.
  return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _settled(state: list[int]) -> bool:
  return time.time() - max(state[1:3]) / 1e9 > _SETTLED_SECONDS


def _digest(file: epath.Path, advance: Callable[[int], None]) -> str:
  digest, said = hashlib.sha256(), 0
  with file.open("rb") as stream:
    while chunk := stream.read(_CHUNK_BYTES):
      digest.update(chunk)
      said += len(chunk)
      advance(said // 10**6)
      said %= 10**6
  return digest.hexdigest()


def _read(path: epath.Path) -> dict[str, Any]:
  """What is known; a file that is damaged costs time, and nothing else."""
  try:
    known = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return known if isinstance(known, dict) else {}
