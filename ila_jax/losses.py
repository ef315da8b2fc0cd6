"""Masked token loss without a full logit matrix (2.1)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ila_jax.models import layers


def token_nll(
  hidden: Float[Array, "b t d"],
  head: Float[Array, "v d"],
  tokens: Int[Array, "b t"],
  target_mask: Bool[Array, "b t"],
  *,
  chunk_tokens: int,
  softcap: float | None = None,
) -> Float[Array, "b t"]:
  """Loss of each target, -log p(token_i | all before); Section 2.1.

  Targets are brought to the front of their row and met a chunk at a time:
  logits exist for one chunk only, in both passes, and a chunk without targets
  costs nothing. Prompt and padding never reach the head.

  Args:
    hidden: final hidden states; position i - 1 predicts token i.
    head: output head.
    tokens: token ids.
    target_mask: True where a token is to be predicted. Nothing predicts the
      first of a row, so it is never a target.
    chunk_tokens: logits held at one time, in tokens of the whole batch.
    softcap: bound of the logits.

  Returns:
    float32 losses in nats, 0 where there is no target.

  >>> hidden, head = jnp.zeros((1, 3, 4)), jnp.zeros((8, 4))
  >>> tokens, targets = jnp.array([[1, 2, 3]]), jnp.array([[False, True, True]])
  >>> token_nll(hidden, head, tokens, targets, chunk_tokens=2).round(4).tolist()
  [[0.0, 2.0794..., 2.0794...]]
  """
  b, t = tokens.shape
  width = min(max(chunk_tokens // max(b, 1), 1), t)
  chunks = -(-t // width)
  target_mask = target_mask.at[:, 0].set(False)
  order = jnp.argsort(~target_mask, axis=1, stable=True)

  def split(x: Array) -> Array:
    tail = ((0, 0), (0, chunks * width - t)) + ((0, 0),) * (x.ndim - 2)
    x = jnp.pad(x, tail).reshape(b, chunks, width, *x.shape[2:])
    return jnp.moveaxis(x, 1, 0)

  previous = jnp.maximum(order - 1, 0)
  inputs = (
    split(jnp.take_along_axis(hidden, previous[..., None], axis=1)),
    split(jnp.take_along_axis(tokens, order, axis=1)),
    split(jnp.take_along_axis(target_mask, order, axis=1)),
  )

  @jax.checkpoint
  def chunk_nll(chunk: tuple[Array, Array, Array]) -> Array:
    return jax.lax.cond(
      chunk[2].any(),
      lambda: _nll(*chunk, head, softcap),
      lambda: jnp.zeros((b, width), jnp.float32),
    )

  nll = jnp.moveaxis(jax.lax.map(chunk_nll, inputs), 0, 1).reshape(b, -1)
  place = jnp.argsort(order, axis=1)
  return jnp.take_along_axis(nll[:, :t], place, axis=1)


def _nll(
  hidden: Float[Array, "b c d"],
  tokens: Int[Array, "b c"],
  target_mask: Bool[Array, "b c"],
  head: Float[Array, "v d"],
  softcap: float | None,
) -> Float[Array, "b c"]:
  logits = layers.dot("bcd,vd->bcv", hidden, head, dtype=jnp.float32)
  logits = layers.softcap(logits, softcap)
  chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
  nll = jax.nn.logsumexp(logits, axis=-1) - chosen
  return jnp.where(target_mask, nll, 0.0)


def example_nll(
  nll: Float[Array, "b t"],
  target_mask: Bool[Array, "b t"],
  segment_ids: Int[Array, "b t"],
  *,
  num_segments: int,
) -> tuple[Float[Array, "b s"], Int[Array, "b s"]]:
  """Sum of losses and number of targets of each packed example (2.1).

  Args:
    nll: losses by token.
    target_mask: which tokens count.
    segment_ids: 0 for padding, 1 to `num_segments` for examples.
    num_segments: examples in the fullest row.

  Returns:
    (sum in float32, count in int32); column s is segment s + 1, and both are 0
    where a row has fewer segments.

  >>> nll = jnp.array([[0.0, 1.0, 2.0]])
  >>> targets = jnp.array([[False, True, True]])
  >>> segments = jnp.array([[1, 1, 2]])
  >>> total, count = example_nll(nll, targets, segments, num_segments=2)
  >>> total.tolist(), count.tolist()
  ([[1.0, 2.0]], [[1, 1]])
  """
  segments = jnp.arange(1, num_segments + 1)
  counts = segment_ids[..., None] == segments[None, None, :]
  counts = counts & target_mask[..., None]
  total = jnp.where(counts, nll[..., None].astype(jnp.float32), 0.0)
  return total.sum(axis=1), counts.sum(axis=1, dtype=jnp.int32)
