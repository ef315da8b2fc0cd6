"""Attention: one function, several kernels."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ila_jax.models import layers

# Queries whose scores against all keys are held at one time.
_QUERY_BLOCK = 256


def attend(
  query: Float[Array, "b t h e"],
  key: Float[Array, "b t k e"],
  value: Float[Array, "b t k e"],
  segment_ids: Int[Array, "b t"],
) -> Float[Array, "b t f"]:
  """Causal attention inside each segment, softmax(q·k / sqrt(e))·v.

  A block of queries at a time meets all keys, so that memory grows with t and
  not with its square. The backward pass computes the scores again.

  Args:
    query: h heads of width e.
    key: k heads; each serves h / k query heads.
    value: k heads.
    segment_ids: tokens see only tokens of their own segment.

  Returns:
    What was seen, heads side by side (f = h * e).

  >>> x = jnp.ones((1, 4, 2, 8))
  >>> attend(x, x, x, jnp.ones((1, 4), jnp.int32)).shape
  (1, 4, 16)
  """
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
    causal = places[0, :, None] >= jnp.arange(t)[None]
    same = segments[:, :, None] == segment_ids[:, None, :]
    return _attend(part, key, value, same & causal[None])

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
) -> Float[Array, "b q k g e"]:
  scores = layers.dot("bqkge,bske->bkgqs", query, key, dtype=jnp.float32)
  scores = scores / math.sqrt(query.shape[-1])
  # Finite, so that a query that sees nothing (padding) has no NaN.
  scores = jnp.where(visible[:, None, None], scores, -1e30)
  weights = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
  return layers.dot("bkgqs,bske->bqkge", weights, value)
