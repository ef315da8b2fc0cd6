"""What a stage takes of time and of devices, and what it writes.

Each stage has a `plan.py` beside its `stage.py`, with two functions: `cost`,
of a run that has not begun (`work.PlannedRun`), and `need`, of its sizes
(`sizes.Sizes`).
"""

import dataclasses
from typing import NamedTuple

# Whatever is in it, a table and its entry in the ledger have about so many
# bytes.
TABLE = 1_500


@dataclasses.dataclass(frozen=True)
class Cost:
  """What a stage takes.

  Attributes:
    seconds: in all.
    compile_seconds: of these, once for the folder of a run.
    flops: of matrix products of models.
    device_bytes: memory on each device; 0 where the host works.
    tried: whether its code was tried; else a share of the matrix rate.
    left_out: what comes on top of all that, each in words.
  """

  seconds: float
  compile_seconds: float = 0.0
  flops: float = 0.0
  device_bytes: int = 0
  tried: bool = True
  left_out: tuple[str, ...] = ()

  def plus(self, seconds: float) -> "Cost":
    """The cost with more seconds on the host."""
    return dataclasses.replace(self, seconds=self.seconds + seconds)

  def times(self, count: int) -> "Cost":
    """The cost of `count` repetitions, which are compiled once."""
    once = self.compile_seconds
    return dataclasses.replace(
      self,
      seconds=once + count * (self.seconds - once),
      flops=count * self.flops,
    )

  def and_also(self, other: "Cost") -> "Cost":
    """The cost of this work and then of the other.

    >>> Cost(3.0, flops=2.0).and_also(Cost(1.0, tried=False))
    Cost(seconds=4.0, compile_seconds=0.0, flops=2.0, device_bytes=0, \
tried=False, left_out=())
    """
    return Cost(
      self.seconds + other.seconds,
      self.compile_seconds + other.compile_seconds,
      self.flops + other.flops,
      max(self.device_bytes, other.device_bytes),
      self.tried and other.tried,
      self.left_out + other.left_out,
    )


class Need(NamedTuple):
  """Bytes on the disk.

  Attributes:
    kept: when the stage is done.
    passing: more than that while it works: checkpoints, places.
  """

  kept: float | int
  passing: float | int = 0.0
