"""Masked token loss without a logit matrix, docs/method.md 2.1."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import layers, target_chunks

# The block of float32 logits that exists at one time, (tokens, vocabulary).
# On CPU it has to stay in cache; an accelerator wants work for all its cores.
_CPU_BLOCK = (128, 4096)
_ACCELERATOR_BLOCK = (2048, 8192)


class _Plan(NamedTuple):
  softcap: float | None
  chunk_tokens: int
  chunk_vocab: int


def token_nll(
  hidden: Float[Array, "b t d"],
  head: Float[Array, "v d"],
  tokens: Int[Array, "b t"],
  target_mask: Bool[Array, "b t"],
  *,
  softcap: float | None = None,
  chunk_tokens: int | None = None,
  chunk_vocab: int | None = None,
) -> Float[Array, "b t"]:
  """Computes each target's loss, -log p(token_i | before); docs/method.md 2.1.

  As in Cut Cross-Entropy (Wijmans et al. 2024, arXiv:2411.09009) a block of
  logits is made, folded into a running log-sum-exp, and forgotten; the
  gradient makes it again. Prompt and padding never reach the head: each device
  gathers its own targets and takes as many chunks as they fill.

  Under `jax.set_mesh` rows stay on the devices of `data` and `fsdp`, and the
  vocabulary is split over `tensor`.

  Args:
    hidden: final hidden states; position i - 1 predicts token i. A target
      behind a state that is not finite has a loss that is not finite.
    head: output head.
    tokens: token ids.
    target_mask: True where a token is to be predicted. Nothing predicts the
      first of a row, so it is never a target.
    softcap: logits are softcap · tanh(logits / softcap), as in Gemma 2.
    chunk_tokens: targets of a block; None for what suits the platform.
    chunk_vocab: tokens of the vocabulary in a block, at most (but for whole
      tiles of 128); None likewise.

  Returns:
    float32 losses in nats, 0 where there is no target.

  >>> hidden, head = jnp.zeros((1, 3, 4)), jnp.zeros((8, 4))
  >>> tokens, targets = jnp.array([[1, 2, 3]]), jnp.array([[False, True, True]])
  >>> token_nll(hidden, head, tokens, targets).round(4).tolist()
  [[0.0, 2.0794..., 2.0794...]]
  """
  on_cpu = mesh_lib.platform() == "cpu"
  block = _CPU_BLOCK if on_cpu else _ACCELERATOR_BLOCK
  plan = _Plan(softcap, chunk_tokens or block[0], chunk_vocab or block[1])
  # From here on everything stands where the state stands that predicts it.
  ahead = functools.partial(jnp.roll, shift=-1, axis=1)
  labels, is_target = ahead(tokens), ahead(target_mask.at[:, 0].set(False))
  return jnp.roll(_nll(hidden, head, labels, is_target, plan), 1, axis=1)


def _nll_forward(
  hidden: Float[Array, "b t d"],
  head: Float[Array, "v d"],
  labels: Int[Array, "b t"],
  is_target: Bool[Array, "b t"],
  plan: _Plan,
) -> tuple[Array, tuple[Array, ...]]:
  rows, vocab = target_chunks.axes(labels.shape[0], head.shape[0])
  local = functools.partial(_local_nll, plan=plan, vocab=vocab)
  run = target_chunks.on_mesh(local, (rows, vocab, rows, rows), (rows, rows))
  nll, lse = run(hidden, head, labels, is_target)
  return nll, (hidden, head, labels, is_target, lse)


def _nll_backward(
  plan: _Plan, saved: tuple[Array, ...], gradient: Float[Array, "b t"]
) -> tuple[Array, Array, None, None]:
  hidden, head, labels, is_target, lse = saved
  rows, vocab = target_chunks.axes(labels.shape[0], head.shape[0])
  local = functools.partial(_local_gradient, plan=plan, rows=rows, vocab=vocab)
  run = target_chunks.on_mesh(
    local, (rows, vocab, rows, rows, rows), (rows, vocab)
  )
  # What has no gradient need not be computed, and must not spoil a sum.
  gradient = jnp.where(is_target, gradient, 0.0)
  return *run(hidden, head, labels, lse, gradient), None, None


_nll = jax.custom_vjp(lambda *x: _nll_forward(*x)[0], nondiff_argnums=(4,))
_nll.defvjp(_nll_forward, _nll_backward)


def _local_nll(
  hidden: Float[Array, "b t d"],
  head: Float[Array, "v d"],
  labels: Int[Array, "b t"],
  is_target: Bool[Array, "b t"],
  *,
  plan: _Plan,
  vocab: str | None,
) -> tuple[Float[Array, "b t"], Float[Array, "b t"]]:
  """Computes losses and log-sum-exp of all logits for one device's rows."""
  states = hidden.reshape(-1, hidden.shape[-1])
  labels = (labels - _first(head, vocab)).reshape(-1)
  chunks, places = target_chunks.chunks(
    is_target.reshape(-1), plan.chunk_tokens
  )

  def chunk(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
    at = places[i]
    sums_here = _log_sum_exp(
      target_chunks.take(states, at), target_chunks.take(labels, at), head, plan
    )
    return jax.tree.map(
      lambda x, y: target_chunks.put(x, at, y), sums, sums_here
    )

  nothing = jnp.zeros(labels.shape, jnp.float32)
  lse, chosen = jax.lax.fori_loop(0, chunks, chunk, (nothing, nothing))
  if vocab:
    most = jax.lax.pmax(lse, vocab)
    lse = most + jnp.log(jax.lax.psum(jnp.exp(lse - most), vocab))
    chosen = jax.lax.psum(chosen, vocab)
  lse, chosen = (x.reshape(is_target.shape) for x in (lse, chosen))
  return jnp.where(is_target, lse - chosen, 0.0), lse


def _local_gradient(
  hidden: Float[Array, "b t d"],
  head: Float[Array, "v d"],
  labels: Int[Array, "b t"],
  lse: Float[Array, "b t"],
  gradient: Float[Array, "b t"],
  *,
  plan: _Plan,
  rows: tuple[str, ...] | None,
  vocab: str | None,
) -> tuple[Float[Array, "b t d"], Float[Array, "v d"]]:
  """Computes gradients for a device's rows, and for its part of the head."""
  states = hidden.reshape(-1, hidden.shape[-1])
  labels = (labels - _first(head, vocab)).reshape(-1)
  lse, gradient = lse.reshape(-1), gradient.reshape(-1)
  chunks, places = target_chunks.chunks(gradient != 0, plan.chunk_tokens)

  def chunk(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
    at = places[i]
    taken = (target_chunks.take(x, at) for x in (states, labels, lse, gradient))
    for_states, for_head = _chunk_gradient(*taken, head, sums[1], plan)
    return target_chunks.put(sums[0], at, for_states), for_head

  nothing = tuple(jnp.zeros(x.shape, jnp.float32) for x in (states, head))
  for_states, for_head = jax.lax.fori_loop(0, chunks, chunk, nothing)
  if vocab:
    for_states = jax.lax.psum(for_states, vocab)
  if rows:
    for_head = jax.lax.psum(for_head, rows)
  for_states = for_states.reshape(hidden.shape)
  return for_states.astype(hidden.dtype), for_head.astype(head.dtype)


def _first(head: Float[Array, "v d"], vocab: str | None) -> Array | int:
  """Returns the token of the first row of this device's part of the head."""
  return jax.lax.axis_index(vocab) * len(head) if vocab else 0


def _log_sum_exp(
  states: Float[Array, "c d"],
  labels: Int[Array, " c"],
  head: Float[Array, "v d"],
  plan: _Plan,
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
  """Computes log-sum-exp over the vocabulary, and the logit of the label."""

  def block(i: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
    most, total, chosen = sums
    _, columns, is_new, logits = _logits(states, head, i, plan)
    logits = jnp.where(is_new, logits, -jnp.inf)
    higher = jnp.maximum(most, logits.max(axis=1))
    total *= jnp.exp(most - higher)
    total += jnp.exp(logits - higher[:, None]).sum(axis=1)
    is_label = (columns == labels[:, None]) & is_new
    chosen += jnp.where(is_label, logits, 0.0).sum(axis=1)
    return higher, total, chosen

  zeros = jnp.zeros(labels.shape, jnp.float32)
  start, blocks = (zeros - jnp.inf, zeros, zeros), _blocks(head, plan)[0]
  most, total, chosen = jax.lax.fori_loop(0, blocks, block, start)
  lse = most + jnp.log(total)
  # A soft cap would hide an infinite state.
  finite = jnp.isfinite(states).all(axis=1)
  return jnp.where(finite, lse, jnp.nan), chosen


def _chunk_gradient(
  states: Float[Array, "c d"],
  labels: Int[Array, " c"],
  lse: Float[Array, " c"],
  gradient: Float[Array, " c"],
  head: Float[Array, "v d"],
  for_head: Float[Array, "v d"],
  plan: _Plan,
) -> tuple[Float[Array, "c d"], Float[Array, "v d"]]:
  """Computes the states' gradient, and adds theirs to that of the head."""

  def block(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
    for_states, for_head = sums
    part, columns, is_new, logits = _logits(states, head, i, plan)
    slope = jnp.exp(logits - lse[:, None]) - (columns == labels[:, None])
    if plan.softcap:
      slope *= 1 - (logits / plan.softcap) ** 2
    slope = jnp.where(is_new, slope * gradient[:, None], 0.0)
    slope = slope.astype(states.dtype)
    for_states += layers.dot("cw,wd->cd", slope, part, dtype=jnp.float32)
    more = layers.dot("cw,cd->wd", slope, states, dtype=jnp.float32)
    place = (columns[0, 0], 0)
    old = jax.lax.dynamic_slice(for_head, place, more.shape)
    return for_states, jax.lax.dynamic_update_slice(for_head, old + more, place)

  start = (jnp.zeros(states.shape, jnp.float32), for_head)
  return jax.lax.fori_loop(0, _blocks(head, plan)[0], block, start)


def _blocks(head: Float[Array, "v d"], plan: _Plan) -> tuple[int, int]:
  """Returns number and width of the blocks: even, so that little overlaps."""
  blocks = -(-len(head) // plan.chunk_vocab)
  tile = min(128, plan.chunk_vocab)  # of an accelerator
  width = min(-(-len(head) // blocks // tile) * tile, len(head))
  return -(-len(head) // width), width


def _logits(
  states: Float[Array, "c d"],
  head: Float[Array, "v d"],
  i: Int[Array, ""],
  plan: _Plan,
) -> tuple[Array, Int[Array, "1 w"], Bool[Array, "1 w"], Float[Array, "c w"]]:
  """Returns block i of the head, its columns, which are new, and its logits.

  The last block ends where the head ends, over columns of the one before.
  """
  width = _blocks(head, plan)[1]
  start = jnp.minimum(i * width, len(head) - width)
  part = jax.lax.dynamic_slice_in_dim(head, start, width)
  columns = start + jnp.arange(width)[None]
  logits = layers.dot("cd,wd->cw", states, part, dtype=jnp.float32)
  logits = layers.softcap(logits, plan.softcap)
  return part, columns, columns >= i * width, logits


def example_nll(
  nll: Float[Array, "b t"],
  target_mask: Bool[Array, "b t"],
  segment_ids: Int[Array, "b t"],
  *,
  num_segments: int,
) -> tuple[Float[Array, "b s"], Int[Array, "b s"]]:
  """Sums losses and counts targets of each example (docs/method.md 2.1).

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

  # One segment after the other: nothing of size b × t × s, and a loss that is
  # not finite stays where it is. A scatter adds in no order on a GPU, and its
  # last bits would be others each time.
  def one(segment: Array) -> tuple[Array, Array]:
    is_own = target_mask & (segment_ids == segment)
    own = jnp.where(is_own, nll.astype(jnp.float32), 0.0)
    return own.sum(axis=1), is_own.sum(axis=1, dtype=jnp.int32)

  total, count = jax.lax.map(one, jnp.arange(1, num_segments + 1))
  return total.T, count.T
