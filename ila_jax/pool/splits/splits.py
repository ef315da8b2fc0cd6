"""Which splits a pool has, and which of them are a share of the work.

Splits follow from the sources alone: the result of a pool is the same however
many machines and processes read it. Share i of N is the splits i, i + N, ...
"""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ila_jax import errors
from ila_jax.pool.sources import files, sources
from ila_jax.pool.splits import spans
from ila_jax.run.disk import paths as paths_lib


class Split(NamedTuple):
  """What one task reads, in order.

  Attributes:
    number: of the split, from 0.
    spans: parts of sources.
  """

  number: int
  spans: tuple[spans.Span, ...]

  @property
  def size(self) -> int:
    """Bytes of input, as far as they are known."""
    return sum(span.size for span in self.spans)

  @classmethod
  def from_plain(cls, values: list[Any]) -> "Split":
    """The split that JSON has made a list of."""
    number, parts = values
    return cls(number, tuple(map(spans.Span.from_plain, parts)))


def of(
  specs: Sequence[str],
  *,
  most_bytes: int,
  announce: Callable[[str], object] = lambda message: None,
) -> list[Split]:
  """Cuts sources into splits of about so many bytes, in their order.

  Small files share a split; a source that a library reads has one of its own.

  Args:
    specs: as `sources.open_source` takes them.
    most_bytes: bytes of a split, where the input can be cut there.
    announce: gets a line of which files are read.

  Raises:
    InputError: a source in which nothing is to read.

  >>> [len(split.spans) for split in of(["docstrings:json"], most_bytes=1)]
  [1]
  """
  groups: list[list[spans.Span]] = []
  room = 0
  for spec in specs:
    for span in spans.of(spec, most_bytes=most_bytes, announce=announce):
      is_known = span.size > 0 or span.file is not None
      if not is_known or span.size > room or not groups:
        groups.append([])
        room = most_bytes if is_known else 0
      groups[-1].append(span)
      room -= span.size
  return [Split(i, tuple(group)) for i, group in enumerate(groups)]


def identity(span: spans.Span) -> Any:
  """What tells, without reading it, whether a span is what it was.

  Returns:
    A JSON value: bytes and time of the last change of a file, what a server
    says of it, or versions of a library's data.
  """
  if span.file is None:
    return sources.signature(span.spec)
  path = span.file.path
  if paths_lib.is_url(path):
    return files.remote_signature(path)
  stat = os.stat(path)
  return [os.path.abspath(path), stat.st_size, stat.st_mtime_ns]


def share(text: str) -> tuple[int, int]:
  """The share i of N that a text such as "3/16" names, from 0.

  Raises:
    InputError: it names none.

  >>> share("3/16")
  (3, 16)
  """
  match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
  if match:
    number, count = map(int, match.groups())
    if number < count:
      return number, count
  raise errors.InputError(
    f"--tasks is {text!r}; allowed: i/N with i from 0 to N - 1, such as 0/16 "
    "for the first of 16 tasks. In a Slurm array of --array=0-15 that is "
    '--tasks="$SLURM_ARRAY_TASK_ID/16", in an indexed job of GKE '
    '--tasks="$JOB_COMPLETION_INDEX/16".'
  )
