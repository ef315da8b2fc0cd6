"""Folders that are whole, or are known to be on their way out.

A folder that is removed gets a mark first, and loses it last: what a killed
process left of it is recognised, and removed to the end by the next one.
"""

import contextlib
import re
import secrets
from collections.abc import Iterator, Sequence

from etils import epath

from ila_jax import errors
from ila_jax.run import tables
from ila_jax.run.disk import buckets, checksums

# In a folder that is being removed.
_MARK = ".removed"
# The first form is that of version 0.1, which knew processes only.
_TEMPORARY = re.compile(r"\..+\.(\d+|[0-9a-f]{16})\.tmp")
# Files that a run keeps beside its content, and that are nobody's content.
LOCK = ".lock"
# What file browsers leave everywhere, and nobody misses.
_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")
# What some runs need and no stage makes: signals, and sets beside the pool.
# Each lies in a folder of its own with a record, like a stage.
SIGNALS, BESIDE = "signals", "beside"
ON_DEMAND = (SIGNALS, BESIDE)


def temporary(path: epath.PathLike) -> epath.Path:
  """A name beside `path` for a file that is not whole yet, never given twice.

  >>> temporary("runs/first/manifest.json").name[:15]
  '.manifest.json.'
  """
  path = epath.Path(path)
  return path.parent / f".{path.name}.{secrets.token_hex(8)}.tmp"


def check_readable(workdir: epath.PathLike) -> None:
  """Makes sure that a package is there for folders of this kind.

  Raises:
    errors.InputError: there is none.

  >>> check_readable("no/such/folder")
  """
  try:
    epath.Path(workdir).exists()
  except ImportError as error:
    raise errors.InputError(
      f"--workdir is {workdir}, and gcsfs, which reads such paths, is not "
      "installed: pip install gcsfs, or give a local folder."
    ) from error


def visible(folder: epath.PathLike) -> set[epath.Path]:
  """What is in a folder, but for lock, ledger and what dead writers left."""
  folder = epath.Path(folder)
  if not folder.exists():
    return set()
  return {
    path
    for path in buckets.inside(folder)
    if path.name not in (LOCK, _MARK, checksums.FILE)
    and not _TEMPORARY.fullmatch(path.name)
  }


def on_demand(
  workdir: epath.PathLike, kinds: Sequence[str] = ON_DEMAND
) -> list[str]:
  """The signals and sets that a run has begun, as folders in its own.

  Args:
    workdir: of the run.
    kinds: of `ON_DEMAND`.

  >>> on_demand("no/such/folder")
  []
  """
  found = []
  for kind in kinds:
    folder = epath.Path(workdir) / kind
    if folder.exists():
      names = sorted(path.name for path in folder.iterdir() if path.is_dir())
      found += [f"{kind}/{name}" for name in names]
  return found


def theirs(folder: epath.PathLike) -> list[epath.Path]:
  """Files in a folder of artifacts, and below, that no run has made.

  A run notes each of its files in the ledger of the folder, but for those of a
  checkpoint, which has a folder of its own.

  >>> import tempfile
  >>> folder = epath.Path(tempfile.mkdtemp())
  >>> (folder / "notes.txt").write_text("mine")
  4
  >>> [path.name for path in theirs(folder)]
  ['notes.txt']
  """
  folder = epath.Path(folder)
  ledger = checksums.read(folder) or {}
  others = []
  for path in sorted(visible(folder)):
    if path.name in ledger or path.name in _LITTER:
      continue
    if not path.is_dir():
      others.append(path)
    elif not tables.CHECKPOINTS.matches(f"{folder.name}/{path.name}/"):
      others += theirs(path)
  return others


def remove(folder: epath.PathLike) -> None:
  """Removes a folder with all that is in it, so that a kill leaves no riddle.

  >>> import tempfile
  >>> folder = epath.Path(tempfile.mkdtemp())
  >>> (folder / "file").write_text("text")
  4
  >>> remove(folder)
  >>> folder.exists()
  False
  """
  folder = epath.Path(folder)
  (folder / _MARK).write_text("")
  for path in sorted(buckets.inside(folder)):
    if path.name == _MARK:
      continue
    if path.is_dir():
      path.rmtree()
    else:
      path.unlink()
  folder.rmtree()


def move(folder: epath.PathLike, target: epath.PathLike) -> None:
  """Moves a folder; a kill leaves it whole in one place or in both.

  On gs://, where a folder cannot be renamed, it is copied, and the copy is
  marked as one to be removed until it is whole.
  """
  folder, target = epath.Path(folder), epath.Path(target)
  if not buckets.is_remote(folder):
    buckets.make(target.parent)
    folder.rename(target)
    return
  with marked(target):
    _copy(folder, target)
  remove(folder)


@contextlib.contextmanager
def marked(folder: epath.PathLike) -> Iterator[None]:
  """A block that fills a new folder; a kill leaves one that is to be removed.

  >>> import tempfile
  >>> folder = epath.Path(tempfile.mkdtemp()) / "stage"
  >>> with marked(folder):
  ...   (folder / "file").write_text("text")
  4
  >>> [path.name for path in folder.iterdir()]
  ['file']
  """
  folder = epath.Path(folder)
  buckets.make(folder)
  (folder / _MARK).write_text("")
  yield
  (folder / _MARK).unlink()


def _copy(folder: epath.Path, target: epath.Path) -> None:
  for path in folder.iterdir():
    if path.is_dir():
      _copy(path, target / path.name)
    else:
      buckets.copy(path, target / path.name)


def finish_removal(folder: epath.PathLike) -> None:
  """Removes what a killed `remove` or `move` left of a folder, if it did."""
  folder = epath.Path(folder)
  if (folder / _MARK).exists():
    remove(folder)


def sweep(folder: epath.PathLike) -> None:
  """Removes what dead writers left in a folder, and in the folders in it.

  Only one process may work there: the temporary files of a living one would
  go too.
  """
  folder = epath.Path(folder)
  finish_removal(folder)
  if not folder.exists():
    return
  for path in sorted(folder.iterdir()):
    if path.is_dir():
      finish_removal(path)
      sweep_files(path)
  sweep_files(folder)


def sweep_files(folder: epath.PathLike) -> None:
  """Removes the temporary files of dead writers from one folder."""
  folder = epath.Path(folder)
  for path in sorted(folder.iterdir()) if folder.exists() else ():
    if _TEMPORARY.fullmatch(path.name) and not path.is_dir():
      path.unlink()
