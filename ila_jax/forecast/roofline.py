"""How long a program takes at best on chips that are not here.

A device multiplies, moves bytes from and to its memory, and sends weights and
gradients to the others, all at the same time: the slowest of the three is its
time. Where a layer is split, its devices wait for the sums of what each has
computed: that is added. Each counts at a share of the chip's peak.
"""

from typing import NamedTuple

from ila_jax.compute import chips
from ila_jax.forecast import shapes as shapes_lib

# Shares of a chip's published peak. Of the products they were measured on one
# H200 (docs/results.md): 0.45 and 0.55 in passes, 0.36 in training, counting
# only the FLOPs that are needed: what is computed again is in the share.
FORWARD_SHARE = 0.5
TRAINING_SHARE = 0.35
# These are assumed.
HBM_SHARE = 0.7
LINK_SHARE = 0.5
# Weights and two moments in float32 are read and written, a gradient is read.
_UPDATE_BYTES = 2 * 12 + 4


class Load(NamedTuple):
  """The work of each device.

  Attributes:
    compute: seconds of its products, at the share of the peak.
    hbm: bytes from and to its memory.
    network: bytes of weights and gradients that it sends to others.
    sums: bytes that it sends within layers.
  """

  compute: float = 0.0
  hbm: float = 0.0
  network: float = 0.0
  sums: float = 0.0

  def times(self, count: float | int) -> "Load":
    """The load of `count` such programs.

    >>> Load(1.0, 2.0, 3.0).times(2)
    Load(compute=2.0, hbm=4.0, network=6.0, sums=0.0)
    """
    return Load(*(count * one for one in self))

  def and_also(self, other: "Load") -> "Load":
    """The load of this work and of the other."""
    return Load(*(a + b for a, b in zip(self, other, strict=True)))


NOTHING = Load()


class Limits(NamedTuple):
  """Seconds that each part of a chip would take alone."""

  compute: float
  memory: float
  network: float
  sums: float

  @property
  def seconds(self) -> float:
    """The time: of the longest, and of the sums.

    >>> Limits(1.0, 3.0, 2.0, sums=0.5).seconds
    3.5
    """
    return max(self[:3]) + self.sums

  @property
  def slowest(self) -> str:
    """Which of them takes the most.

    >>> Limits(1.0, 3.0, 2.0, sums=0.5).slowest
    'memory'
    """
    return self._fields[self.index(max(self))]


def limits(load: Load, chip: chips.Chip) -> Limits:
  """Seconds of a load on a chip.

  >>> limits(Load(2.0, 819e9, 200e9), chips.TPUS["v5e"])
  Limits(compute=2.0, memory=1.4285714285714286, network=2.0, sums=0.0)
  """
  link = LINK_SHARE * chip.link_rate
  return Limits(
    load.compute,
    load.hbm / (HBM_SHARE * chip.hbm_rate),
    load.network / link,
    load.sums / link,
  )


def forward(
  shapes: shapes_lib.Shapes, axes: shapes_lib.Axes, *, tokens: int
) -> Load:
  """Bytes of one forward pass over a batch.

  Args:
    shapes: of the model.
    axes: of the mesh.
    tokens: of a device, padding included.
  """
  weights = shapes.itemsize * (shapes.weights + shapes.head) / axes.tensor
  # What is gathered is written before it is read.
  hbm = weights * (2 if axes.fsdp > 1 else 1)
  hbm += _stream(shapes, axes, tokens)
  network = weights * _others(axes.fsdp)
  return Load(0.0, hbm, network, _sums(shapes, axes, tokens))


def training(
  shapes: shapes_lib.Shapes,
  axes: shapes_lib.Axes,
  *,
  tokens: int,
  adapter: bool,
) -> Load:
  """Bytes of one step of training.

  Args:
    shapes: of the decoder.
    axes: of the mesh.
    tokens: of a device, padding included.
    adapter: only an adapter is trained; its own numbers are left out.
  """
  passes = 3 + shapes.remat
  blocks = shapes.itemsize * shapes.weights / axes.tensor
  weights = blocks + shapes.itemsize * shapes.head / axes.tensor
  hbm = passes * (weights + _stream(shapes, axes, tokens))
  # Weights are gathered in both directions.
  network = 2 * weights * _others(axes.fsdp)
  if axes.fsdp > 1:
    hbm += 2 * weights
  if not adapter:
    hbm += _UPDATE_BYTES * shapes.total / (axes.fsdp * axes.tensor)
    # Gradients are summed: of blocks each device keeps its part, that of the
    # head is summed whole, in float32.
    head = 4 * shapes.head / axes.tensor
    network += (blocks + 2 * head) * _others(axes.fsdp)
    network += 2 * (blocks + head) / axes.fsdp * _others(axes.data)
  return Load(0.0, hbm, network, passes * _sums(shapes, axes, tokens))


def _others(devices: int) -> float:
  """The share of something split over devices that the others have."""
  return (devices - 1) / devices


def _stream(
  shapes: shapes_lib.Shapes, axes: shapes_lib.Axes, tokens: int
) -> float:
  """Bytes of activations: what goes into and out of products, once."""
  numbers = shapes.layers * shapes.product_numbers / axes.tensor
  return shapes.itemsize * tokens * numbers


def _sums(
  shapes: shapes_lib.Shapes, axes: shapes_lib.Axes, tokens: int
) -> float:
  """Bytes sent where a layer is split: two sums of the stream in each."""
  sums = 2 * shapes.layers * shapes.itemsize * tokens * shapes.width
  return sums * 2 * _others(axes.tensor)
