"""What a stage takes of time and of devices, and what it writes.

Each stage has a `plan.py` beside its `stage.py`, with two functions: `cost`,
of a run that has not begun (`work.PlannedRun`), and `need`, of its sizes
(`sizes.Sizes`).
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from ila_jax.forecast import roofline, shapes
from ila_jax.models import architecture, encoder
from ila_jax.passes import layouts, token_set
from ila_jax.training import recipe as recipe_lib

Model = architecture.DecoderConfig | encoder.EncoderConfig

# Whatever is in it, a table and its entry in the ledger have about so many
# bytes.
TABLE = 1_500


class Part(NamedTuple):
  """A part of what a stage takes, which is told by itself.

  Attributes:
    name: of a method.
    seconds: in all.
    flops: of matrix products.
    read: bytes of device memory that are read for few operations each.
  """

  name: str
  seconds: float
  flops: float
  read: float


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
    load: of each device, where time is by a roofline.
    parts: of all that, those that are told by themselves.
  """

  seconds: float
  compile_seconds: float = 0.0
  flops: float = 0.0
  device_bytes: int = 0
  tried: bool = True
  left_out: tuple[str, ...] = ()
  load: roofline.Load = roofline.NOTHING
  parts: tuple[Part, ...] = ()

  def plus(self, seconds: float) -> "Cost":
    """The cost with more seconds on the host."""
    return dataclasses.replace(self, seconds=self.seconds + seconds)

  def times(self, count: float | int) -> "Cost":
    """The cost of `count` repetitions or a share, which is compiled once."""
    once = self.compile_seconds
    return dataclasses.replace(
      self,
      seconds=once + count * (self.seconds - once),
      flops=count * self.flops,
      load=self.load.times(count),
    )

  def and_also(self, other: "Cost") -> "Cost":
    """The cost of this work and then of the other.

    >>> both = Cost(3.0, flops=2.0).and_also(Cost(1.0, tried=False))
    >>> both.seconds, both.flops, both.tried
    (4.0, 2.0, False)
    """
    return Cost(
      self.seconds + other.seconds,
      self.compile_seconds + other.compile_seconds,
      self.flops + other.flops,
      max(self.device_bytes, other.device_bytes),
      self.tried and other.tried,
      self.left_out + other.left_out,
      self.load.and_also(other.load),
      self.parts + other.parts,
    )


class Need(NamedTuple):
  """Bytes on the disk.

  Attributes:
    kept: when the stage is done.
    passing: more than that while it works: checkpoints, places.
  """

  kept: float | int
  passing: float | int = 0.0


class Pass(NamedTuple):
  """A pass over a sample of examples.

  Attributes:
    does: what it does, such as "scores".
    model: its sizes.
    lengths: tokens of each example [s].
    flops: of them all.
    layout: of examples of these lengths.
    device_bytes: memory on each device of a mesh, under a layout.
    trial: returns the function that `trials.passes` times.
    by_shapes: `device_bytes` by arithmetic, of chips in a mesh; None: those of
      a forward pass.
  """

  does: str
  model: Model
  lengths: np.ndarray
  flops: float | int
  layout: Callable[[np.ndarray], layouts.Layout]
  device_bytes: Callable[[layouts.Layout, Mesh], int]
  trial: Callable[[], Callable]
  by_shapes: (
    Callable[[shapes.Shapes, shapes.Axes, layouts.Layout], float] | None
  ) = None


class Passes(NamedTuple):
  """Passes over some examples that are like the sample.

  Attributes:
    each: over the sample.
    rows: of the sample, in a random order; as many as there are examples.
    layout: of the examples.
    examples: how many.
    shard_examples: of a shard, whose last batches have fewer rows.
    models: m, passed together.
    flops: of them all.
  """

  each: Pass
  rows: np.ndarray
  layout: layouts.Layout
  examples: int
  shard_examples: int
  models: int
  flops: float


class Training(NamedTuple):
  """Training runs, each on examples like these.

  Attributes:
    decoder: what is trained, or what an adapter is trained beside.
    data: the sample.
    recipe: of each.
    runs: how many.
    turns: groups of them that are trained side by side, as `together.train`
      does: how many there are on a device, and the steps of the longest. ():
      one after the other, each on all devices.
    steps: of each, in the mean.
    tokens: of all examples of all runs, each as often as it is learned.
    flops: of them all.
  """

  decoder: architecture.DecoderConfig
  data: token_set.TokenSet
  recipe: recipe_lib.Recipe
  runs: int
  turns: tuple[tuple[int, float], ...]
  steps: float | int
  tokens: float
  flops: float

  @property
  def beside(self) -> int:
    """Runs that a device holds at once; 0: each run is on all devices."""
    return max((count for count, _ in self.turns), default=0)
