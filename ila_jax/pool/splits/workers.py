"""Workers: processes of this machine that read splits side by side.

They are programs of their own, not copies of this process: it may hold devices
and threads, and the script that it runs may not be safe to import.
"""

import collections
import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

from etils import epath

from ila_jax import errors
from ila_jax.pool.splits import job as job_lib
from ila_jax.pool.splits import spans, task
from ila_jax.pool.splits import splits as splits_lib
from ila_jax.run import progress

# Less input than that is read before workers have started.
_WORTH_BYTES = 8 << 20
# Splits that may be read before the merge has come to them, for each worker.
_AHEAD = 4
# Seconds between two looks at how far they are.
_POLL_SECONDS = 0.2


def cores() -> int:
  """The processor cores that this process may use.

  >>> cores() > 0
  True
  """
  if hasattr(os, "sched_getaffinity"):  # macOS has none.
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def count(splits: list[splits_lib.Split], asked: int) -> int:
  """How many workers read some splits; 1: this process reads them itself.

  Args:
    splits: that are left to read.
    asked: config.pool.workers; 0: as many as are worth it.

  >>> count([], 0), count([splits_lib.Split(0, ())] * 3, 2)
  (1, 2)
  """
  if not asked and sum(split.size for split in splits) < _WORTH_BYTES:
    return 1
  return max(min(asked or cores(), len(splits)), 1)


def finished(
  job: job_lib.Job,
  splits: list[splits_lib.Split],
  root: epath.PathLike,
  *,
  asked: int,
) -> Iterator[splits_lib.Split]:
  """Yields each split, in their order, once it is read and whole.

  Those that were read before, by whomever, are not read again. Where the
  caller wants no more, the others are given up.

  Args:
    job: of which they are parts.
    splits: in the order in which they are wanted.
    root: folder of the run.
    asked: config.pool.workers.

  Raises:
    errors.InputError: a source that cannot be read, or a worker that died.
  """
  root = epath.Path(root)
  left = [split for split in splits if not task.is_done(job, split, root)]
  workers = count(left, asked)
  tools = job_lib.tools(job) if left and workers == 1 else None
  reads = {split.number for split in left}
  with progress.counter(None, desc="pool", unit="records") as advance:
    if workers > 1:
      crew = _Crew(job, root, workers, advance)
      passing = crew.finished(splits, reads)
    else:
      passing = _here(job, tools, splits, reads, root, advance)
    with contextlib.closing(passing):
      yield from passing


def _here(
  job: job_lib.Job,
  tools: job_lib.Tools | None,
  splits: list[splits_lib.Split],
  reads: set[int],
  root: epath.Path,
  advance: Callable[[int], object],
) -> Iterator[splits_lib.Split]:
  """Yields splits in order; this process reads those of `reads`."""
  done = 0

  def beat(file: str, line: int, count: int) -> None:
    nonlocal done
    advance(count - done)
    done = count

  for split in splits:
    if split.number in reads:
      done = 0
      beat("", 0, task.run(job, tools, split, root, beat))
    yield split


class _Crew:
  """Some workers, and a thread for each that tells it what to read."""

  def __init__(
    self,
    job: job_lib.Job,
    root: epath.Path,
    size: int,
    advance: Callable[[int], object],
  ):
    self._job, self._root, self._size = job, root, size
    self._advance = advance
    self._counted: queue.SimpleQueue[int] = queue.SimpleQueue()
    self._own = threading.local()
    self._all: list[_Worker] = []
    self._lock, self._is_over = threading.Lock(), False

  def finished(
    self, splits: list[splits_lib.Split], reads: set[int]
  ) -> Iterator[splits_lib.Split]:
    """Yields splits in order; `reads` are the numbers of those to read."""
    has_limit = self._job.limit is not None
    # What follows a limit is read in vain.
    ahead = _AHEAD * self._size if has_limit else len(splits)
    left, pending = iter(splits), collections.deque()
    pool = futures.ThreadPoolExecutor(self._size)
    try:
      while True:
        for split in itertools.islice(left, ahead - len(pending)):
          is_read = split.number in reads
          begun = pool.submit(self._read, split) if is_read else None
          pending.append((split, begun))
        if not pending:
          return
        split, first = pending.popleft()
        begun = [first, *(one for _, one in pending)]
        # Where there is a limit, a fault behind it is none of this run's.
        self._wait(first, begun[:1] if has_limit else begun)
        yield split
    finally:
      self._end()
      pool.shutdown(cancel_futures=True)
      for worker in self._all:
        worker.close()

  def _wait(
    self,
    first: futures.Future | None,
    begun: list[futures.Future | None],
  ) -> None:
    """Waits for a task; raises what has made any of those begun fail."""
    while first is not None:
      is_done, _ = futures.wait([first], timeout=_POLL_SECONDS)
      with contextlib.suppress(queue.Empty):
        while True:
          self._advance(self._counted.get_nowait())
      for one in begun:
        if one is not None and one.done():
          one.result()
      if is_done:
        return

  def _read(self, split: splits_lib.Split) -> None:
    """Has the worker of this thread read a split."""
    worker = getattr(self._own, "worker", None)
    if worker is None:
      worker = _Worker(self._counted.put)
      self._own.worker = worker
      with self._lock:
        self._all.append(worker)
        if self._is_over:
          worker.kill()
      worker.ask([str(self._root), self._job.text()], None)
    worker.ask(split, split)

  def _end(self) -> None:
    with self._lock:
      self._is_over = True
      for worker in self._all:
        worker.kill()


class _Worker:
  """A process that reads one split after the other."""

  def __init__(self, counted: Callable[[int], object]):
    self._counted = counted
    self._process = subprocess.Popen(
      [sys.executable, "-m", "ila_jax.pool.splits.worker"],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=os.environ
      | {
        # It finds what this process finds, and takes no device from it.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "JAX_PLATFORMS": "cpu",
        "TOKENIZERS_PARALLELISM": "false",
      },
    )

  def ask(self, what: Any, split: splits_lib.Split | None) -> None:
    """Sends a line, and waits until that is done.

    Raises:
      errors.InputError: what the worker says, or that it was killed.
    """
    at, count = None, 0
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(json.dumps(what) + "\n")
      self._process.stdin.flush()
    for line in self._process.stdout:
      answer = json.loads(line)
      if "wrong" in answer:
        raise errors.InputError(answer["wrong"])
      if "system" in answer:
        number, said, name = answer["system"]
        raise OSError(number, said, name)
      if "at" in answer:
        at = answer["at"]
      now = at[2] if "at" in answer else answer["done"]
      self._counted(now - count)
      count = now
      if "done" in answer:
        return
    raise self._died(split, at)

  def _died(
    self, split: splits_lib.Split | None, at: list[Any] | None
  ) -> Exception:
    status = self._process.wait()
    where = "before it read anything"
    if split is not None:
      where = f"while it read {_place(split, at)}"
    if status >= 0:
      return RuntimeError(
        f"a process that reads the pool ended with status {status} {where}; "
        "what it said stands above"
      )
    name = signal.Signals(-status).name
    return errors.InputError(
      f"a process that reads the pool was killed by {name} {where}. Where "
      "memory was short, lower --config.pool.workers "
      f"(here {cores()} cores may be used); run the same command again, which "
      "goes on from here."
    )

  def kill(self) -> None:
    """Ends it at once: what it has not finished is read again."""
    self._process.kill()
    self._process.wait()

  def close(self) -> None:
    """Closes its pipes, once no thread waits for it."""
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.close()
    self._process.stdout.close()


def _place(split: splits_lib.Split, at: list[Any] | None) -> str:
  """The file, and the line up to which a split was read."""
  if at is None:
    span = split.spans[0]
    return f"{span.file.path if span.file else span.spec}"
  file, line, _ = at
  own = [s for s in split.spans if s.file and s.file.path == file]
  if own and spans.is_of_lines(own[0]):
    line += spans.lines_before(own[0])
  return f"{file} after line {line:,}"
