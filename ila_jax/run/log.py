"""What a run has said and what it is at, in its folder: log.txt, progress.json.

The first host writes both. Every run that works in the folder adds to the log;
`progress.json` is there while one does, and `ila status` reads it. No run ends
because one of them cannot be written.
"""

import collections
import contextlib
import datetime
import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from ila_jax import errors
from ila_jax.run import tables
from ila_jax.run.disk import buckets, folders

# Between two writings of progress.json, and of a log on gs://.
_SECONDS = 10.0
# Lines that are said before the folder of the run is known to be its own.
_EARLY = 200


class _Log:
  """The log of the run that works in this process.

  Attributes:
    early: lines that were said before the log was opened.
    stage: that the run is at, and since when.
    works: what tells how far each work is, the outer ones first.
  """

  def __init__(self) -> None:
    self.early: collections.deque[str] = collections.deque(maxlen=_EARLY)
    self.stage: tuple[str, str] | None = None
    self.works: list[Callable[[], dict[str, Any]]] = []
    self._path: epath.Path | None = None
    # A file on gs:// is written as a whole: what it is to hold, and holds.
    self._whole: str | None = None
    self._saved = ""
    self._failed = False
    self._lock = threading.RLock()

  def open(self, path: epath.Path, first: str) -> None:
    """Begins to write: a first line, and those that were said before."""
    with self._lock, self._no_error():
      self._path, self._failed = path, False
      content = path.read_bytes() if path.exists() else b""
      if buckets.is_remote(path):
        self._whole = self._saved = content.decode(errors="replace")
      if content and not content.endswith(b"\n"):
        first = f"\n{first}"  # After a line that a full disk has cut.
      self.add("".join((first, *self.early)))
      # Of one that was killed.
      tables.PROGRESS.path(path.parent).unlink(missing_ok=True)
    self.early.clear()

  def add(self, text: str) -> None:
    """Adds whole lines."""
    with self._lock, self._no_error():
      if self._path is None:
        self.early.append(text)
      elif self._whole is not None:
        self._whole += text
      else:
        _append(self._path, text)

  def save(self) -> None:
    """Writes progress.json, and a log on gs:// that has grown."""
    # Not at any price: a disk that hangs is no reason not to end.
    if not self._lock.acquire(timeout=_SECONDS):
      return
    try:
      with self._no_error():
        if self._path is not None:
          self._save(self._path)
    finally:
      self._lock.release()

  def _save(self, path: epath.Path) -> None:
    if self._whole not in (None, self._saved):
      path.write_text(self._whole)
      self._saved = self._whole
    if self.stage is not None:
      stage, since = self.stage
      works = [work() for work in tuple(self.works)]
      state = {"stage": stage, "since": since, "works": works}
      _replace(tables.PROGRESS.path(path.parent), json.dumps(state) + "\n")

  def close(self) -> None:
    """Writes no more: the run is over."""
    self.stage = None
    self.save()
    with self._lock, self._no_error():
      tables.PROGRESS.path(self._path.parent).unlink(missing_ok=True)
    self._path = self._whole = None

  @contextlib.contextmanager
  def _no_error(self) -> Iterator[None]:
    """Tells of the first thing that goes wrong, and lets the run go on."""
    try:
      yield
    except Exception as error:  # Those of gs:// are no OSErrors.
      if not self._failed:
        said = f"  warning: {self._path} cannot be written ({error})"
        print(said, file=sys.stderr, flush=True)
      self._failed = True


_log = _Log()


def begin() -> None:
  """Keeps what is said from here on, for the log that `kept` opens."""
  _log.early.clear()


@contextlib.contextmanager
def kept(workdir: epath.PathLike) -> Iterator[None]:
  """Writes `log.txt` and `progress.json` to the end of the block.

  How the block ends is written too: of a bug with where it was.

  Args:
    workdir: local or gs://; this process alone works there.

  >>> import tempfile
  >>> begin()
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   with kept(folder):
  ...     write("hello")
  ...   lines = (epath.Path(folder) / "log.txt").read_text().splitlines()
  >>> [line[22:27] for line in lines]
  ['run b', 'hello', 'ended']
  """
  who = f"process {os.getpid()} on host {socket.gethostname()!r}"
  first = _lines(f"run by {who}: {' '.join(sys.argv)[:500]}")
  _log.open(tables.LOG.path(workdir), first)
  stop = threading.Event()
  saver = threading.Thread(target=_save, args=(stop,), daemon=True)
  saver.start()
  try:
    yield
    write("ended: done")
  except BaseException as error:
    write(f"ended: {_told(error)}")
    raise
  finally:
    stop.set()
    saver.join()
    _log.close()


def _told(error: BaseException) -> str:
  if isinstance(error, KeyboardInterrupt):
    return "; ".join(filter(None, (str(error), getattr(error, "kept", ""))))
  if isinstance(error, errors.InputError | OSError):
    return str(error)
  return "".join(traceback.format_exception(error))


def _save(stop: threading.Event) -> None:
  while not stop.wait(_SECONDS):
    _log.save()


def write(message: str) -> None:
  """Adds what was said, line by line, with the time (UTC)."""
  _log.add(_lines(message))


def _lines(text: str) -> str:
  time = _now().replace("+00:00", "Z").replace("T", " ")
  text = text.encode(errors="replace").decode()
  return "".join(
    f"{time}  {line.rstrip()}\n" for line in text.splitlines() if line.strip()
  )


def save() -> None:
  """Writes what waits to be written: this process is about to end."""
  _log.save()


def enter(stage: str) -> None:
  """Notes the stage that the run is at."""
  _log.stage = stage, _now()
  _log.save()


@contextlib.contextmanager
def at_work(state: Callable[[], dict[str, Any]]) -> Iterator[None]:
  """Notes some work to the end of the block.

  Args:
    state: how far it is: `what`, `done`, `total`, `unit`, `seconds`, `left`.
  """
  _log.works.append(state)
  try:
    yield
  finally:
    _log.works.remove(state)


def _now() -> str:
  return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _append(path: epath.Path, text: str) -> None:
  with open(path, "a", encoding="utf-8") as file:
    file.write(text)


def _replace(path: epath.Path, content: str) -> None:
  """Writes a small file whole or not at all; no need for it to be on disk."""
  if buckets.is_remote(path):
    path.write_text(content)
    return
  temporary = folders.temporary(path)
  try:
    temporary.write_text(content)
    temporary.replace(path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise
