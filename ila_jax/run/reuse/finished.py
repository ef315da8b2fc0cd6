"""Finished stages of other runs, copied where they were made of the same.

Runs that differ in one field have most stages in common. What a stage is made
from stands in its record, so a folder whose record has the same inputs holds
what this run would make.
"""

import contextlib
import contextvars
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from etils import epath

from ila_jax import errors
from ila_jax.run import progress, stages, tables
from ila_jax.run.disk import buckets, checksums, files, folders


class _Reused(NamedTuple):
  """The run that works in this process, and those that it may copy from."""

  workdir: epath.Path
  others: tuple[epath.Path, ...]


_REUSED: contextvars.ContextVar[_Reused | None] = contextvars.ContextVar(
  "reused", default=None
)


@contextlib.contextmanager
def from_runs(
  workdir: epath.PathLike, others: Sequence[epath.PathLike]
) -> Iterator[None]:
  """A block in which stages that other runs have finished are copied.

  Args:
    workdir: of the run that the block runs.
    others: workdirs of other runs, finished or not; the first that has a stage
      counts. One that is not there is left out.

  >>> with from_runs("runs/second", ["runs/first"]):
  ...   pass
  """
  own = epath.Path(workdir)
  paths = tuple(epath.Path(path) for path in others)
  token = _REUSED.set(_Reused(own, tuple(p for p in paths if p != own)))
  try:
    yield
  finally:
    _REUSED.reset(token)


def take(
  folder: epath.Path,
  inputs: dict[str, Any],
  versions: dict[str, str],
  scope: Any,
  *,
  read: Callable[[epath.Path], dict[str, Any]],
) -> dict[str, Any]:
  """Copies the folder of a stage from the first other run that has the same.

  A kill leaves a copy that is marked as one to be removed. Whether each file is
  what was written is for the caller to look at.

  Args:
    folder: of a stage in the workdir of `from_runs`, which is not there yet.
    inputs: what the stage is made from.
    versions: of what makes it.
    scope: how much of it is to be made. Where it says of a name, such as an
      arm's, something else than the other run's, that has not the same.
    read: reads the record of a stage, as `stage_record.read_record`.

  Returns:
    The record of the copy, with `copied_from`; a base from scratch by which it
    was made is copied, too. {} where no other run has it, or
    none was named.
  """
  for theirs in _places(folder):
    try:
      record = read(theirs)
    except errors.InputError:
      continue  # What is damaged there is made here.
    is_same = record.get("done") and record["inputs"] == inputs
    is_same = is_same and _agree(record.get("scope"), scope)
    if is_same and record.get("versions") == versions:
      progress.say(f"  copied from {theirs}, which was made of the same")
      _take_base(theirs, folder, read)
      return _copied(theirs, folder, record)
  return {}


def _agree(theirs: Any, ours: Any) -> bool:
  """Whether two scopes say the same of each name that stands in both.

  >>> _agree({"arms": {"a": 1, "b": 2}}, {"arms": {"b": 2, "c": 3}})
  True
  >>> _agree({"arms": {"a": 1}}, {"arms": {"a": 2}})
  False
  """
  if not (isinstance(theirs, dict) and isinstance(ours, dict)):
    return True
  return all(
    theirs[part].get(name, value) == value
    for part in theirs.keys() & ours.keys()
    if isinstance(theirs[part], dict)
    for name, value in ours[part].items()
  )


def _take_base(
  theirs: epath.Path,
  folder: epath.Path,
  read: Callable[[epath.Path], dict[str, Any]],
) -> None:
  """Copies a base from scratch with what was made by it, if there is none."""
  below = folder.relative_to(_REUSED.get().workdir)
  if not stages.use_base({below.parts[0]} - {stages.BASE}):
    return
  up = len(below.parts) - 1
  base, own = (path.parents[up] / stages.BASE for path in (theirs, folder))
  with contextlib.suppress(errors.InputError):  # What is damaged is made.
    record = read(base)
    if record.get("done") and not own.exists():
      _copied(base, own, record)


def _copied(
  source: epath.Path, target: epath.Path, record: dict[str, Any]
) -> dict[str, Any]:
  _copy_marked(source, target)
  record = record | {"copied_from": str(source)}
  files.write_json(target / tables.RECORD.file(), record)
  return record


def take_programs(folder: epath.PathLike) -> None:
  """Copies compiled programs of another run, those in its ledger alone.

  Args:
    folder: of the programs in the workdir of `from_runs`; left as it is where
      it is there.
  """
  folder = epath.Path(folder)
  folders.finish_removal(folder)
  if folder.exists():
    return
  for theirs in _places(folder):
    if checksums.read(theirs):
      names = {*checksums.read(theirs), checksums.FILE}
      _copy_marked(theirs, folder, only=names)
      return


def _places(folder: epath.Path) -> Iterator[epath.Path]:
  """Where the other runs have what this one has in a folder."""
  reused = _REUSED.get()
  if reused is not None and folder.is_relative_to(reused.workdir):
    for other in reused.others:
      yield other / folder.relative_to(reused.workdir)


def _copy_marked(
  source: epath.Path, target: epath.Path, only: set[str] | None = None
) -> None:
  with folders.marked(target):
    _copy(source, target, only)


def _copy(
  source: epath.Path, target: epath.Path, only: set[str] | None = None
) -> None:
  """Copies what is visible in a folder, its ledger, and folders in it."""
  buckets.make(target)
  paths = folders.visible(source) | {source / checksums.FILE}
  for path in sorted(paths):
    if only is not None and path.name not in only:
      continue
    if path.is_dir():
      if not tables.CHECKPOINTS.matches(f"{source.name}/{path.name}/"):
        _copy(path, target / path.name)
    elif path.exists():
      _copy_file(path, target / path.name)


def _copy_file(source: epath.Path, target: epath.Path) -> None:
  """Copies a file; on one disk it is the same file under a second name.

  That is safe: a run replaces files, and never writes into one.
  """
  if buckets.is_remote(source) and buckets.is_remote(target):
    buckets.copy(source, target)
    return
  if buckets.is_remote(source) or buckets.is_remote(target):
    with source.open("rb") as read, target.open("wb") as write:
      shutil.copyfileobj(read, write)
    return
  try:
    os.link(source, target)
  except OSError:  # Of another disk, or one without links.
    shutil.copyfile(source, target)
