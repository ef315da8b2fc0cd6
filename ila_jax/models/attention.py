"""Attention: one function, several kernels."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ila_jax import errors
from ila_jax.models import layers

KERNELS = ("blocked",)

# Queries whose scores against all keys are held at one time.
_QUERY_BLOCK = 256


def attend(
  query: Float[Array, "b t h e"],
  key: Float[Array, "b t k e"],
  value: Float[Array, "b t k e"],
  segment_ids: Int[Array, "b t"],
  *,
  kernel: str = "blocked",
  scale: float | None = None,
  softcap: float | None = None,
  window: int | None = None,
  causal: bool = True,
) -> Float[Array, "b t f"]:
  """Causal attention inside each segment, softmax(q·k / sqrt(e))·v.

  A block of queries at a time meets all keys, so that memory grows with t and
  not with its square. The backward pass computes the scores again.

  Args:
    query: h heads of width e.
    key: k heads; each serves h / k query heads.
    value: k heads.
    segment_ids: tokens see only tokens of their own segment.
    kernel: how it is computed; one of `KERNELS`.
    scale: of the scores; 1 / sqrt(e) where None.
    softcap: bound of the scores.
    window: a token sees itself and the window - 1 tokens before it.
    causal: whether the future is hidden.

  Returns:
    What was seen, heads side by side (f = h * e).

  >>> x = jnp.ones((1, 4, 2, 8))
  >>> attend(x, x, x, jnp.ones((1, 4), jnp.int32)).shape
  (1, 4, 16)
  """
  if kernel not in KERNELS:
    raise errors.InputError(
      f"the attention kernel is {kernel!r}; allowed: {', '.join(KERNELS)}."
    )
  b, t, h, e = query.shape
  kv_heads = key.shape[2]
  size = min(_QUERY_BLOCK, t)
  count = -(-t // size)

  def split(x: Array) -> Array:
    tail = ((0, 0), (0, count * size - t)) + ((0, 0),) * (x.ndim - 2)
    x = jnp.pad(x, tail).reshape(x.shape[0], count, size, *x.shape[2:])
    return jnp.moveaxis(x, 1, 0)

  @jax.checkpoint
  def block_of(block: tuple[Array, Array, Array]) -> Array:
    part, segments, places = block
    ago = places[0, :, None] - jnp.arange(t)[None]
    near = (ago >= 0) | (not causal)
    near &= (ago < window) if window else True
    same = segments[:, :, None] == segment_ids[:, None, :]
    return _attend(part, key, value, same & near[None], scale, softcap)

  query = query.reshape(b, t, kv_heads, h // kv_heads, e)
  places = jnp.arange(t)[None]
  blocks = (split(query), split(segment_ids), split(places))
  seen = jnp.moveaxis(jax.lax.map(block_of, blocks), 0, 1)
  return seen.reshape(b, count * size, h * e)[:, :t]


def _attend(
  query: Float[Array, "b q k g e"],
  key: Float[Array, "b s k e"],
  value: Float[Array, "b s k e"],
  visible: Bool[Array, "b q s"],
  scale: float | None,
  softcap: float | None,
) -> Float[Array, "b q k g e"]:
  scores = layers.dot("bqkge,bske->bkgqs", query, key, dtype=jnp.float32)
  scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
  scores = layers.softcap(scores * scale, softcap)
  # Finite, so that a query that sees nothing (padding) has no NaN.
  scores = jnp.where(visible[:, None, None], scores, -1e30)
  weights = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
  return layers.dot("bkgqs,bske->bqkge", weights, value)
