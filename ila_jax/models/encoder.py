"""A sentence encoder of the BERT family in Flax NNX (Section 2.4)."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from ila_jax import errors
from ila_jax.models import layers

_INITIAL_STD = 0.02

POOLINGS = ("cls", "mean")


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
  """Sizes of an encoder, and how it computes.

  Attributes:
    vocab: number of tokens v.
    layers: number of blocks.
    width: width of the residual stream d, and of the embedding.
    heads: attention heads; divides `width`.
    mlp_width: hidden width of the MLP.
    max_positions: longest input, in tokens.
    token_types: rows of the token type table; row 0 is used.
    norm_eps: added to the variance in layer norms.
    dtype: of activations and matrix products; softmax, norms and pooling are
      float32.
    param_dtype: of the weights as they are held.

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
  token_types: int = 2
  norm_eps: float = 1e-12
  dtype: str = "float32"
  param_dtype: str = "float32"

  def __post_init__(self) -> None:
    """Checks that the sizes fit each other."""
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.type is int and value < 1:
        raise errors.InputError(
          f"encoder {field.name} is {value}; allowed: 1 or more."
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
  >>> tokens, mask = jnp.array([[1, 5, 0]]), jnp.array([[True, True, False]])
  >>> pool(model.hidden(tokens, mask), mask, "mean").shape
  (1, 8)
  """

  def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs) -> None:
    """Draws the weights; runs under `nnx.eval_shape` too."""
    self.config = config
    tables = (config.vocab, config.max_positions, config.token_types)
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
    self, tokens: Int[Array, "b t"], mask: Bool[Array, "b t"]
  ) -> Float[Array, "b t d"]:
    """Final hidden states; every token sees all tokens under the mask.

    Args:
      tokens: token ids, special tokens included.
      mask: True for tokens, False for padding.

    Returns:
      Hidden states in the compute dtype; undefined at padding.

    Raises:
      errors.InputError: t is above `max_positions`.
    """
    config, t = self.config, tokens.shape[1]
    if t > config.max_positions:
      raise errors.InputError(
        f"an input of the encoder has {t} tokens; allowed: at most "
        f"{config.max_positions}. Set --config.encoder.max_tokens="
        f"{config.max_positions} or less."
      )
    x = self.embedding[...][tokens] + self.position_embedding[...][None, :t]
    x = (x + self.type_embedding[...][None, :1]).astype(config.dtype)
    x = _norm(x, self.norm[...], self.norm_bias[...], eps=config.norm_eps)

    def body(x: Array, weights: dict[str, Array]) -> tuple[Array, None]:
      return _block(x, weights, mask, config), None

    weights = nnx.to_pure_dict(nnx.state(self.blocks))
    return jax.lax.scan(body, x, weights)[0]


def pool(
  hidden: Float[Array, "b t d"], mask: Bool[Array, "b t"], kind: str
) -> Float[Array, "b d"]:
  """Sentence embeddings from hidden states: unit norm, float32.

  Args:
    hidden: hidden states.
    mask: True for tokens, False for padding.
    kind: `cls`, the first token (BGE), or `mean` over the mask (MiniLM, E5).

  Returns:
    Unit-norm rows; zeros where a row has no tokens.

  >>> hidden = jnp.array([[[3.0, 4.0], [9.0, 9.0]]])
  >>> pool(hidden, jnp.array([[True, False]]), "mean").round(3).tolist()
  [[0.6000..., 0.8000...]]
  """
  if kind not in POOLINGS:
    raise errors.InputError(
      f"pooling is {kind!r}; allowed: {', '.join(POOLINGS)}."
    )
  hidden = jnp.where(mask[..., None], hidden.astype(jnp.float32), 0.0)
  # The norm that follows makes the mean and the sum the same.
  pooled = hidden[:, 0] if kind == "cls" else hidden.sum(axis=1)
  norm = jnp.linalg.norm(pooled, axis=-1, keepdims=True)
  return pooled / jnp.where(norm == 0, 1.0, norm)


def _block(
  x: Float[Array, "b t d"],
  weights: dict[str, Array],
  mask: Bool[Array, "b t"],
  config: EncoderConfig,
) -> Float[Array, "b t d"]:
  """One layer: attention, norm, MLP, norm."""
  eps = config.norm_eps
  query, key, value = (
    _linear(x, weights, name).reshape(*x.shape[:2], config.heads, -1)
    for name in ("query", "key", "value")
  )
  scores = layers.dot("bqhe,bshe->bhqs", query, key, dtype=jnp.float32)
  scores = scores / math.sqrt(query.shape[-1])
  # Finite, so that a row without tokens has no NaN.
  scores = jnp.where(mask[:, None, None, :], scores, -1e30)
  seen = jax.nn.softmax(scores, axis=-1).astype(x.dtype)
  seen = layers.dot("bhqs,bshe->bqhe", seen, value).reshape(x.shape)
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
  y = layers.dot("btd,df->btf", x, weights[name])
  return y + weights[f"{name}_bias"].astype(y.dtype)[None, None, :]


def _norm(
  x: Float[Array, "b t d"],
  scale: Float[Array, " d"],
  bias: Float[Array, " d"],
  *,
  eps: float,
) -> Float[Array, "b t d"]:
  """Layer norm in float32."""
  y = x.astype(jnp.float32)
  y = y - y.mean(axis=-1, keepdims=True)
  y = y * jax.lax.rsqrt((y * y).mean(axis=-1, keepdims=True) + eps)
  scale, bias = (w.astype(jnp.float32)[None, None, :] for w in (scale, bias))
  return (y * scale + bias).astype(x.dtype)


def flops(config: EncoderConfig, lengths: Sequence[int]) -> int:
  """FLOPs of the matrix products of a forward pass (a product-sum is 2).

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
