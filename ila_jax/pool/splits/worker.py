"""A worker: a process that reads splits as it is told, for `workers`.

    python -m ila_jax.pool.splits.worker

The first line of its input is the folder and the job, each other one a split.
It answers in lines of JSON: where it is, that a split is done, or what is
wrong. It ends with its input. JAX is imported, but no device is touched.
"""

import json
import os
import signal
import sys
import time
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


def main() -> None:
  """Reads splits until there are no more to read."""
  # The process that started it is signalled as well, and ends it.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  answers = _Answers(os.fdopen(os.dup(sys.stdout.fileno()), "w"))
  # Whatever a library prints is no answer.
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
  try:
    first = sys.stdin.readline()
    if not first:
      return
    root, text = json.loads(first)
    job = job_lib.Job.from_text(text)
    tools = job_lib.tools(job)
    answers.tell(done=0)
    for line in sys.stdin:
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
