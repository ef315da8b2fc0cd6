"""How far two models' next-token distributions are apart, target by target."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import layers, target_chunks

# Float32 logits of a model that exist at one time: those of some targets, each
# over the whole vocabulary. 16 MB on CPU, 128 MB on an accelerator.
_CPU_LOGITS, _ACCELERATOR_LOGITS = 2**22, 2**25
_LOG_2 = np.float32(np.log(2))


def token_jsd(
  hidden: tuple[Float[Array, "b t d"], Float[Array, "b t d"]],
  heads: tuple[Float[Array, "v d"], Float[Array, "v d"]],
  target_mask: Bool[Array, "b t"],
  *,
  softcap: float | None = None,
  chunk_tokens: int | None = None,
) -> Float[Array, "b t"]:
  """Computes the Jensen-Shannon divergence of p and q before each target.

      JSD(p, q) = KL(p, m) / 2 + KL(q, m) / 2,   m = (p + q) / 2

  As in `losses.token_nll`, prompt and padding never reach the heads, rows stay
  on the devices of `data` and `fsdp`, and the vocabulary is split over
  `tensor`.

  Args:
    hidden: final hidden states of both models; position i - 1 predicts token i.
      A target behind a state that is not finite has a divergence of NaN.
    heads: output heads, over the same vocabulary.
    target_mask: True where a token is to be predicted. Nothing predicts the
      first of a row, so it is never a target.
    softcap: of the logits of both, as in Gemma 2.
    chunk_tokens: targets whose logits exist at one time; None for what suits
      the platform.

  Returns:
    float32 in nats, from 0 to ln 2; 0 where there is no target.

  >>> sure = jnp.array([[[50.0, 0.0], [50.0, 0.0]]])
  >>> other, head = sure[:, :, ::-1], jnp.eye(2)
  >>> targets = jnp.array([[False, True]])
  >>> token_jsd((sure, other), (head, head), targets).round(4).tolist()
  [[0.0, 0.693...]]
  """
  rows, vocab = target_chunks.axes(target_mask.shape[0], heads[0].shape[0])
  local = functools.partial(
    _local_jsd,
    softcap=softcap,
    chunk_tokens=chunk_tokens,
    split=(rows, vocab),
  )
  run = target_chunks.on_mesh(local, (rows, rows, vocab, vocab, rows), (rows,))
  # As in `losses.token_nll`: a target stands where its state stands.
  is_target = jnp.roll(target_mask.at[:, 0].set(False), -1, axis=1)
  (jsd,) = run(*hidden, *heads, is_target)
  return jnp.roll(jsd, 1, axis=1)


def _local_jsd(
  hidden_p: Float[Array, "b t d"],
  hidden_q: Float[Array, "b t d"],
  head_p: Float[Array, "v d"],
  head_q: Float[Array, "v d"],
  is_target: Bool[Array, "b t"],
  *,
  softcap: float | None,
  chunk_tokens: int | None,
  split: tuple[tuple[str, ...] | None, str | None],
) -> tuple[Float[Array, "b t"]]:
  """Computes the divergences of one device's rows."""
  rows, vocab = split
  on_cpu = mesh_lib.platform() == "cpu"
  logits = _CPU_LOGITS if on_cpu else _ACCELERATOR_LOGITS
  width = chunk_tokens or max(logits // len(head_p), 1)
  states = [x.reshape(-1, x.shape[-1]) for x in (hidden_p, hidden_q)]
  count, places = target_chunks.chunks(is_target.reshape(-1), width)
  if rows and vocab:
    # Each chunk has sums over `tensor`: all devices go through as many.
    count = jax.lax.pmax(count, rows)

  def chunk(i: Array, jsd: Float[Array, " p"]) -> Float[Array, " p"]:
    taken = [target_chunks.take(x, places[i]) for x in states]
    log_p, log_q = (
      _log_softmax(x, head, softcap, vocab)
      for x, head in zip(taken, (head_p, head_q), strict=True)
    )
    here = _terms(log_p, log_q).sum(axis=1)
    here = jax.lax.psum(here, vocab) if vocab else here
    # A soft cap would hide an infinite state.
    finite = jnp.isfinite(jnp.concatenate(taken, axis=1)).all(axis=1)
    here = jnp.where(finite, jnp.maximum(here, 0), jnp.nan)
    return target_chunks.put(jsd, places[i], here)

  nothing = jnp.zeros(is_target.size, jnp.float32)
  jsd = jax.lax.fori_loop(0, count, chunk, nothing).reshape(is_target.shape)
  return (jnp.where(is_target, jsd, 0.0),)


def _log_softmax(
  states: Float[Array, "c d"],
  head: Float[Array, "v d"],
  softcap: float | None,
  vocab: str | None,
) -> Float[Array, "c v"]:
  """Computes log-probabilities of this device's part of the vocabulary."""
  logits = layers.dot("cd,vd->cv", states, head, dtype=jnp.float32)
  logits = layers.softcap(logits, softcap)
  most = logits.max(axis=1, keepdims=True)
  most = jax.lax.pmax(most, vocab) if vocab else most
  total = jnp.exp(logits - most).sum(axis=1, keepdims=True)
  total = jax.lax.psum(total, vocab) if vocab else total
  return logits - most - jnp.log(total)


def _terms(
  log_p: Float[Array, "c v"], log_q: Float[Array, "c v"]
) -> Float[Array, "c v"]:
  """Computes what each token of the vocabulary adds to the divergence.

  With x half the difference of the logarithms, that is
  m · (x · tanh(x) - ln cosh(x)): no term is a difference of large numbers, and
  each is 0 where the models agree.
  """
  x = (log_q - log_p) / 2
  mean = (jnp.exp(log_p) + jnp.exp(log_q)) / 2
  return mean * (x * jnp.tanh(x) - (jnp.logaddexp(x, -x) - _LOG_2))
