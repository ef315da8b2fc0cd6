"""Copies of files in a bucket, on a disk of this machine.

Weights are read by slices and mapped into memory, which only a local file
allows.
"""

import errno
import os
from collections.abc import Callable

from etils import epath

from ila_jax import errors
from ila_jax.run import progress
from ila_jax.run.disk import buckets

_PART = 2**25


def copy(source: epath.PathLike, target: epath.PathLike) -> epath.Path:
  """Copies a file, or the files of a folder and of the folders in it.

  Args:
    source: in a bucket.
    target: local folder, which exists.

  Returns:
    The copy: `target` itself, or of a file the one in it.

  Raises:
    errors.InputError: the disk is full.
  """
  source, target = epath.Path(source), epath.Path(target)
  if not source.is_dir():
    kept = target / source.name
    places = {source: kept}
  else:
    places, kept = _of_folder(source, target), target
  try:
    with progress.counter(None, desc="copying", unit="MB") as advance:
      for path, copied in places.items():
        _copy(path, copied, advance)
  except OSError as error:
    if error.errno != errno.ENOSPC:
      raise
    need = sum(path.stat().length for path in places)
    raise errors.InputError(
      f"{source} is copied to {target}, and that disk is full: the copy needs "
      f"{need:,} bytes. Free space there, or name another folder for copies by "
      "TMPDIR."
    ) from error
  return kept


def _copy(
  path: epath.Path, target: epath.Path, advance: Callable[..., None]
) -> None:
  target.parent.mkdir(parents=True, exist_ok=True)
  with path.open("rb") as stream, target.open("wb") as file:
    while part := stream.read(_PART):
      file.write(part)
      advance(len(part) // 10**6)


def _of_folder(
  source: epath.Path, target: epath.Path
) -> dict[epath.Path, epath.Path]:
  """Each file of a folder, and of those in it, with the place of its copy."""
  found = {}
  for path in sorted(buckets.inside(source)):
    inside = sorted(buckets.inside(path)) if path.is_dir() else [path]
    for file in inside:
      if not file.is_dir():
        place = os.path.relpath(os.fspath(file), os.fspath(source))
        found[file] = target / place
  return found
