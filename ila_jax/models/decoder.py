"""A decoder of the Llama and Qwen2 families in Flax NNX.

The weights of all layers are stacked on a leading axis, so that one scan runs
them: the program's size and its compile time do not grow with the depth.
"""

import dataclasses
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from ila_jax import errors
from ila_jax.models import layers

_INITIAL_STD = 0.02

# Axes of the mesh that split a batch.
_BATCH = ("data", "fsdp")

# Where a weight lives: the first pattern found in its path decides.
SHARDING_RULES = (
  (r"\b(embedding|output_head)\b", PartitionSpec("tensor", "fsdp")),
  (
    r"\bblocks/(query|key|value|gate|up)\b",
    PartitionSpec(None, "fsdp", "tensor"),
  ),
  (r"\bblocks/(output|down)\b", PartitionSpec(None, "tensor", "fsdp")),
  (r"", PartitionSpec()),
)


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """Sizes of a decoder, and how it computes.

  Attributes:
    vocab: number of tokens v.
    layers: number of blocks.
    width: width of the residual stream d.
    heads: query heads of a block.
    kv_heads: key and value heads; divides `heads`.
    head_dim: width of a head; even, for the rotation works on pairs.
    mlp_width: hidden width of the gated MLP.
    rope_theta: base of the rotary frequencies.
    norm_eps: added to the mean square in RMS norms.
    qkv_bias: Qwen2 adds biases to query, key and value; Llama does not.
    tied: whether the output head is the embedding table.
    max_positions: positions that the model was made for.
    dtype: of activations and matrix products; softmax and norms are float32.
    param_dtype: of the weights as they are held.
    remat: recompute each block in the backward pass, to save memory.

  Raises:
    errors.InputError: sizes below 1, or that do not fit each other.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> DecoderConfig(**sizes, head_dim=5, mlp_width=16)
  Traceback (most recent call last):
  ila_jax.errors.InputError: decoder head_dim is 5; allowed: an even number...
  """

  vocab: int
  layers: int
  width: int
  heads: int
  kv_heads: int
  head_dim: int
  mlp_width: int
  rope_theta: float = 10000.0
  norm_eps: float = 1e-5
  qkv_bias: bool = False
  tied: bool = True
  max_positions: int = 2048
  dtype: str = "float32"
  param_dtype: str = "float32"
  remat: bool = False

  def __post_init__(self) -> None:
    """Checks that the sizes fit each other."""
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.type is int and value < 1:
        raise errors.InputError(
          f"decoder {field.name} is {value}; allowed: 1 or more."
        )
    if self.heads % self.kv_heads:
      raise errors.InputError(
        f"decoder kv_heads is {self.kv_heads}; allowed: a divisor of heads, "
        f"which is {self.heads}."
      )
    if self.head_dim % 2:
      raise errors.InputError(
        f"decoder head_dim is {self.head_dim}; allowed: an even number, for "
        "rotary positions turn pairs."
      )


class Blocks(nnx.Module):
  """The weights of all layers; the leading axis of each is the layer."""

  def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs) -> None:
    """Draws the matrices; norms and biases start as if absent."""
    stack, width, mlp = config.layers, config.width, config.mlp_width
    queries = config.heads * config.head_dim
    keys = config.kv_heads * config.head_dim
    shapes = {
      "query": (stack, width, queries),
      "key": (stack, width, keys),
      "value": (stack, width, keys),
      "output": (stack, queries, width),
      "gate": (stack, width, mlp),
      "up": (stack, width, mlp),
      "down": (stack, mlp, width),
    }
    drawn = layers.draw(
      rngs.params(),
      tuple(shapes.values()),
      std=_INITIAL_STD,
      dtype=config.param_dtype,
    )
    for name, matrix in zip(shapes, drawn, strict=True):
      # Two branches a layer add to the residual stream.
      branch = name in ("output", "down")
      scale = 1 / math.sqrt(2 * stack) if branch else 1.0
      setattr(self, name, nnx.Param(matrix * scale))
    dtype = jnp.dtype(config.param_dtype)
    if config.qkv_bias:
      for name in ("query", "key", "value"):
        bias = jnp.zeros((stack, shapes[name][-1]), dtype)
        setattr(self, f"{name}_bias", nnx.Param(bias))
    self.attention_norm = nnx.Param(jnp.ones((stack, width), dtype))
    self.mlp_norm = nnx.Param(jnp.ones((stack, width), dtype))


class Decoder(nnx.Module):
  """A causal language model: embedding, blocks, final norm, head.

  Weights that take no weight decay have `norm` or `bias` in their name (the
  number of axes does not tell, for layers are stacked).

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> model = Decoder(config, rngs=nnx.Rngs(0))
  >>> tokens = jnp.array([[1, 5, 9]])
  >>> positions, segments = jnp.array([[0, 1, 2]]), jnp.array([[1, 1, 1]])
  >>> model.hidden(tokens, positions, segments).shape
  (1, 3, 8)
  """

  def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs) -> None:
    """Draws the weights; runs under `nnx.eval_shape` too."""
    self.config = config
    tables = ((config.vocab, config.width),) * (1 if config.tied else 2)
    embedding, *head = layers.draw(
      rngs.params(), tables, std=_INITIAL_STD, dtype=config.param_dtype
    )
    self.embedding = nnx.Param(embedding)
    self.blocks = Blocks(config, rngs=rngs)
    self.final_norm = nnx.Param(
      jnp.ones((config.width,), jnp.dtype(config.param_dtype))
    )
    if head:
      self.output_head = nnx.Param(head[0])

  def hidden(
    self,
    tokens: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    segment_ids: Int[Array, "b t"],
  ) -> Float[Array, "b t d"]:
    """Final hidden states; what stands at i has seen its segment up to i.

    Args:
      tokens: token ids.
      positions: place of each token in its own example, from 0.
      segment_ids: 0 for padding, 1 and up for the examples packed in a row.

    Returns:
      Normed hidden states in the compute dtype; undefined at padding.
    """
    config = self.config
    # Whole rows where the tokens are looked up; only the vocabulary is split.
    table = layers.constrain(self.embedding[...], "tensor", None)
    x = layers.constrain(table[tokens].astype(config.dtype), _BATCH)
    angles = layers.rotary_angles(
      positions, head_dim=config.head_dim, theta=config.rope_theta
    )

    def body(x: Array, weights: dict[str, Array]) -> tuple[Array, None]:
      x = _block(x, weights, angles, segment_ids, config)
      return layers.constrain(x, _BATCH), None

    weights = nnx.to_pure_dict(nnx.state(self.blocks))
    body = jax.checkpoint(body) if config.remat else body
    x, _ = jax.lax.scan(body, x, weights)
    return layers.rms_norm(x, self.final_norm[...], eps=config.norm_eps)

  def head_weights(self) -> Float[Array, "v d"]:
    """The output head; the embedding table itself where they are tied."""
    return self.embedding[...] if self.config.tied else self.output_head[...]

  def logits(
    self,
    tokens: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    segment_ids: Int[Array, "b t"],
  ) -> Float[Array, "b t v"]:
    """All logits in float32: for tests and for text, not for losses."""
    x = self.hidden(tokens, positions, segment_ids)
    return layers.dot("btd,vd->btv", x, self.head_weights(), dtype=jnp.float32)


def _block(
  x: Float[Array, "b t d"],
  weights: dict[str, Array],
  angles: Float[Array, "b t e"],
  segment_ids: Int[Array, "b t"],
  config: DecoderConfig,
) -> Float[Array, "b t d"]:
  """One layer: attention, then the gated MLP, each on a normed input."""
  y = layers.rms_norm(x, weights["attention_norm"], eps=config.norm_eps)
  query, key, value = (
    _project(y, weights, name, config.head_dim)
    for name in ("query", "key", "value")
  )
  seen = layers.attention(
    layers.rotate(query, angles), layers.rotate(key, angles), value, segment_ids
  )
  x = x + layers.dot("btf,fd->btd", seen, weights["output"])
  y = layers.rms_norm(x, weights["mlp_norm"], eps=config.norm_eps)
  gate = jax.nn.silu(layers.dot("btd,df->btf", y, weights["gate"]))
  up = layers.dot("btd,df->btf", y, weights["up"])
  return x + layers.dot("btf,fd->btd", gate * up, weights["down"])


def _project(
  y: Float[Array, "b t d"], weights: dict[str, Array], name: str, head_dim: int
) -> Float[Array, "b t h e"]:
  out = layers.dot("btd,df->btf", y, weights[name])
  if f"{name}_bias" in weights:
    out = out + weights[f"{name}_bias"].astype(out.dtype)[None, None, :]
  return out.reshape(*out.shape[:2], -1, head_dim)


def shardings(tree: PyTree, mesh: jax.sharding.Mesh) -> PyTree:
  """Shardings of weights, or of what is kept beside them by an optimizer.

  Args:
    tree: arrays or their shapes, under the names of `Decoder`'s weights.
    mesh: with the axes data, fsdp and tensor.

  Returns:
    The same tree of `NamedSharding` by `SHARDING_RULES`. An axis whose size
    the mesh does not divide is not split.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"))
  >>> state = nnx.state(abstract(config))
  >>> shardings(state, mesh)["embedding"].get_value().spec
  P('tensor', 'fsdp')
  """

  def place(path: Any, leaf: Any) -> NamedSharding:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    spec = next(s for rule, s in SHARDING_RULES if re.search(rule, name))
    return NamedSharding(mesh, layers.fit(spec, leaf.shape, mesh.shape))

  return jax.tree_util.tree_map_with_path(place, tree)


def abstract(config: DecoderConfig) -> Decoder:
  """A decoder with shapes in the place of weights; `nnx.split` takes it.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> abstract(config).blocks.query.shape
  (2, 8, 8)
  """
  return nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))


def count_parameters(config: DecoderConfig) -> int:
  """Number of weights; a tied table counts once.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> count_parameters(DecoderConfig(**sizes, head_dim=4, mlp_width=16))
  1448
  """
  leaves = jax.tree.leaves(nnx.state(abstract(config)))
  return sum(math.prod(leaf.shape) for leaf in leaves)


def flops(
  config: DecoderConfig,
  *,
  tokens: int,
  attended: int,
  response_tokens: int,
) -> int:
  """FLOPs of the matrix products of a forward pass (a product-sum is 2).

  Args:
    config: sizes.
    tokens: tokens that pass the blocks.
    attended: pairs of a query and a key that it sees, over all tokens.
    response_tokens: tokens whose logits are computed.

  Returns:
    2·tokens·(weights of the blocks) + 4·attended·heads·head_dim·layers
    + 2·response_tokens·v·d. A backward pass costs twice as much again.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> flops(config, tokens=1, attended=1, response_tokens=1)
  2880
  """
  queries = config.heads * config.head_dim
  keys = config.kv_heads * config.head_dim
  block = config.width * (2 * queries + 2 * keys + 3 * config.mlp_width)
  per_layer = 2 * tokens * block + 4 * attended * queries
  head = 2 * response_tokens * config.vocab * config.width
  return config.layers * per_layer + head
