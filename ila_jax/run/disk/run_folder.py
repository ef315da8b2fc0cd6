"""The folder of a run: whether it is ours, its lock, what dead runs left."""

import contextlib
import hashlib
import socket
import time
from collections.abc import Iterator, Sequence

from etils import epath

import ila_jax
from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.run import progress, stage_record, tables
from ila_jax.run.disk import buckets, files, folders
from ila_jax.run.disk.lock import lock

# How long a network file system may keep what one host wrote from another.
_SEEN_SECONDS = 30
# Where --redo keeps what it replaces, until the new one is whole.
OLD = ".old"


@contextlib.contextmanager
def claim(workdir: epath.Path, names: Sequence[str]) -> Iterator[None]:
  """Holds a folder for one run alone; makes it where it is missing.

  The first host claims it for all. What killed processes left of files and
  folders that a run writes goes.

  Args:
    workdir: local or gs://.
    names: of the folders that a run writes in it.

  Raises:
    errors.InputError: the folder is something else's, cannot be made, or is
      in use, and nothing is changed; or another host does not see it.
  """
  with contextlib.ExitStack() as stack:
    mesh.first_host_does(_claim, workdir, names, stack)
    _check_seen(workdir)
    yield


def _claim(
  workdir: epath.Path, names: Sequence[str], stack: contextlib.ExitStack
) -> None:
  waits = f"  waiting for {workdir}; a bucket has a minute to answer"
  with progress.if_slow(waits):
    _make(workdir, names)
  stack.enter_context(lock.hold(workdir))
  _write_manifest(workdir)
  folders.sweep_files(workdir)
  old = workdir / OLD
  for name in {*names, *folders.on_demand(workdir), *folders.on_demand(old)}:
    folders.sweep(workdir / name)
    folders.sweep(old / name)


def prepare(workdir: epath.Path, names: Sequence[str]) -> None:
  """Makes a folder for a run to come, in which others work side by side.

  Args:
    workdir: local or gs://.
    names: of the folders that a run writes in it.

  Raises:
    errors.InputError: the folder is something else's, or cannot be made.
  """
  _make(workdir, names)
  _write_manifest(workdir)


def _make(workdir: epath.Path, names: Sequence[str]) -> None:
  folders.check_readable(workdir)
  if workdir.exists() and not workdir.is_dir():
    raise errors.InputError(
      f"--workdir is {workdir}, which is a file; give a folder."
    )
  _check_ours(workdir, names)
  try:
    buckets.make(workdir)
  except OSError as error:
    raise errors.InputError(
      f"--workdir is {workdir}, which cannot be made ({error.strerror}). "
      "Give a folder that you may write."
    ) from error


def _write_manifest(workdir: epath.Path) -> None:
  manifest = tables.MANIFEST.path(workdir)
  if not manifest.exists():
    files.write_json(manifest, {tables.OURS: ila_jax.__version__})


def _check_seen(workdir: epath.Path) -> None:
  """Refuses a folder that another host does not have as the first has it."""
  first = mesh.tell(_manifest_hash(workdir))[0]
  deadline = time.monotonic() + _SEEN_SECONDS
  while (is_other := _manifest_hash(workdir) != first) and (
    time.monotonic() < deadline
  ):
    time.sleep(0.2)
  others = [name for name in mesh.tell(socket.gethostname() * is_other) if name]
  if others:
    raise errors.InputError(
      f"--workdir is {workdir}, and what the first host writes there is not "
      f"there on {', '.join(map(repr, others))}; allowed: a folder that all "
      "hosts share, of gs:// or a network file system."
    )


def _manifest_hash(workdir: epath.Path) -> str:
  path = tables.MANIFEST.path(workdir)
  content = path.read_bytes() if path.exists() else b""
  return hashlib.sha256(content).hexdigest()


def _check_ours(workdir: epath.Path, names: Sequence[str]) -> None:
  """Refuses a folder that holds what no run made."""
  if not folders.visible(workdir):
    return
  manifest = tables.MANIFEST.path(workdir)
  if manifest.exists():
    try:
      content = files.read_json(manifest)
    except errors.InputError as error:
      raise errors.InputError(
        f"{manifest} is damaged. Remove it and run again: it is written anew; "
        "nothing was changed."
      ) from error
    if isinstance(content, dict) and tables.OURS in content:
      return
    what = f"a {manifest.name} that ila_jax did not write"
  elif any(_is_stage(workdir / name) for name in names):
    return  # Its manifest was lost, and is written anew.
  else:
    what = f"files and no {manifest.name}"
  raise errors.InputError(
    f"--workdir is {workdir}, which holds {what}: it is not a folder of "
    "ila_jax. Give an empty or new folder; nothing was changed."
  )


def _is_stage(folder: epath.Path) -> bool:
  try:
    return bool(stage_record.read_record(folder))
  except errors.InputError:
    return False


def drop_old(workdir: epath.Path) -> None:
  """Removes the folder of what was set aside, once nothing is in it."""
  for name in (*folders.ON_DEMAND, ""):
    old = workdir / OLD / name
    if old.exists() and not any(old.iterdir()):
      old.rmdir()
