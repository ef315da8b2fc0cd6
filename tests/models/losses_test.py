import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import layers, losses


def _naive(hidden, head, tokens, target_mask, softcap=None):
  """The definition, with all logits at once."""
  logits = jnp.einsum("btd,vd->btv", hidden, head, precision="highest")
  if softcap:
    logits = softcap * jnp.tanh(logits / softcap)
  log_p = jax.nn.log_softmax(logits[:, :-1], axis=-1)
  chosen = jnp.take_along_axis(log_p, tokens[:, 1:, None], axis=-1)[..., 0]
  nll = jnp.where(target_mask[:, 1:], -chosen, 0.0)
  return jnp.pad(nll, ((0, 0), (1, 0)))


def _with_gradients(nll_of, hidden, head, tokens, targets):
  """Losses, and gradients of a weighted sum of them for states and head."""
  weight = np.random.default_rng(1).normal(size=tokens.shape)

  def total(hidden, head):
    nll = nll_of(hidden, head, tokens, targets)
    return (nll * weight.astype(np.float32)).sum(), nll

  run = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
  (_, nll), grads = jax.jit(run)(hidden, head)
  return nll, *grads


def _case(b, t, d=12, v=33, share=0.6, seed=0):
  rng = np.random.default_rng(seed)
  hidden = rng.normal(size=(b, t, d)).astype(np.float32)
  head = rng.normal(size=(v, d)).astype(np.float32)
  tokens = rng.integers(0, v, (b, t)).astype(np.int32)
  targets = rng.random((b, t)) < share
  return tuple(map(jnp.asarray, (hidden, head, tokens, targets)))


@pytest.mark.parametrize(
  ("b", "t", "chunk_tokens", "chunk_vocab", "softcap"),
  [
    (3, 16, 12, 33, None),
    (3, 17, 9, 5, None),  # divides neither the targets nor the vocabulary
    (5, 7, 1, 1, 2.0),
    (2, 9, 10_000, 10_000, None),
    (2, 9, 8, 16, 1.5),  # the last block starts before the one before ends
    (4, 1, 8, 8, None),
  ],
)
def test_value_and_gradient_equal_log_softmax(
  b, t, chunk_tokens, chunk_vocab, softcap
):
  case = _case(b, t)
  blocks = {"chunk_tokens": chunk_tokens, "chunk_vocab": chunk_vocab}
  ours = functools.partial(losses.token_nll, softcap=softcap, **blocks)
  got = _with_gradients(ours, *case)
  want = _with_gradients(functools.partial(_naive, softcap=softcap), *case)
  assert got[0].dtype == jnp.float32
  np.testing.assert_array_equal(got[0][:, 0], 0)
  for x, y in zip(got, want, strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_torch_agrees_where_the_head_is_the_embedding(softcap):
  torch = pytest.importorskip("torch")
  _, table, tokens, targets = _case(3, 10)
  targets = targets.at[:, 0].set(False)

  def mean(table):
    blocks = {"chunk_tokens": 4, "chunk_vocab": 7}
    hidden = jnp.tanh(table[tokens])
    nll = losses.token_nll(
      hidden, table, tokens, targets, softcap=softcap, **blocks
    )
    return nll.sum() / targets.sum()

  loss, gradient = jax.jit(jax.value_and_grad(mean))(table)
  theirs = torch.tensor(np.asarray(table), requires_grad=True)
  ids = torch.tensor(np.asarray(tokens)).long()
  logits = torch.tanh(theirs[ids]) @ theirs.T
  if softcap:
    logits = softcap * torch.tanh(logits / softcap)
  kept = torch.tensor(np.asarray(targets))[:, 1:]
  want = torch.nn.functional.cross_entropy(
    logits[:, :-1][kept], ids[:, 1:][kept]
  )
  want.backward()
  np.testing.assert_allclose(loss, want.item(), rtol=1e-5)
  np.testing.assert_allclose(gradient, theirs.grad, rtol=1e-4, atol=1e-6)


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


def test_what_is_masked_cannot_poison_a_gradient():
  hidden, head, tokens, targets = _case(3, 8)
  want = _with_gradients(losses.token_nll, hidden, head, tokens, targets)
  read = jnp.roll(targets.at[:, 0].set(False), -1, axis=1)
  hidden = jnp.where(read[..., None], hidden, jnp.nan)
  got = _with_gradients(losses.token_nll, hidden, head, tokens, targets)
  for x, y in zip(got, want, strict=True):
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_state_that_is_not_finite_costs_its_own_loss_alone(value, softcap):
  hidden, head, tokens, _ = _case(2, 8)
  targets = jnp.ones((2, 8), bool)
  nll_of = functools.partial(
    losses.token_nll, softcap=softcap, chunk_tokens=4, chunk_vocab=9
  )
  want = nll_of(hidden, head, tokens, targets)
  got = nll_of(hidden.at[0, 3, 2].set(value), head, tokens, targets)
  assert not np.isfinite(got[0, 4])
  np.testing.assert_array_equal(got.at[0, 4].set(want[0, 4]), want)


def test_a_loss_that_is_left_out_has_no_gradient():
  hidden, head, tokens, _ = _case(2, 8)
  targets = jnp.ones((2, 8), bool)
  broken = hidden.at[0, 3].set(jnp.nan)

  def kept(hidden, head, tokens, targets):
    nll = losses.token_nll(hidden, head, tokens, targets)
    return jnp.where(jnp.isfinite(nll), nll, 0.0)

  got = _with_gradients(kept, broken, head, tokens, targets)
  want = _with_gradients(
    _naive, hidden, head, tokens, targets.at[0, 4].set(False)
  )
  for x, y in zip(got, want, strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("count", "multiplied"), [(0, 0), (1, 3), (5, 9)])
def test_only_chunks_with_targets_meet_the_head(monkeypatch, count, multiplied):
  hidden, head, tokens, _ = _case(2, 8)
  targets = jnp.zeros((2, 8), bool).at[1, 1 : 1 + count].set(True)
  calls = []
  dot = losses.layers.dot

  def counted(*args, **kwargs):
    jax.debug.callback(lambda: calls.append(1))
    return dot(*args, **kwargs)

  monkeypatch.setattr(losses.layers, "dot", counted)
  # Three blocks of the vocabulary for every two targets.
  blocks = {"chunk_tokens": 2, "chunk_vocab": 11}
  nll = losses.token_nll(hidden, head, tokens, targets, **blocks)
  jax.block_until_ready(nll)
  jax.effects_barrier()
  assert len(calls) == multiplied


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


def test_bfloat16_is_close_to_float32():
  hidden, head, tokens, targets = _case(3, 16, d=64, v=300)
  hidden, head = (x.astype(jnp.bfloat16) for x in (hidden, head / 8))
  exact = (hidden.astype(jnp.float32), head.astype(jnp.float32))
  got = _with_gradients(losses.token_nll, hidden, head, tokens, targets)
  want = _with_gradients(_naive, *exact, tokens, targets)
  assert [x.dtype for x in got] == [jnp.float32, jnp.bfloat16, jnp.bfloat16]
  # Products of bfloat16 numbers are exact in float32, and so are sums nearly.
  np.testing.assert_allclose(got[0], want[0], rtol=1e-5, atol=1e-5)
  for x, y in zip(got[1:], want[1:], strict=True):
    error = jnp.abs(x.astype(jnp.float32) - y).max()
    assert 0 < error < 2**-7 * jnp.abs(y).max()


@pytest.mark.parametrize("backward", [False, True])
def test_full_logits_are_never_held(backward):
  b, t, d, v = 4, 256, 16, 151_936
  shapes = (
    jax.ShapeDtypeStruct((b, t, d), jnp.float32),
    jax.ShapeDtypeStruct((v, d), jnp.float32),
    jax.ShapeDtypeStruct((b, t), jnp.int32),
    jax.ShapeDtypeStruct((b, t), jnp.bool_),
  )

  def temporary_bytes(nll_of):
    """What is held beside arguments and results, the gradients among these."""

    def total(hidden, head, tokens, targets):
      return nll_of(hidden, head, tokens, targets).sum()

    run = jax.grad(total, argnums=(0, 1)) if backward else total
    compiled = jax.jit(run).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  full = 4 * b * t * v
  # The measure sees full logits where they are.
  assert temporary_bytes(_naive) >= full
  assert temporary_bytes(losses.token_nll) < full / 50
  # A second gradient of the head is not held either.
  assert temporary_bytes(losses.token_nll) < 4 * v * d


_MESHES = [
  (data, fsdp, 8 // data // fsdp)
  for data in (1, 2, 4, 8)
  for fsdp in (1, 2, 4, 8)
  if data * fsdp <= 8
]
_ON_MESH = {"chunk_tokens": 4, "chunk_vocab": 3, "softcap": 4.0}


def _placed(mesh, hidden, head, tokens, targets):
  head_spec = layers.fit(P("tensor", "fsdp"), head.shape, mesh.shape)
  rows = layers.fit(mesh_lib.BATCH, tokens.shape, mesh.shape)
  hidden, tokens, targets = mesh_lib.put((hidden, tokens, targets), mesh, rows)
  return hidden, mesh_lib.put(head, mesh, head_spec), tokens, targets


@functools.cache
def _uneven(b, v):
  """Rows of no target and of many, and what one device says of them."""
  hidden, head, tokens, targets = _case(b, 12, d=8, v=v)
  targets = targets.at[: b // 2].set(False).at[b - 1].set(True)
  case = (hidden, head, tokens, targets)
  return case, _with_gradients(
    functools.partial(losses.token_nll, **_ON_MESH), *case
  )


@pytest.mark.parametrize(
  ("sizes", "b", "v"),
  [*((sizes, 8, 40) for sizes in _MESHES), ((2, 2, 2), 6, 33)],
)
def test_every_mesh_equals_one_device(sizes, b, v):
  case, want = _uneven(b, v)
  nll_of = functools.partial(losses.token_nll, **_ON_MESH)
  mesh = mesh_lib.make(*sizes)
  with jax.set_mesh(mesh):
    got = _with_gradients(nll_of, *_placed(mesh, *case))
  for x, y in zip(got, want, strict=True):
    assert x.sharding.num_devices == 8
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_rows_stay_on_their_devices():
  mesh = mesh_lib.make(2, 2, 2)
  with jax.set_mesh(mesh):
    case = _placed(mesh, *_case(8, 12, d=8, v=40))
    case = (case[0], jax.device_put(case[1], P("tensor")), *case[2:])
    run = jax.jit(functools.partial(losses.token_nll, **_ON_MESH))
    compiled = run.lower(*case).compile()
    got = compiled(*case)
  assert "all-reduce" in compiled.as_text()
  assert "all-gather" not in compiled.as_text()
  assert got.sharding.is_equivalent_to(case[2].sharding, 2)


def test_eight_devices_equal_one_where_no_mesh_is_set():
  hidden, head, tokens, targets = _case(16, 24)
  mesh = mesh_lib.make()
  run = jax.jit(functools.partial(losses.token_nll, chunk_tokens=16))
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


def test_a_sum_that_is_not_finite_stays_in_its_segment():
  nll = jnp.array([[1.0, jnp.nan, 2.0, jnp.inf], [1.0, 1.0, 1.0, jnp.nan]])
  targets = jnp.array([[True] * 4, [True, True, True, False]])
  segments = jnp.array([[1, 2, 3, 4], [1, 1, 2, 2]])
  total, count = losses.example_nll(nll, targets, segments, num_segments=4)
  np.testing.assert_array_equal(total[0], [1, np.nan, 2, np.inf])
  np.testing.assert_array_equal(total[1], [2, 1, 0, 0])
  np.testing.assert_array_equal(count, [[1, 1, 1, 1], [2, 1, 0, 0]])


def test_sums_of_many_segments_hold_no_mask_of_each():
  b, t, s = 8, 2048, 128
  shapes = [jax.ShapeDtypeStruct((b, t), x) for x in ("f4", "bool", "int32")]
  run = jax.jit(functools.partial(losses.example_nll, num_segments=s))
  memory = run.lower(*shapes).compile().memory_analysis()
  assert memory.temp_size_in_bytes < b * t * s / 4
