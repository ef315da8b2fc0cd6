"""One run of a sweep in a process of its own, which can be stopped."""

import collections
import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ila_jax import errors

# Lines of a traceback that are kept to tell what went wrong.
_LINES = 20
_OURS = "ila_jax: "
# Seconds after which a signal is heard at the latest.
_STEP = 0.5
# By these `ila` tells that it was stopped: SIGINT and SIGTERM.
STOPPED = (130, 143)


class Ended(NamedTuple):
  """What became of a run.

  Attributes:
    status: exit status; above 128 that of a shell, 128 and the signal.
    seconds: that it took.
    message: what it said of an error; "" where it is done.
  """

  status: int
  seconds: float
  message: str

  @property
  def ends_sweep(self) -> bool:
    """Whether the points after it have to wait: it was stopped, or is alone."""
    return self.status in (*STOPPED, errors.LOST)


class Stopper:
  """Passes SIGINT and SIGTERM on to the run that is at work."""

  def __init__(self) -> None:
    self.asked: int | None = None
    self._process: subprocess.Popen | None = None

  def _on_signal(self, number: int, frame: Any) -> None:
    del frame
    self.asked = number
    if self._process is not None:
      with contextlib.suppress(ProcessLookupError):
        self._process.send_signal(number)

  @contextlib.contextmanager
  def listening(self) -> Iterator[None]:
    """A block in which it listens; for the main thread."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, self._on_signal) for number in numbers]
    try:
      yield
    finally:
      for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)

  def run(self, command: Sequence[str]) -> Ended:
    """Runs a command to its end; what it says on stderr is shown here.

    Args:
      command: the program and its words.
    """
    begin = time.monotonic()
    # A group of its own: Ctrl-C comes here, and is passed on once.
    with subprocess.Popen(
      command,
      stderr=subprocess.PIPE,
      text=True,
      errors="replace",
      start_new_session=True,
    ) as process:
      self._process = process
      if self.asked is not None:  # It came before there was a process.
        process.send_signal(self.asked)
      said: collections.deque[str] = collections.deque(maxlen=_LINES)
      reader = threading.Thread(target=_show, args=(process.stderr, said))
      reader.start()
      # In steps: a signal that comes just before a long wait is heard after it.
      status = None
      while status is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
          status = process.wait(_STEP)
      reader.join()
      self._process = None
    status = 128 - status if status < 0 else status
    seconds = time.monotonic() - begin
    return Ended(status, seconds, message([*said]) if status else "")


def _show(lines: Iterable[str], said: collections.deque[str]) -> None:
  """Shows what a run says on stderr, as it comes, and keeps the last of it."""
  for line in lines:
    sys.stderr.write(line)
    sys.stderr.flush()
    said.append(line.rstrip())


def message(lines: Sequence[str]) -> str:
  """What a run that failed has said of it: its message, or its last line.

  >>> message(["  reading", "ila_jax: config.x is 1; allowed: 2."])
  'config.x is 1; allowed: 2.'
  >>> message(["Traceback ...", "ValueError: a bug", ""])
  'ValueError: a bug'
  """
  for line in reversed(lines):
    if line.startswith(_OURS):
      return line.removeprefix(_OURS)
  return next((line.strip() for line in reversed(lines) if line.strip()), "")
