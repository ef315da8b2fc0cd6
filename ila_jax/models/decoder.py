"""A decoder of the Llama, Mistral, Qwen and Gemma families in Flax NNX.

The weights of all layers are stacked on a leading axis, so that one scan runs
them: the program's size and its compile time do not grow with the depth.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PyTree

from ila_jax.models import architecture, attention, layers, rotary

_INITIAL_STD = 0.02

# Axes of the mesh that split a batch.
_BATCH = ("data", "fsdp")

_ACTIVATIONS = {
  "silu": jax.nn.silu,
  "gelu_pytorch_tanh": functools.partial(jax.nn.gelu, approximate=True),
}

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


class Blocks(nnx.Module):
  """The weights of all layers; the leading axis of each is the layer."""

  def __init__(
    self, config: architecture.DecoderConfig, *, rngs: nnx.Rngs
  ) -> None:
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
    biased = {
      ("query", "key", "value"): config.qkv_bias,
      ("output",): config.output_bias,
      ("gate", "up", "down"): config.mlp_bias,
    }
    for name in (n for names, there in biased.items() if there for n in names):
      bias = jnp.zeros((stack, shapes[name][-1]), dtype)
      setattr(self, f"{name}_bias", nnx.Param(bias))
    norms = {"attention_norm": width, "mlp_norm": width}
    if config.sandwich_norms:
      norms |= {"attention_out_norm": width, "mlp_out_norm": width}
    if config.qk_norm:
      norms |= {"query_norm": config.head_dim, "key_norm": config.head_dim}
    for name, size in norms.items():
      setattr(self, name, nnx.Param(_norm_weights((stack, size), config)))


def _norm_weights(
  shape: tuple[int, ...], config: architecture.DecoderConfig
) -> Float[Array, "..."]:
  """Makes weights at which a norm does not scale."""
  start = 0.0 if config.norm_plus_one else 1.0
  return jnp.full(shape, start, config.param_dtype)


class Decoder(nnx.Module):
  """A causal language model: embedding, blocks, final norm, head.

  Weights that take no weight decay have `norm` or `bias` in their name (the
  number of axes does not tell, for layers are stacked).

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> model = Decoder(config, rngs=nnx.Rngs(0))
  >>> tokens = jnp.array([[1, 5, 9]])
  >>> positions, segments = jnp.array([[0, 1, 2]]), jnp.array([[1, 1, 1]])
  >>> model.hidden(tokens, positions, segments).shape
  (1, 3, 8)
  """

  def __init__(
    self, config: architecture.DecoderConfig, *, rngs: nnx.Rngs
  ) -> None:
    """Draws the weights; runs under `nnx.eval_shape` too."""
    self.config = config
    tables = ((config.vocab, config.width),) * (1 if config.tied else 2)
    embedding, *head = layers.draw(
      rngs.params(), tables, std=_INITIAL_STD, dtype=config.param_dtype
    )
    self.embedding = nnx.Param(embedding)
    self.blocks = Blocks(config, rngs=rngs)
    self.final_norm = nnx.Param(_norm_weights((config.width,), config))
    if head:
      self.output_head = nnx.Param(head[0])

  def hidden(
    self,
    tokens: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    segment_ids: Int[Array, "b t"],
    adapters: PyTree | None = None,
    layers_read: int | None = None,
    noise: Float[Array, "b t d"] | None = None,
    tap: Callable[[PyTree], PyTree] | None = None,
  ) -> Float[Array, "b t d"]:
    """Computes hidden states; that at i has seen its segment up to i.

    Args:
      tokens: token ids.
      positions: place of each token in its own example, from 0.
      segment_ids: 0 for padding, 1 and up for the examples packed in a row.
      adapters: low-rank updates of matrices, by their name: `a` [layer, m, in,
        r] and `b` [layer, m, r, out]; row i of the batch is under adapter
        i mod m.
      layers_read: None: all, and the final norm. A number: the residual stream
        after so many layers, without a norm.
      noise: added to the embeddings of the tokens, before they are scaled;
        None: nothing is.
      tap: makes the adapters of one layer of what `adapters` has of it, any
        tree whose leading axis is the layer; made again in the backward pass.

    Returns:
      Hidden states in the compute dtype; undefined at padding.
    """
    config = self.config
    x = layers.look_up(self.embedding[...], tokens).astype(config.dtype)
    if noise is not None:
      x = x + noise.astype(config.dtype)
    x = x * jnp.asarray(config.embedding_scale, config.dtype)
    x = layers.constrain(x, _BATCH)
    turns, local_turns = (
      rotary.table(positions, rope=rope, head_dim=config.head_dim)
      for rope in (config.rope, config.local_rope or config.rope)
    )

    def body(x: Array, layer: PyTree) -> tuple[Array, None]:
      weights, adapters, is_local = layer
      if tap is not None:
        adapters = tap(adapters)
      own = turns
      if config.local_rope:
        own = jnp.where(is_local, local_turns, turns)
      x = _block(x, weights, adapters, is_local, own, segment_ids, config)
      return layers.constrain(x, _BATCH), None

    weights = nnx.to_pure_dict(nnx.state(self.blocks))
    if config.remat:
      body = jax.checkpoint(body)
    elif tap is not None or layers.splits_weights():
      body = jax.checkpoint(body, policy=layers.saves)
    layer = (weights, adapters or {}, jnp.array(config.local))
    if layers_read is not None:
      # By number, for a part of the stacked weights would be a copy of them.
      def numbered(x: Array, i: Array) -> tuple[Array, None]:
        return body(x, jax.tree.map(lambda a: a[i], layer))

      return jax.lax.scan(numbered, x, jnp.arange(layers_read))[0]
    x, _ = jax.lax.scan(body, x, layer)
    return _norm(x, self.final_norm[...], config)

  def head_weights(self) -> Float[Array, "v d"]:
    """Returns the output head: the embedding table itself where it is tied."""
    return self.embedding[...] if self.config.tied else self.output_head[...]

  def logits(
    self,
    tokens: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    segment_ids: Int[Array, "b t"],
  ) -> Float[Array, "b t v"]:
    """Computes all logits in float32, for tests and for text, not for loss."""
    x = self.hidden(tokens, positions, segment_ids)
    logits = layers.dot(
      "btd,vd->btv", x, self.head_weights(), dtype=jnp.float32
    )
    return layers.softcap(logits, self.config.final_softcap)


def _block(
  x: Float[Array, "b t d"],
  weights: dict[str, Array],
  adapters: PyTree,
  is_local: Bool[Array, ""],
  turns: Float[Array, "b t 2 f"],
  segment_ids: Int[Array, "b t"],
  config: architecture.DecoderConfig,
) -> Float[Array, "b t d"]:
  """Runs one layer: attention, then the gated MLP, each on a normed input."""
  linear = functools.partial(_linear, weights=weights, adapters=adapters)

  def norm(x: Array, name: str) -> Array:
    # A norm that the family does not have is no norm.
    return _norm(x, weights[name], config) if name in weights else x

  y = norm(x, "attention_norm")
  query, key, value = (
    linear(y, name).reshape(*y.shape[:2], -1, config.head_dim)
    for name in ("query", "key", "value")
  )
  query = rotary.rotate(norm(query, "query_norm"), turns)
  key = rotary.rotate(norm(key, "key_norm"), turns)
  seen = _attend(query, key, value, segment_ids, is_local, config)
  x = x + norm(linear(seen, "output"), "attention_out_norm")
  y = norm(x, "mlp_norm")
  hidden = _ACTIVATIONS[config.activation](linear(y, "gate")) * linear(y, "up")
  return x + norm(linear(hidden, "down"), "mlp_out_norm")


def _attend(
  query: Float[Array, "b t h e"],
  key: Float[Array, "b t k e"],
  value: Float[Array, "b t k e"],
  segment_ids: Int[Array, "b t"],
  is_local: Bool[Array, ""],
  config: architecture.DecoderConfig,
) -> Float[Array, "b t f"]:
  """Attends to the window in a local layer, and to all before it in others."""
  attend = functools.partial(
    attention.attend,
    *(query, key, value, segment_ids),
    kernel=config.attention,
    scale=config.attention_scale,
    softcap=config.attention_softcap,
  )
  # A window that holds the whole row hides nothing.
  if not any(config.local) or config.window >= query.shape[1]:
    return attend()
  near = functools.partial(attend, mask=attention.Mask(window=config.window))
  return near() if all(config.local) else jax.lax.cond(is_local, near, attend)


def _norm(
  x: Float[Array, "... d"],
  scale: Float[Array, " d"],
  config: architecture.DecoderConfig,
) -> Float[Array, "... d"]:
  return layers.rms_norm(
    x, scale, eps=config.norm_eps, plus_one=config.norm_plus_one
  )


def _linear(
  x: Float[Array, "b t d"],
  name: str,
  *,
  weights: dict[str, Array],
  adapters: PyTree,
) -> Float[Array, "b t f"]:
  """Computes x·W + bias, and x·A·B of the adapter that each row is under."""
  out = layers.project(x, name, weights)
  if f"{name}_bias" in weights:
    out = out + weights[f"{name}_bias"].astype(out.dtype)[None, None, :]
  if name in adapters:
    out = out + layers.adapted(x, name, adapters[name], _BATCH)
  return out


def shardings(tree: PyTree, mesh: jax.sharding.Mesh) -> PyTree:
  """Returns shardings of weights, or of what an optimizer keeps beside them.

  Args:
    tree: arrays or their shapes, under the names of `Decoder`'s weights.
    mesh: with the axes data, fsdp and tensor.

  Returns:
    The same tree of `NamedSharding` by `SHARDING_RULES`. An axis whose size
    the mesh does not divide is not split.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"))
  >>> state = nnx.state(abstract(config))
  >>> shardings(state, mesh)["embedding"].get_value().spec
  P('tensor', 'fsdp')
  """
  return layers.place(tree, mesh, SHARDING_RULES)


def abstract(config: architecture.DecoderConfig) -> Decoder:
  """Makes a decoder with shapes for weights; `nnx.split` takes it.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> abstract(config).blocks.query.shape
  (2, 8, 8)
  """
  return nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))


def count_parameters(config: architecture.DecoderConfig) -> int:
  """Counts the weights; a tied table counts once.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> count_parameters(config)
  1448
  """
  leaves = jax.tree.leaves(nnx.state(abstract(config)))
  return sum(math.prod(leaf.shape) for leaf in leaves)
