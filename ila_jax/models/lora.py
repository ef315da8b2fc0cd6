"""Low-rank adapters beside frozen weights (LoRA, Hu et al. 2021).

A matrix W is used as W + scale · A·B, with A [in, r] and B [r, out]. Only A
and B are trained. An adapter is a small tree, {target: {"a", "b"}}, so several
of them and the base model itself are scored while the weights are read once.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, PyTree

from ila_jax import errors
from ila_jax.models import architecture, layers
from ila_jax.models import decoder as decoder_lib

# The matrices of a block that may have an adapter.
TARGETS = ("query", "key", "value", "output", "gate", "up", "down")

# By target: a [layer, in, r] and b [layer, r, out], float32, not yet scaled.
Adapter = dict[str, dict[str, Array | np.ndarray]]

# As `decoder.SHARDING_RULES` splits the matrix; the rank is never split.
SHARDING_RULES = (
  (r"\b(query|key|value|gate|up)/a$", PartitionSpec(None, "fsdp", None)),
  (r"\b(query|key|value|gate|up)/b$", PartitionSpec(None, None, "tensor")),
  (r"\b(output|down)/a$", PartitionSpec(None, "tensor", None)),
  (r"\b(output|down)/b$", PartitionSpec(None, None, "fsdp")),
  (r"", PartitionSpec()),
)


@dataclasses.dataclass(frozen=True)
class LoraConfig:
  """Which matrices have an adapter, and how large it is.

  Attributes:
    rank: r, columns of A and rows of B.
    alpha: strength; A·B is scaled by alpha / rank.
    targets: names out of `TARGETS`.
    rank_stabilized: scale by alpha / √rank instead (Kalajdzievski 2023).

  Raises:
    errors.InputError: a rank below 1, an alpha that is not above 0, or targets
      that are unknown, named twice or none.

  >>> LoraConfig(rank=8, alpha=16, targets=("query", "value")).scale
  2.0
  >>> LoraConfig(rank=8, alpha=16, targets=("q_proj",))
  Traceback (most recent call last):
  ila_jax.errors.InputError: LoRA targets are q_proj; allowed: one or more ...
  """

  rank: int
  alpha: float | int
  targets: tuple[str, ...]
  rank_stabilized: bool = False

  def __post_init__(self) -> None:
    """Checks the fields one by one."""
    if self.rank < 1:
      raise errors.InputError(
        f"LoRA rank is {self.rank}; allowed: 1 or more; 8 is usual."
      )
    if not 0 < self.alpha < math.inf:
      raise errors.InputError(
        f"LoRA alpha is {self.alpha}; allowed: a number above 0; twice the "
        "rank is usual."
      )
    known = [t for t in TARGETS if t in self.targets]
    if not known or len(known) != len(self.targets):
      raise errors.InputError(
        f"LoRA targets are {', '.join(self.targets) or 'none'}; allowed: one "
        f"or more of {', '.join(TARGETS)}, each once."
      )

  @property
  def scale(self) -> float:
    """Returns what A·B is multiplied with."""
    root = math.sqrt(self.rank) if self.rank_stabilized else self.rank
    return self.alpha / root


def shapes(
  config: architecture.DecoderConfig, lora: LoraConfig
) -> dict[str, dict[str, tuple[int, int, int]]]:
  """Lists the shape of each factor of an adapter, named as in the adapter.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> shapes(config, LoraConfig(rank=3, alpha=3, targets=("down",)))
  {'down': {'a': (2, 16, 3), 'b': (2, 3, 8)}}
  """
  blocks = decoder_lib.abstract(config).blocks
  adapter = {}
  for target in lora.targets:
    depth, width_in, width_out = getattr(blocks, target).shape
    a, b = (depth, width_in, lora.rank), (depth, lora.rank, width_out)
    adapter[target] = {"a": a, "b": b}
  return adapter


@functools.partial(jax.jit, static_argnums=(0, 1))
def init(
  config: architecture.DecoderConfig, lora: LoraConfig, key: Array
) -> Adapter:
  """Draws an adapter that changes nothing yet: B is 0.

  A is uniform within ±1 / √in, which is how the peft library starts
  (Kaiming's bound with a = √5).

  Args:
    config: sizes of the decoder.
    lora: sizes of the adapter.
    key: of the draw; a target's numbers do not depend on the other targets.

  Returns:
    {target: {"a": [layer, in, r], "b": [layer, r, out]}} in float32.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> lora = LoraConfig(rank=3, alpha=3, targets=("query",))
  >>> adapter = init(config, lora, jax.random.key(0))
  >>> adapter["query"]["a"].shape, float(adapter["query"]["b"].sum())
  ((2, 8, 3), 0.0)
  """
  adapter = {}
  for target, factors in shapes(config, lora).items():
    one = jax.random.fold_in(key, TARGETS.index(target))
    bound = 1 / math.sqrt(factors["a"][1])
    adapter[target] = {
      "a": jax.random.uniform(one, factors["a"], minval=-bound, maxval=bound),
      "b": jnp.zeros(factors["b"]),
    }
  return adapter


def zero(adapter: Adapter) -> Adapter:
  """Makes the adapter of the base model itself: zeros, of the same shapes.

  >>> zero({"query": {"a": jnp.ones((1, 2, 1)), "b": jnp.ones((1, 1, 2))}})[
  ...   "query"
  ... ]["b"].tolist()
  [[[0.0, 0.0]]]
  """
  return jax.tree.map(jnp.zeros_like, adapter)


def stack(lora: LoraConfig, adapters: Sequence[Adapter]) -> Adapter:
  """Stacks adapters of one recipe as `Decoder.hidden` takes them.

  Args:
    lora: of all the adapters.
    adapters: m of them; the zero adapter stands for the base model.

  Returns:
    {target: {"a": [layer, m, in, r], "b": [layer, m, r, out]}}; B is scaled.

  >>> adapter = {"query": {"a": jnp.ones((2, 8, 4)), "b": jnp.ones((2, 4, 8))}}
  >>> lora = LoraConfig(rank=4, alpha=2, targets=("query",))
  >>> stacked = stack(lora, [zero(adapter), adapter])["query"]
  >>> stacked["b"].shape, stacked["b"][0, :, 0, 0].tolist()
  ((2, 2, 4, 8), [0.0, 0.5])
  """
  scaled = [
    {t: {"a": ab["a"], "b": ab["b"] * lora.scale} for t, ab in one.items()}
    for one in adapters
  ]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *scaled)


def merge(
  decoder: decoder_lib.Decoder, lora: LoraConfig, adapter: Adapter
) -> decoder_lib.Decoder:
  """Merges an adapter into full weights, W + scale · A·B.

  Args:
    decoder: the base; left as it is.
    lora: of the adapter.
    adapter: what was trained.

  Returns:
    A new decoder in the dtypes of the base; the sum is made in float32.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> base = decoder_lib.Decoder(config, rngs=nnx.Rngs(0))
  >>> lora = LoraConfig(rank=1, alpha=2, targets=("query",))
  >>> adapter = {"query": {"a": jnp.ones((2, 8, 1)), "b": jnp.ones((2, 1, 8))}}
  >>> tuned = merge(base, lora, adapter)
  >>> (tuned.blocks.query - base.blocks.query).mean().round(3).item()
  2.0
  """
  graphdef, state = nnx.split(decoder)
  weights = nnx.to_pure_dict(state)
  for target, ab in adapter.items():
    base = weights["blocks"][target]
    update = layers.dot("lir,lro->lio", jnp.asarray(ab["a"]), ab["b"])
    merged = base.astype(jnp.float32) + lora.scale * update
    weights["blocks"][target] = merged.astype(base.dtype)
  return nnx.merge(graphdef, weights)


def shardings(tree: PyTree, mesh: Mesh) -> PyTree:
  """Returns shardings of an adapter, or of what an optimizer keeps beside it.

  Args:
    tree: arrays or their shapes, under the names of an adapter.
    mesh: with the axes data, fsdp and tensor.

  Returns:
    The same tree of `NamedSharding`, by `SHARDING_RULES`.

  >>> mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"))
  >>> shardings({"query": {"a": jnp.ones((2, 8, 4))}}, mesh)["query"]["a"].spec
  P(None, 'fsdp', None)
  """
  return layers.place(tree, mesh, SHARDING_RULES)
