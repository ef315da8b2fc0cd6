"""What a run says while it runs, and the account of what it cost."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax

from ila_jax.compute import mesh
from ila_jax.run import log

T = TypeVar("T")

# Where there is no terminal to redraw: when the first plain line comes, and
# how long the next ones wait.
_FIRST_SECONDS = 2.0
_PLAIN_SECONDS = 10.0
# The log of a week is to be short.
_LOG_SECONDS = 600.0
# What JAX calls the parts of a compilation, all below this.
_COMPILING = "/jax/core/compile/"
# When programs were compiled: (begin, end) by the clock, apart, ascending.
_spans: list[tuple[float, float]] = []
# How a warning begins.
_WARNING = "warning:"


def _note_compilation(event: str, seconds: float | int, **_: Any) -> None:
  """Keeps when it was; a program inside another one counts once."""
  if not event.startswith(_COMPILING):
    return
  end = time.monotonic()
  begin = end - seconds
  while _spans and _spans[-1][1] > begin:
    begin = min(begin, _spans.pop()[0])
  _spans.append((begin, end))


jax.monitoring.register_event_duration_secs_listener(_note_compilation)


def compile_seconds() -> float:
  """Seconds that this process has spent on tracing and compiling so far.

  >>> before = compile_seconds()
  >>> _ = jax.jit(lambda x: x + 1)(1)
  >>> compile_seconds() > before
  True
  """
  return sum((end - begin for begin, end in _spans), 0.0)


class _Terminal:
  """What is shown to people.

  Attributes:
    is_quiet: it shows only warnings and answers; the log has the rest.
  """

  is_quiet = False


def be_quiet() -> None:
  """Shows only warnings and answers from here on; the log has all."""
  _Terminal.is_quiet = True


def say(message: str) -> None:
  """Writes one line to stderr and to the run's log, on the first host only.

  Where it is quiet, only a line that begins with `warning:` is shown.
  """
  _say(message, is_shown=message.lstrip().startswith(_WARNING))


def answer(message: str) -> None:
  """Writes what a run was made for, as `say` does, but also where it is quiet.

  >>> answer("  the report: runs/first/report/index.html")
  """
  _say(message, is_shown=True)


@contextlib.contextmanager
def if_slow(message: str, *, seconds: float = 5.0) -> Iterator[None]:
  """Says a line if the block is not done by then.

  >>> with if_slow("  the disk takes its time"):
  ...   pass
  """
  timer = threading.Timer(seconds, say, (message,))
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


def _say(message: str, *, is_shown: bool) -> None:
  if mesh.is_writer():
    if is_shown or not _Terminal.is_quiet:
      _print(message)
    log.write(message)


def _print(message: str) -> None:
  print(message, file=sys.stderr, flush=True)


def progress(
  items: Iterable[T], *, desc: str, unit: str, total: int | None = None
) -> Iterator[T]:
  """Passes the items on and says how far it is: a bar or plain lines.

  >>> list(progress([1, 2, 3], desc="count", unit="steps"))
  [1, 2, 3]
  """
  if total is None and hasattr(items, "__len__"):
    total = len(items)
  with counter(total, desc=desc, unit=unit) as advance:
    for item in items:
      yield item
      advance(1)


@contextlib.contextmanager
def counter(
  total: int | None, *, desc: str, unit: str
) -> Iterator[Callable[..., None]]:
  """Yields `advance(n)`: a bar on a terminal, a plain line now and then else.

  Nothing is said of what takes less than two seconds. `advance(n, total=...)`
  tells a total that is known only by then. The time left is foretold without
  what was spent on compiling, which does not come again.

  >>> with counter(3, desc="count", unit="steps") as advance:
  ...   advance(3)
  """
  if not mesh.is_writer():
    yield lambda n, total=None: None
    return
  with contextlib.ExitStack() as stack:
    bar = None
    if sys.stderr.isatty() and not _Terminal.is_quiet:
      import tqdm

      drawn = tqdm.tqdm(total=total, desc=desc, unit=f" {unit}", delay=2)
      bar = _Bar(stack.enter_context(drawn))
    work = _Work(total, desc, unit, bar)
    stack.enter_context(log.at_work(work.state))
    yield work.advance
    work.finish()


def every(
  advance: Callable[[int], object], count: int
) -> Callable[[int], None]:
  """Returns an `advance` for work that goes over the same things several times.

  >>> told = []
  >>> one = every(told.append, 2)
  >>> one(3), one(2), sum(told)
  (None, None, 2)
  """
  done = 0

  def advance_one(n: int) -> None:
    nonlocal done
    before, done = done // count, done + n
    advance(done // count - before)

  return advance_one


class Shards:
  """Counts work on one shard after the other.

  Of a shard no more is counted than its rows, and at its end all of them,
  whatever was told within.

  >>> told = []
  >>> shards = Shards(told.append)
  >>> with shards.of(4):
  ...   shards.advance(3), shards.advance(3)
  (None, None)
  >>> with shards.of(2):
  ...   pass
  >>> told
  [3, 1, 0, 2]
  """

  def __init__(self, advance: Callable[[int], object]) -> None:
    self._advance, self._left = advance, 0

  def advance(self, n: int) -> None:
    """Counts some rows of the shard that is at work."""
    n = min(n, self._left)
    self._left -= n
    self._advance(n)

  @contextlib.contextmanager
  def of(self, rows: int) -> Iterator[None]:
    """Is at work on a shard of so many rows."""
    self._left = rows
    yield
    self.advance(self._left)


class _Bar:
  """Progress on a terminal, whose clock stands still while JAX compiles."""

  def __init__(self, bar: Any) -> None:
    self._bar = bar
    self._begin = self._known = compile_seconds()

  def advance(self, n: int, total: int | None) -> None:
    """Counts, and draws the bar when it is old enough."""
    self._bar.total = total
    late = compile_seconds() - self._known
    if late:
      self._known += late
      self._bar.start_t += late
      self._bar.last_print_t += late
      compiled = self._known - self._begin
      self._bar.set_postfix_str(
        f"compiled for {compiled:.0f} s before", refresh=False
      )
    self._bar.update(n)


class _Work:
  """Progress of some work: by a bar, or by lines where no terminal is.

  The log has a line now and then, and `progress.json` how far it is.
  """

  def __init__(
    self, total: int | None, desc: str, unit: str, bar: _Bar | None
  ) -> None:
    self._total, self._desc, self._unit, self._bar = total, desc, unit, bar
    self._begin = self._said = self._logged = time.monotonic()
    self._compiled = compile_seconds()
    self._done = self._said_done = 0

  def advance(self, n: int, total: int | None = None) -> None:
    """Counts, and speaks when the last line is old enough."""
    self._total = total or self._total
    self._done += n
    now = time.monotonic()
    if self._bar is not None:
      self._bar.advance(n, self._total)
    wait = _FIRST_SECONDS if self._said == self._begin else _PLAIN_SECONDS
    if now - self._said >= wait:
      self._said = now
      is_logged = now - self._logged >= _LOG_SECONDS
      if is_logged:
        self._logged = now
      self._say(now, is_logged)

  def finish(self) -> None:
    """Says what it came to, if it took a while."""
    now = time.monotonic()
    if now - self._begin >= _FIRST_SECONDS and self._said_done < self._done:
      self._total = None
      self._say(now, is_logged=True)

  def state(self) -> dict[str, Any]:
    """How far it is, as `log.at_work` takes it."""
    seconds = time.monotonic() - self._begin
    return {
      "what": self._desc,
      "done": self._done,
      "total": self._total,
      "unit": self._unit,
      "seconds": seconds,
      "left": self._left(seconds),
    }

  def _left(self, seconds: float) -> float | None:
    compiled = min(compile_seconds() - self._compiled, seconds)
    if not self._total or not 0 < self._done < self._total:
      return None
    return (self._total - self._done) * (seconds - compiled) / self._done

  def _say(self, now: float, is_logged: bool) -> None:
    self._said_done, seconds = self._done, now - self._begin
    of_total = f"/{self._total}" if self._total else ""
    line = f"  {self._desc}: {self._done}{of_total} {self._unit}"
    line += f" in {seconds:.0f} s"
    compiled = min(compile_seconds() - self._compiled, seconds)
    if compiled >= 1:
      line += f" ({compiled:.0f} s compiling)"
    left = self._left(seconds)
    if left is not None:
      line += f", about {left:.0f} s left"
    if self._bar is None and not _Terminal.is_quiet:
      _print(line)
    if is_logged:
      log.write(line)
