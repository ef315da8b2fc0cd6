"""The folder of an export: whole or absent, and never over other files."""

import contextlib
import json
import os
import pathlib
import shutil
import zlib
from collections.abc import Iterator

import ila_jax
from ila_jax import errors
from ila_jax.run.disk import folders

# It tells an export, and notes size and CRC-32 of its files.
NOTE = "ila_export.json"
_KEY = "ila_jax"
_BLOCK = 1 << 20


@contextlib.contextmanager
def replacing(target: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields an empty folder beside `target`, which becomes it when all is done.

  What an earlier export wrote there is replaced. If the block raises, all is
  as it was. Only where the process is killed outright, a folder with a name of
  the form `.NAME.*.tmp` may be left.

  Raises:
    errors.InputError: `target` holds what no export wrote.
  """
  check_free(target)
  target.parent.mkdir(parents=True, exist_ok=True)
  fresh = pathlib.Path(folders.temporary(target))
  fresh.mkdir()
  try:
    yield fresh
    _note(fresh)
    check_free(target)
    _swap(fresh, target)
  except BaseException:
    shutil.rmtree(fresh, ignore_errors=True)
    raise


def _swap(fresh: pathlib.Path, target: pathlib.Path) -> None:
  old = pathlib.Path(folders.temporary(target))
  if target.exists():
    target.rename(old)
  try:
    fresh.rename(target)
  except BaseException:
    if old.exists():
      old.rename(target)
    raise
  shutil.rmtree(old, ignore_errors=True)


def check_free(target: pathlib.Path) -> None:
  """Makes sure that nothing is lost if a folder is replaced.

  Raises:
    errors.InputError: it holds files that no export wrote, or that were changed
      since; names one.

  >>> check_free(pathlib.Path("no/such/folder"))
  """
  if not target.exists() and not target.is_symlink():
    return
  if not target.is_dir():
    raise _refusal(target, "is a file")
  files = list(_files(target))
  if not files and not any(target.iterdir()):
    return
  note = target / NOTE
  try:
    known = json.loads(note.read_text(encoding="utf-8"))
    noted = known["files"]
    is_ours = _KEY in known and isinstance(noted, dict)
  except (OSError, ValueError, KeyError, TypeError):
    is_ours = False
  if not is_ours:
    first = min(target.iterdir()).name
    raise _refusal(target, f"holds {first}, and no {NOTE} of an export")
  for name in files:
    if name != NOTE and noted.get(name) != _entry(target / name):
      raise _refusal(
        target,
        f"holds {name}, which no export wrote or which was changed since",
      )


def _refusal(target: pathlib.Path, why: str) -> errors.InputError:
  return errors.InputError(
    f"--out: {target} {why}. Allowed: a new or empty folder, or that of an "
    "earlier export, which is replaced. Move it away, or give another --out; "
    "nothing was changed."
  )


def _files(folder: pathlib.Path) -> Iterator[str]:
  for path in sorted(folder.iterdir()):
    if path.is_dir() and not path.is_symlink():
      yield from (f"{path.name}/{name}" for name in _files(path))
    else:
      yield path.name


def _entry(path: pathlib.Path) -> list[int]:
  """Size and CRC-32 of a file."""
  size, checksum = 0, 0
  with path.open("rb") as file:
    while block := file.read(_BLOCK):
      size, checksum = size + len(block), zlib.crc32(block, checksum)
  return [size, checksum]


def _note(folder: pathlib.Path) -> None:
  """Notes the files of a folder, once they are on the disk."""
  noted = {}
  for name in list(_files(folder)):
    noted[name] = _entry(folder / name)
    _sync(folder / name)
  content = {_KEY: ila_jax.__version__, "files": noted}
  text = json.dumps(content, indent=2, ensure_ascii=False)
  (folder / NOTE).write_text(text + "\n", encoding="utf-8")
  _sync(folder / NOTE)


def _sync(path: pathlib.Path) -> None:
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
