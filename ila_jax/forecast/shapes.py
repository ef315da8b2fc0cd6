"""What follows from the shapes of a model alone: weights, memory, traffic.

An estimate of a device's memory where no compiler can be asked: weights,
optimizer and activations by arithmetic.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ila_jax.models import architecture, encoder
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora as lora_lib

# Weights and two moments of AdamW, in float32.
_STATE_BYTES = 12


class Axes(NamedTuple):
  """Devices along the axes of a mesh."""

  data: int
  fsdp: int
  tensor: int

  @property
  def count(self) -> int:
    """All devices.

    >>> Axes(2, 4, 1).count
    8
    """
    return self.data * self.fsdp * self.tensor

  @property
  def shards(self) -> int:
    """Devices that a batch is split over."""
    return self.data * self.fsdp

  @property
  def flags(self) -> str:
    """What sets these axes.

    >>> Axes(2, 4, 1).flags
    '--config.mesh.data=2 --config.mesh.fsdp=4 --config.mesh.tensor=1'
    """
    return " ".join(
      f"--config.mesh.{name}={size}" for name, size in self._asdict().items()
    )

  def __str__(self) -> str:
    """As a product, in the order of the axes."""
    return " × ".join(map(str, self))


class Shapes(NamedTuple):
  """The sizes of a decoder or an encoder that its cost follows from.

  Attributes:
    layers: blocks.
    weights: of the blocks, all together.
    head: of the output head; 0 of an encoder.
    others: tables of tokens that are no head, norms.
    width: of the residual stream.
    queries: width of all heads of the queries.
    keys: the same of the keys.
    mlp: hidden width of the MLP.
    halves: matrices into the MLP: 2 where it is gated.
    itemsize: bytes of a number in products.
    remat: blocks are computed again in the backward pass.
  """

  layers: int
  weights: int
  head: int
  others: int
  width: int
  queries: int
  keys: int
  mlp: int
  halves: int
  itemsize: int
  remat: bool

  @property
  def product_numbers(self) -> int:
    """Numbers of a token that go into and out of the products of a block."""
    into = 3 * self.width + self.queries + self.mlp
    out = 2 * (self.queries + self.width) + 4 * self.keys
    return into + out + self.halves * self.mlp

  @property
  def total(self) -> int:
    """All weights."""
    return self.weights + self.head + self.others


def of(config: architecture.DecoderConfig | encoder.EncoderConfig) -> Shapes:
  """The sizes of a model.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> found = of(architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16))
  >>> found.weights, found.head, found.total
  (1152, 256, 1448)
  """
  width, mlp = config.width, config.mlp_width
  if isinstance(config, encoder.EncoderConfig):
    queries, keys, halves, head, remat = width, width, 1, 0, False
    others = (config.vocab + config.max_positions) * width
  else:
    queries = config.heads * config.head_dim
    keys = config.kv_heads * config.head_dim
    halves, head, remat = 2, config.vocab * width, config.remat
    others = 0
  block = 2 * width * (queries + keys) + (1 + halves) * width * mlp
  weights = config.layers * block
  if not isinstance(config, encoder.EncoderConfig):
    others = decoder_lib.count_parameters(config) - weights - head
  return Shapes(
    *(config.layers, weights, head, others, width, queries, keys, mlp, halves),
    jnp.dtype(config.dtype).itemsize,
    remat,
  )


def pass_bytes(shapes: Shapes, axes: Axes, *, tokens: int) -> float:
  """Bytes of a device while examples are scored or embedded.

  Its part of the weights; and the larger of what a layer holds (both halves of
  the MLP, the stream, gathered matrices of the MLP) and what the loss holds:
  the whole head, twice.

  Args:
    shapes: of the model.
    axes: of the mesh.
    tokens: of a batch on a device, padding included.
  """
  held = shapes.itemsize * shapes.total / (axes.fsdp * axes.tensor)
  hidden = shapes.halves * shapes.mlp / axes.tensor
  layer = tokens * (hidden + shapes.width)
  if axes.fsdp > 1:
    layer += (1 + shapes.halves) * shapes.width * shapes.mlp / axes.tensor
  head = 2 * shapes.head / axes.tensor
  return held + shapes.itemsize * max(layer, head)


def adapter_bytes(
  config: architecture.DecoderConfig, lora: lora_lib.LoraConfig | None
) -> int:
  """Bytes of an adapter while it is trained: in float32, with two moments.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> lora = lora_lib.LoraConfig(rank=4, alpha=8.0, targets=("query",))
  >>> adapter_bytes(config, lora), adapter_bytes(config, None)
  (1536, 0)
  """
  if lora is None:
    return 0
  made = jax.eval_shape(lambda: lora_lib.init(config, lora, jax.random.key(0)))
  return _STATE_BYTES * sum(leaf.size for leaf in jax.tree.leaves(made))


def training_bytes(
  shapes: Shapes, axes: Axes, *, tokens: int, adapter: bool
) -> float:
  """Bytes of a device while a decoder, or an adapter of it, is trained.

  Its part of weights and moments in float32, of the base that is kept, and of
  the gradients; the stream before every layer, or with no remat all products;
  one layer and its gradient; the head twice, and its gradient in float32.

  Args:
    shapes: of the decoder.
    axes: of the mesh.
    tokens: of a step on a device, padding included.
    adapter: an adapter is trained, whose own few numbers are left out.
  """
  size, parts = shapes.itemsize, axes.fsdp * axes.tensor
  held = size * shapes.total / parts
  if not adapter:
    held += _STATE_BYTES * shapes.total / parts
    held += size * (shapes.weights + shapes.others) / parts
  each = shapes.width
  if not shapes.remat:
    each = shapes.product_numbers / axes.tensor
  hidden = (1 + shapes.halves) * shapes.mlp / axes.tensor
  saved = size * tokens * (shapes.layers * each + 2 * hidden)
  head = (2 * size + (0 if adapter else 4)) * shapes.head / axes.tensor
  return held + saved + head
