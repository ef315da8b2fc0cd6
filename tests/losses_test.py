import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ila_jax import losses
from ila_jax import mesh as mesh_lib


def _naive(hidden, head, tokens, target_mask):
  """The definition, with all logits at once."""
  logits = jnp.einsum("btd,vd->btv", hidden, head)
  log_p = jax.nn.log_softmax(logits[:, :-1], axis=-1)
  chosen = jnp.take_along_axis(log_p, tokens[:, 1:, None], axis=-1)[..., 0]
  nll = jnp.where(target_mask[:, 1:], -chosen, 0.0)
  return jnp.pad(nll, ((0, 0), (1, 0)))


def _case(b, t, d=12, v=33, share=0.6, seed=0):
  rng = np.random.default_rng(seed)
  hidden = rng.normal(size=(b, t, d)).astype(np.float32)
  head = rng.normal(size=(v, d)).astype(np.float32)
  tokens = rng.integers(0, v, (b, t)).astype(np.int32)
  targets = rng.random((b, t)) < share
  return tuple(map(jnp.asarray, (hidden, head, tokens, targets)))


@pytest.mark.parametrize(
  ("b", "t", "chunk_tokens"),
  [
    (3, 16, 12),
    (3, 17, 9),  # chunks that divide neither t nor b * t
    (5, 7, 1),  # fewer than a token a row
    (2, 9, 10_000),
    (4, 1, 8),
  ],
)
def test_value_and_gradient_equal_log_softmax(b, t, chunk_tokens):
  hidden, head, tokens, targets = _case(b, t)
  weight = np.random.default_rng(1).normal(size=(b, t)).astype(np.float32)

  def run(nll_of):
    def total(hidden, head):
      nll = nll_of(hidden, head, tokens, targets)
      return (nll * weight).sum(), nll

    run = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
    (_, nll), grads = jax.jit(run)(hidden, head)
    return nll, *grads

  got = run(functools.partial(losses.token_nll, chunk_tokens=chunk_tokens))
  assert got[0].dtype == jnp.float32
  np.testing.assert_array_equal(got[0][:, 0], 0)
  for ours, naive in zip(got, run(_naive), strict=True):
    np.testing.assert_allclose(ours, naive, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_rows_of_nothing_and_of_all(share):
  hidden, head, tokens, targets = _case(3, 8, share=share)
  targets = targets.at[1].set(share == 0.0)
  got = losses.token_nll(hidden, head, tokens, targets, chunk_tokens=6)
  want = _naive(hidden, head, tokens, targets)
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
  empty = 1 if share else 0
  np.testing.assert_array_equal(got[empty], 0)


def test_what_is_masked_cannot_poison():
  hidden, head, tokens, _ = _case(2, 8)
  targets = jnp.zeros((2, 8), bool).at[0, 3].set(True)
  want = losses.token_nll(hidden, head, tokens, targets, chunk_tokens=2)
  assert want[0, 3] > 0
  # Only what stands before the one target is read.
  hidden = jnp.full_like(hidden, jnp.nan).at[0, 2].set(hidden[0, 2])
  got = losses.token_nll(hidden, head, tokens, targets, chunk_tokens=2)
  np.testing.assert_array_equal(got, want)


def test_large_logits_do_not_overflow():
  hidden = jnp.full((1, 2, 1), 100.0)
  head = jnp.array([[100.0], [-100.0]])
  targets = jnp.ones((1, 2), bool)
  for token, want in ((0, 0.0), (1, 20000.0)):
    tokens = jnp.array([[0, token]])
    nll = losses.token_nll(hidden, head, tokens, targets, chunk_tokens=4)
    np.testing.assert_allclose(nll[0, 1], want)


def test_uniform_model_costs_log_v():
  _, _, tokens, targets = _case(2, 8, v=64)
  nll = losses.token_nll(
    jnp.zeros((2, 8, 4), jnp.bfloat16),
    jnp.zeros((64, 4)),
    tokens,
    targets,
    chunk_tokens=3,
  )
  assert nll.dtype == jnp.float32
  np.testing.assert_allclose(
    nll[:, 1:], targets[:, 1:] * math.log(64), rtol=1e-6
  )


@pytest.mark.parametrize("backward", [False, True])
def test_full_logits_are_never_held(backward):
  b, t, d, v, chunk = 4, 64, 8, 4096, 32
  shapes = (
    jax.ShapeDtypeStruct((b, t, d), jnp.float32),
    jax.ShapeDtypeStruct((v, d), jnp.float32),
    jax.ShapeDtypeStruct((b, t), jnp.int32),
    jax.ShapeDtypeStruct((b, t), jnp.bool_),
  )

  def total(nll_of, hidden, head, tokens, targets):
    return nll_of(hidden, head, tokens, targets).sum()

  def temporary_bytes(nll_of):
    run = functools.partial(total, nll_of)
    run = jax.grad(run, argnums=(0, 1)) if backward else run
    compiled = jax.jit(run).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  full = 4 * b * t * v
  chunked = functools.partial(losses.token_nll, chunk_tokens=chunk)
  # The measure sees full logits where they are.
  assert temporary_bytes(_naive) >= full
  # A few buffers of one chunk; an eighth of the tokens are in it.
  assert temporary_bytes(chunked) < full / 2


def test_eight_devices_equal_one():
  hidden, head, tokens, targets = _case(16, 24)
  mesh = mesh_lib.make()
  run = jax.jit(functools.partial(losses.token_nll, chunk_tokens=64))
  want = run(hidden, head, tokens, targets)
  rows = mesh_lib.put((hidden, tokens, targets), mesh)
  got = run(rows[0], mesh_lib.put(head, mesh, mesh_lib.REPLICATED), *rows[1:])
  assert got.sharding.num_devices == 8
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_packed_sums_equal_a_loop():
  rng = np.random.default_rng(0)
  nll = rng.normal(size=(4, 20)).astype(np.float32)
  targets = rng.random((4, 20)) < 0.5
  segments = np.sort(rng.integers(0, 4, (4, 20)), axis=1).astype(np.int32)
  segments[3] = 0
  rows = map(jnp.asarray, (nll, targets, segments))
  total, count = losses.example_nll(*rows, num_segments=5)
  for row in range(4):
    for segment in range(1, 6):
      chosen = targets[row] & (segments[row] == segment)
      assert count[row, segment - 1] == chosen.sum()
      np.testing.assert_allclose(
        total[row, segment - 1], nll[row, chosen].sum(), atol=1e-5
      )
