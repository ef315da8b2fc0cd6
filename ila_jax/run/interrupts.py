"""SIGINT and SIGTERM: how a run ends with little lost, on all hosts alike.

SIGINT and SIGTERM end a run on one host at once: every file is whole or absent
whenever that is. Training first saves the step that it is in. Of several hosts
each goes on to a step that JAX makes out with the others, and ends there; where
the first works and the others wait for it, it ends and they with it. A second
signal ends a host without more ado.
"""

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

# Schedulers and launchers signal a group and its processes, each of them: what
# comes so soon is the same signal.
_ONE_SECONDS = 1.0


class Stopped(KeyboardInterrupt):
  """A run that was asked to stop, and has.

  Attributes:
    number: of the signal.
    status: that the process is to end with, 128 + number as shells have it.
    kept: what was saved on the way, in words, or "".
    is_alone: the other hosts do not know of it yet.
  """

  def __init__(self, number: int, kept: str = "", *, is_alone: bool = False):
    super().__init__(f"stopped by {signal.Signals(number).name}")
    self.number, self.status, self.kept = number, 128 + number, kept
    self.is_alone = is_alone


class _State:
  """What this process was asked for."""

  asked: int | None = None
  deferring = 0
  alone = ending = False
  at = 0.0  # When that was, by the clock.
  # Hosts make out the step at which all end by its number.
  points = itertools.count(1)


def listen() -> None:
  """Makes SIGINT and SIGTERM stop the run; for the main thread.

  Of several hosts, once they have met: JAX hears SIGTERM, and tells the others.
  """
  signal.signal(signal.SIGINT, _on_signal)
  if not jax.distributed.is_initialized():
    signal.signal(signal.SIGTERM, _on_signal)
    return
  # In a host that waits for the others no handler of Python is called.
  heard, hears = os.pipe()
  os.set_blocking(hears, False)
  signal.set_wakeup_fd(hears, warn_on_full_buffer=False)
  threading.Thread(target=_pass_on, args=(heard,), daemon=True).start()


def _pass_on(heard: int) -> None:
  """Makes each SIGINT a SIGTERM, which JAX tells the other hosts."""
  while os.read(heard, 1):
    os.kill(os.getpid(), signal.SIGTERM)


def _on_signal(number: int, frame: Any) -> None:
  del frame
  now = time.monotonic()
  first = _State.asked is None
  if first:
    _State.asked, _State.at = number, now
  if _State.alone:
    if not _State.ending:
      _State.ending = True
      raise Stopped(_State.asked, is_alone=True)
    return
  if not first and now - _State.at >= _ONE_SECONDS:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
  if first and not (jax.distributed.is_initialized() or _State.deferring):
    raise Stopped(number)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
  """A block that asks `is_requested` now and then, and is not interrupted."""
  _State.deferring += 1
  try:
    yield
  finally:
    _State.deferring -= 1


@contextlib.contextmanager
def alone() -> Iterator[None]:
  """A block in which the others wait for this host: a signal to any ends it.

  Raises:
    Stopped: a host was asked to stop; this one is to tell the others.
  """
  _State.alone, _State.ending = jax.distributed.is_initialized(), False
  try:
    yield
  finally:
    _State.alone = False


def is_alone() -> bool:
  """Whether the main thread is in such a block, and there are other hosts."""
  return _State.alone


def stop_alone() -> None:
  """Ends such a block from another thread, where any host was asked to stop."""
  if _State.asked is None:
    _State.asked, _State.at = signal.SIGTERM, time.monotonic()
  main = threading.main_thread().ident
  if main is not None:
    signal.pthread_kill(main, signal.SIGINT)


def is_requested() -> bool:
  """Whether to stop here; every host asks, and all have one answer.

  >>> is_requested()
  False
  """
  if not jax.distributed.is_initialized():
    return _State.asked is not None
  return multihost_utils.reached_preemption_sync_point(next(_State.points))


def stop(kept: str = "") -> None:
  """Ends the run.

  Raises:
    Stopped: always.
  """
  raise Stopped(_State.asked or signal.SIGTERM, kept)


def point() -> None:
  """A place where little is lost: stops here if that was asked for.

  Raises:
    Stopped: it was.

  >>> point()
  """
  if is_requested():
    stop()
