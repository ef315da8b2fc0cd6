"""A worker: a process that reads splits as it is told, for `workers`.

    python -m ila_jax.pool.splits.worker

The first line of its input is the folder and the job, each other one a split.
It answers in lines of JSON: where it is, that a split is done, or what is
wrong. The end of its input ends it. JAX is imported, but no device is touched.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO

from etils import epath

from ila_jax import errors
from ila_jax.pool.splits import job as job_lib
from ila_jax.pool.splits import splits as splits_lib
from ila_jax.pool.splits import task

# Seconds between two signs of life.
_BEAT_SECONDS = 1.0


class _Answers:
  """What a worker tells the process that started it."""

  def __init__(self, file: IO[str]):
    self._file, self._at = file, time.monotonic()

  def tell(self, **values: object) -> None:
    self._file.write(json.dumps(values) + "\n")
    self._file.flush()

  def beat(self, file: str, line: int, count: int) -> None:
    now = time.monotonic()
    if now - self._at >= _BEAT_SECONDS:
      self._at = now
      self.tell(at=[file, line, count])


def _asked(file: IO[str]) -> Iterator[str]:
  """Yields the lines of a file as they come; its end ends the process.

  The end comes when the process that asks is gone, killed perhaps. The split
  that is read is then given up at once: the next run may write it already.
  """
  lines: queue.SimpleQueue[str] = queue.SimpleQueue()

  def receive() -> None:
    for line in file:
      lines.put(line)
    os._exit(0)

  threading.Thread(target=receive, daemon=True).start()
  while True:
    yield lines.get()


def main() -> None:
  """Reads splits until the process that asks for them ends."""
  # The process that started it is signalled as well, and ends it.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  answers = _Answers(os.fdopen(os.dup(sys.stdout.fileno()), "w"))
  # Whatever a library prints is no answer.
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
  try:
    lines = _asked(sys.stdin)
    root, text = json.loads(next(lines))
    job = job_lib.Job.from_text(text)
    tools = job_lib.tools(job)
    answers.tell(done=0)
    for line in lines:
      split = splits_lib.Split.from_plain(json.loads(line))
      count = task.run(job, tools, split, epath.Path(root), answers.beat)
      answers.tell(done=count)
  except errors.InputError as error:
    answers.tell(wrong=str(error))
  except OSError as error:
    if error.errno is None:
      raise
    answers.tell(
      system=[error.errno, error.strerror, str(error.filename or "")]
    )


if __name__ == "__main__":
  main()
