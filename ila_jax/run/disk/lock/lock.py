"""One run a folder: a lock that names host, process and time.

On a disk of this machine the system holds it (flock), and it falls with its
process, however that ends. Where the system cannot tell, on gs:// and where
another machine left its note, a sign of life tells: who holds the lock renews
it every few seconds, and who finds it waits for that.
"""

import _thread
import contextlib
import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

from etils import epath

from ila_jax import errors
from ila_jax.run import progress
from ila_jax.run.disk import buckets, folders
from ila_jax.run.disk.lock import holder

# How long a lock of another machine is watched for a sign of life.
_PATIENCE_SECONDS = 60.0
# Two may take over the lock of a dead one at once: the last one has it.
_SETTLE_SECONDS = 2.0
# What file systems say that know no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def hold(folder: epath.PathLike) -> Iterator[None]:
  """Holds the lock of a folder that exists, to the end of the block.

  The lock of a process that has died is taken over, with a line that says so.

  Raises:
    errors.InputError: another process works there; the folder is unchanged.

  >>> import tempfile
  >>> with tempfile.TemporaryDirectory() as folder, hold(folder):
  ...   print([path.name for path in epath.Path(folder).iterdir()])
  ['.lock']
  """
  path = epath.Path(folder) / folders.LOCK
  note = holder.note()
  with contextlib.ExitStack() as stack:
    by_system = _lock_file(path, stack)
    before = holder.read(path)
    if before is not None:
      elsewhere = holder.machine(before) != holder.machine(note)
      sure = by_system and not elsewhere
      if not sure and holder.life(path, before) != "dead":
        _watch(path, before)
      progress.say(
        f"  {holder.told(before)} died and left its lock in {folder}: this run "
        "goes on"
      )
    content = json.dumps(note)
    if before is None and buckets.is_remote(path):
      if not buckets.create(path, content.encode()):
        raise _refusal(path, holder.read(path))
    else:
      path.write_text(content)
    if before is not None and not by_system:
      time.sleep(_SETTLE_SECONDS)
      if holder.read(path) != note:
        raise _refusal(path, holder.read(path))
    stack.callback(_release, path, note)
    stop = threading.Event()
    takers: list[dict[str, Any]] = []
    beat = threading.Thread(
      target=_beat, args=(path, note, stop, takers), daemon=True
    )
    beat.start()
    stack.callback(beat.join)
    stack.callback(stop.set)
    try:
      yield
    except KeyboardInterrupt as error:
      if not takers:
        raise
      raise errors.InputError(
        f"--workdir: {path} was taken by {holder.told(takers[0])}, and this "
        "run has ended; what was whole is kept. Let one run work in a folder, "
        "or use another --workdir."
      ) from error


def _lock_file(path: epath.Path, stack: contextlib.ExitStack) -> bool:
  """Whether the system holds the lock for us; False where it knows none."""
  if buckets.is_remote(path):
    return False
  while True:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    stack.callback(os.close, file)
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise _refusal(path, holder.read(path)) from None
    except OSError as error:
      if error.errno not in _NO_LOCKS:
        raise
      return False
    # Who held it may have removed the file before we had it.
    with contextlib.suppress(FileNotFoundError):
      if os.path.samestat(os.fstat(file), os.stat(path)):
        return True


def _watch(path: epath.Path, note: dict[str, Any]) -> None:
  """Returns when the holder is taken to be dead; refuses when it lives."""
  progress.say(
    f"  {path} is held by {holder.told(note)}: waiting up to "
    f"{_PATIENCE_SECONDS:.0f} s for a sign of life"
  )

  def state() -> tuple[Any, Any]:
    with contextlib.suppress(FileNotFoundError):
      remote = buckets.is_remote(path)
      renewed = path.stat().mtime if remote else os.stat(path).st_mtime_ns
      return holder.read(path), renewed
    return None, None

  first, end = state(), time.monotonic() + _PATIENCE_SECONDS
  while time.monotonic() < end:
    time.sleep(min(1.0, holder.BEAT_SECONDS))
    now = state()
    if now[0] is None:
      return  # It came to its end.
    if now != first:
      raise _refusal(path, now[0])


def _refusal(
  path: epath.Path, note: dict[str, Any] | None
) -> errors.InputError:
  who = "another run" if note is None else holder.told(note)
  command = note and note.get("command")
  return errors.InputError(
    f"--workdir: {path.parent} is in use by {who}"
    + (f", which runs `{command}`" if command else "")
    + ". Wait for its end, or use another --workdir. If its machine is gone "
    f"for good, remove {path}; nothing was changed."
  )


def _beat(
  path: epath.Path,
  note: dict[str, Any],
  stop: threading.Event,
  takers: list[dict[str, Any]],
) -> None:
  """Renews the lock; notes who else has taken it, and ends the run."""
  while not stop.wait(holder.BEAT_SECONDS):
    # A disk that is away for a moment is not the end of a run; the errors of a
    # bucket are of many kinds.
    with contextlib.suppress(Exception):
      theirs = holder.read(path)
      if theirs is not None and theirs != note:
        takers.append(theirs)
        _thread.interrupt_main()
        return
      if buckets.is_remote(path) or theirs is None:
        path.write_text(json.dumps(note))
      else:
        os.utime(path)


def _release(path: epath.Path, note: dict[str, Any]) -> None:
  with contextlib.suppress(Exception):  # It is silent then, and taken over.
    if holder.read(path) == note:
      path.unlink()
