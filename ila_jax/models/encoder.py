"""A sentence encoder, BERT or XLM-RoBERTa, in Flax NNX (docs/method.md 2.4)."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from ila_jax import errors
from ila_jax.models import attention, layers

_INITIAL_STD = 0.02

POOLINGS = ("cls", "mean", "weightedmean")

# A token sees its whole text.
_ALL = attention.Mask(causal=False)
# Axes of the mesh that split a batch.
_BATCH = ("data", "fsdp")

# Where a weight lives: the first pattern found in its path decides.
SHARDING_RULES = (
  (r"\bembedding\b", PartitionSpec("tensor", "fsdp")),
  (r"\bblocks/(query|key|value|up)\b", PartitionSpec(None, "fsdp", "tensor")),
  (r"\bblocks/(output|down)\b", PartitionSpec(None, "tensor", "fsdp")),
  (r"", PartitionSpec()),
)


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
  """Sizes of an encoder, and how it computes.

  Attributes:
    vocab: number of tokens v.
    layers: number of blocks.
    width: width of the residual stream d, and of the embedding.
    heads: attention heads; divides `width`.
    mlp_width: hidden width of the MLP.
    max_positions: longest text, in tokens.
    position_offset: rows of the position table before the first (XLM-R: 2).
    token_types: rows of the token type table; row 0 is used.
    norm_eps: added to the variance in layer norms.
    dtype: of activations and products; softmax, norms, pooling are float32.
    param_dtype: of the weights as they are held.
    attention: kernel of the attention, one of `attention.KERNELS`.

  >>> EncoderConfig(
  ...   vocab=32, layers=2, width=8, heads=3, mlp_width=16, max_positions=16
  ... )
  Traceback (most recent call last):
  ila_jax.errors.InputError: encoder heads is 3; allowed: a divisor of width...
  """

  vocab: int
  layers: int
  width: int
  heads: int
  mlp_width: int
  max_positions: int
  position_offset: int = 0
  token_types: int = 2
  norm_eps: float = 1e-12
  dtype: str = "float32"
  param_dtype: str = "float32"
  attention: str = "blocked"

  def __post_init__(self) -> None:
    """Checks that the sizes fit each other."""
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      least = 0 if field.name == "position_offset" else 1
      if field.type is int and value < least:
        raise errors.InputError(
          f"encoder {field.name} is {value}; allowed: {least} or more."
        )
    if self.width % self.heads:
      raise errors.InputError(
        f"encoder heads is {self.heads}; allowed: a divisor of width, which "
        f"is {self.width}."
      )


class Blocks(nnx.Module):
  """The weights of all layers; the leading axis of each is the layer."""

  def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs) -> None:
    """Draws the matrices; norms and biases start as if absent."""
    stack, width, mlp = config.layers, config.width, config.mlp_width
    shapes = dict.fromkeys(("query", "key", "value", "output"), (width, width))
    shapes |= {"up": (width, mlp), "down": (mlp, width)}
    drawn = layers.draw(
      rngs.params(),
      tuple((stack, *shape) for shape in shapes.values()),
      std=_INITIAL_STD,
      dtype=config.param_dtype,
    )
    dtype = jnp.dtype(config.param_dtype)
    for name, matrix in zip(shapes, drawn, strict=True):
      bias = jnp.zeros((stack, shapes[name][-1]), dtype)
      setattr(self, name, nnx.Param(matrix))
      setattr(self, f"{name}_bias", nnx.Param(bias))
    for name in ("attention_norm", "mlp_norm"):
      setattr(self, name, nnx.Param(jnp.ones((stack, width), dtype)))
      bias = jnp.zeros((stack, width), dtype)
      setattr(self, f"{name}_bias", nnx.Param(bias))


class Encoder(nnx.Module):
  """A bidirectional transformer whose norms follow each branch.

  >>> config = EncoderConfig(
  ...   vocab=32, layers=2, width=8, heads=2, mlp_width=16, max_positions=16
  ... )
  >>> model = Encoder(config, rngs=nnx.Rngs(0))
  >>> tokens = jnp.array([[1, 5, 9]])
  >>> positions, segments = jnp.array([[0, 1, 0]]), jnp.array([[1, 1, 2]])
  >>> hidden = model.hidden(tokens, positions, segments)
  >>> pool(hidden, segments, positions, "mean", num_segments=2).shape
  (1, 2, 8)
  """

  def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs) -> None:
    """Draws the weights; runs under `nnx.eval_shape` too."""
    self.config = config
    places = config.max_positions + config.position_offset
    tables = (config.vocab, places, config.token_types)
    drawn = layers.draw(
      rngs.params(),
      tuple((rows, config.width) for rows in tables),
      std=_INITIAL_STD,
      dtype=config.param_dtype,
    )
    self.embedding, self.position_embedding, self.type_embedding = map(
      nnx.Param, drawn
    )
    dtype = jnp.dtype(config.param_dtype)
    self.norm = nnx.Param(jnp.ones((config.width,), dtype))
    self.norm_bias = nnx.Param(jnp.zeros((config.width,), dtype))
    self.blocks = Blocks(config, rngs=rngs)

  def hidden(
    self,
    tokens: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    segment_ids: Int[Array, "b t"],
  ) -> Float[Array, "b t d"]:
    """Computes final hidden states; a token sees all tokens of its own text.

    Args:
      tokens: token ids, special tokens included.
      positions: place of each token in its own text, from 0.
      segment_ids: 0 for padding, 1 and up for the texts packed in a row.

    Returns:
      Hidden states in the compute dtype; undefined at padding, and NaN in a
      row with a text that is too long (see `check_length`).
    """
    config = self.config
    # Whole rows where the tokens are looked up; only the vocabulary is split.
    table = layers.constrain(self.embedding[...], "tensor", None)
    places = jnp.where(segment_ids > 0, positions, 0) + config.position_offset
    place = self.position_embedding[...].at[places]
    x = table[tokens] + place.get(mode="fill", fill_value=jnp.nan)
    x = (x + self.type_embedding[...][None, :1]).astype(config.dtype)
    x = _norm(x, self.norm[...], self.norm_bias[...], eps=config.norm_eps)
    x = layers.constrain(x, _BATCH)

    def body(x: Array, weights: dict[str, Array]) -> tuple[Array, None]:
      x = _block(x, weights, segment_ids, config)
      return layers.constrain(x, _BATCH), None

    weights = nnx.to_pure_dict(nnx.state(self.blocks))
    return jax.lax.scan(body, x, weights)[0]


def check_length(config: EncoderConfig, longest: int) -> None:
  """Refuses texts that are longer than the encoder was made for.

  >>> config = EncoderConfig(
  ...   vocab=32, layers=2, width=8, heads=2, mlp_width=16, max_positions=16
  ... )
  >>> check_length(config, 17)
  Traceback (most recent call last):
  ila_jax.errors.InputError: an input of the encoder has 17 tokens; allowed: ...
  """
  if longest > config.max_positions:
    raise errors.InputError(
      f"an input of the encoder has {longest} tokens; allowed: at most "
      f"{config.max_positions}. Set --config.encoder.max_tokens="
      f"{config.max_positions} or less."
    )


def pool(
  hidden: Float[Array, "b t d"],
  segment_ids: Int[Array, "b t"],
  positions: Int[Array, "b t"],
  kind: str,
  *,
  num_segments: int,
) -> Float[Array, "b s d"]:
  """Embeds the texts packed in each row: unit norm, float32.

  Args:
    hidden: hidden states.
    segment_ids: 0 for padding, 1 to `num_segments` for texts.
    positions: place of each token in its own text, from 0.
    kind: `cls`, the first token (BGE); `mean` over the text (MiniLM, E5); or
      `weightedmean`, in which token t, from 0, counts t + 1 times (SGPT).
    num_segments: texts in the fullest row.

  Returns:
    Column s is segment s + 1; zeros where a row has fewer.

  Raises:
    errors.InputError: another kind.

  >>> hidden = jnp.array([[[3.0, 4.0], [9.0, 9.0]]])
  >>> segments, positions = jnp.array([[1, 0]]), jnp.array([[0, 0]])
  >>> pool(hidden, segments, positions, "mean", num_segments=1).tolist()
  [[[0.6..., 0.8...]]]
  """
  if kind not in POOLINGS:
    raise errors.InputError(
      f"pooling is {kind!r}; allowed: {', '.join(POOLINGS)}."
    )
  texts = jnp.arange(1, num_segments + 1)
  member = segment_ids[..., None] == texts[None, None, :]
  if kind == "cls":
    member &= (positions == 0)[..., None]
    first = jnp.argmax(member, axis=1)[..., None]
    pooled = jnp.take_along_axis(hidden, first, axis=1).astype(jnp.float32)
    pooled = jnp.where(member.any(axis=1)[..., None], pooled, 0.0)
  else:
    # The norm that follows makes the mean and the sum the same.
    times = (positions + 1)[..., None] if kind == "weightedmean" else 1
    member = (member * times).astype(jnp.float32)
    pooled = layers.dot("bts,btd->bsd", member, hidden)
  norm = jnp.linalg.norm(pooled, axis=-1, keepdims=True)
  return pooled / jnp.where(norm == 0, 1.0, norm)


def _block(
  x: Float[Array, "b t d"],
  weights: dict[str, Array],
  segment_ids: Int[Array, "b t"],
  config: EncoderConfig,
) -> Float[Array, "b t d"]:
  """Runs one layer: attention, norm, MLP, norm."""
  eps = config.norm_eps
  query, key, value = (
    _linear(x, weights, name).reshape(*x.shape[:2], config.heads, -1)
    for name in ("query", "key", "value")
  )
  seen = attention.attend(
    *(query, key, value, segment_ids), kernel=config.attention, mask=_ALL
  )
  x = x + _linear(seen, weights, "output")
  x = _norm(
    x, weights["attention_norm"], weights["attention_norm_bias"], eps=eps
  )
  up = jax.nn.gelu(_linear(x, weights, "up"), approximate=False)
  x = x + _linear(up, weights, "down")
  return _norm(x, weights["mlp_norm"], weights["mlp_norm_bias"], eps=eps)


def _linear(
  x: Float[Array, "b t d"], weights: dict[str, Array], name: str
) -> Float[Array, "b t f"]:
  y = layers.dot("btd,df->btf", x, layers.matrix(weights, name, x.dtype))
  return y + weights[f"{name}_bias"].astype(y.dtype)[None, None, :]


def _norm(
  x: Float[Array, "b t d"],
  scale: Float[Array, " d"],
  bias: Float[Array, " d"],
  *,
  eps: float,
) -> Float[Array, "b t d"]:
  """Applies layer norm, in float32."""
  y = x.astype(jnp.float32)
  y = y - y.mean(axis=-1, keepdims=True)
  y = y * jax.lax.rsqrt((y * y).mean(axis=-1, keepdims=True) + eps)
  scale, bias = (w.astype(jnp.float32)[None, None, :] for w in (scale, bias))
  return (y * scale + bias).astype(x.dtype)


def shardings(tree: PyTree, mesh: jax.sharding.Mesh) -> PyTree:
  """Returns shardings of an encoder's weights, by `SHARDING_RULES`.

  >>> config = EncoderConfig(
  ...   vocab=32, layers=2, width=8, heads=2, mlp_width=16, max_positions=16
  ... )
  >>> mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"))
  >>> shardings(nnx.state(abstract(config)), mesh)["embedding"].get_value().spec
  P('tensor', 'fsdp')
  """
  return layers.place(tree, mesh, SHARDING_RULES)


def abstract(config: EncoderConfig) -> Encoder:
  """Makes an encoder with shapes in the place of weights."""
  return nnx.eval_shape(lambda: Encoder(config, rngs=nnx.Rngs(0)))


def flops(config: EncoderConfig, lengths: Sequence[int]) -> int:
  """Counts FLOPs of a forward pass's matrix products (a product-sum is 2).

  Per layer 2·t·(4·d² + 2·d·mlp) + 4·t²·d, for a text of t tokens; padding is
  not counted.

  Args:
    config: sizes.
    lengths: tokens of each text.

  >>> config = EncoderConfig(
  ...   vocab=32, layers=1, width=8, heads=2, mlp_width=16, max_positions=16
  ... )
  >>> flops(config, [1, 2])
  3232
  """
  block = config.width * (4 * config.width + 2 * config.mlp_width)
  tokens = sum(int(t) for t in lengths)
  pairs = sum(int(t) ** 2 for t in lengths)
  return config.layers * (2 * tokens * block + 4 * pairs * config.width)
