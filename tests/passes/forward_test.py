"""One function over examples of any lengths, and what a pass costs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ila_jax.compute import mesh
from ila_jax.models import architecture
from ila_jax.models import encoder as encoder_lib
from ila_jax.passes import forward, layouts

_CONFIG = architecture.DecoderConfig(
  vocab=50,
  layers=2,
  width=8,
  heads=4,
  kv_heads=2,
  head_dim=6,
  mlp_width=20,
)
_BAD = 999


@functools.partial(jax.jit, static_argnums=0)
def _sums(segments, batch):
  """Sums of the tokens and of the targets; NaN in a row with a bad token."""
  numbers = jnp.arange(1, 1 + segments)[None, None]
  own = batch["segment_ids"][..., None] == numbers
  both = jnp.stack([batch["tokens"], batch["targets"]], axis=-1)
  sums = jnp.einsum("bts,btw->bsw", own, both).astype(jnp.float32)
  bad = (batch["tokens"] == _BAD).any(axis=1)[:, None, None]
  return jnp.where(bad, jnp.nan, sums)


def _run(kind, tokens, masks):
  lengths = np.array([len(ids) for ids in tokens])
  layout = layouts.choose(
    lengths, batch_tokens=64, kind=kind, program_tokens=30
  )
  told = []
  found = forward.map_examples(
    functools.partial(_sums, layout.segments),
    tokens,
    masks,
    width=2,
    layout=layout,
    mesh=mesh.make(2, 2, 2),
    on_batch=told.append,
  )
  return found, told, layouts.plan(lengths, layout, multiple=4)


def _examples(n):
  rng = np.random.default_rng(0)
  tokens = [
    rng.integers(0, 50, rng.integers(1, 40)).astype(np.int32) for _ in range(n)
  ]
  return tokens, [rng.random(len(ids)) < 0.5 for ids in tokens]


@pytest.mark.parametrize("kind", ["buckets", "pack"])
def test_each_example_gets_its_own_numbers_in_order(kind):
  tokens, masks = _examples(150)
  found, told, plan = _run(kind, tokens, masks)
  want = [(i.sum(), m[1:].sum()) for i, m in zip(tokens, masks, strict=True)]
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, want)
  # Each batch is told once, in order.
  assert len(plan) > 2
  assert told == plan


@pytest.mark.parametrize("kind", ["buckets", "pack"])
def test_what_is_not_finite_is_tried_alone(kind):
  tokens, masks = _examples(150)
  want, _, _ = _run(kind, tokens, masks)
  bad = [3, 77, 78]
  for example in bad:
    tokens[example][0] = _BAD
  found, told, plan = _run(kind, tokens, masks)
  assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == bad
  good = np.delete(np.arange(150), bad)
  np.testing.assert_array_equal(found[good], want[good])
  # The second try is no progress.
  assert told == plan


def _attended(length, window):
  """Pairs that a causal mask lets through, one by one."""
  return sum(1 for i in range(length) for j in range(i + 1) if i - j < window)


@pytest.mark.parametrize("local", [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize("window", [1, 4, 9, 100])
def test_flops_of_a_window_are_counted_by_hand(window, local):
  lengths = np.array([1, 3, 4, 5, 9, 30])
  config = dataclasses.replace(_CONFIG, window=window, local_layers=local)
  pairs = sum(
    _attended(length, window if is_local else 100)
    for length in lengths
    for is_local in local
  )
  # Query and output, key and value, and the three of the MLP.
  block = 2 * 8 * 24 + 2 * 8 * 12 + 3 * 8 * 20
  # A pair costs a score and a sum, of four heads of six.
  by_hand = 2 * 2 * 52 * block + 2 * 2 * pairs * 24 + 2 * 7 * 50 * 8
  assert forward.flops(config, lengths, response_tokens=7) == by_hand


def test_flops_of_a_pool_of_long_texts_do_not_overflow():
  lengths = np.full(3, 2**20, np.int32)
  pairs = 3 * 2**20 * (2**20 + 1) // 2
  rest = forward.flops(_CONFIG, np.ones(3 * 2**20, np.int32))
  want = rest + 2 * 4 * 24 * (pairs - 3 * 2**20)
  assert forward.flops(_CONFIG, lengths) == want


def test_a_program_costs_a_large_model_few_tokens(monkeypatch):
  encoder = encoder_lib.EncoderConfig(
    vocab=50, layers=6, width=384, heads=12, mlp_width=1536, max_positions=512
  )
  small = dataclasses.replace(
    _CONFIG,
    layers=8,
    width=512,
    heads=8,
    kv_heads=8,
    head_dim=64,
    mlp_width=2048,
  )
  large = dataclasses.replace(small, layers=32)
  # Weights of the blocks; two FLOPs a weight and token, and attention beside.
  weights = {
    encoder: 6 * (4 * 384**2 + 2 * 384 * 1536),
    small: 8 * (4 * 512**2 + 3 * 512 * 2048),
    large: 32 * (4 * 512**2 + 3 * 512 * 2048),
  }
  on_cpu = {config: forward.program_tokens(config) for config in weights}
  for config, count in weights.items():
    assert 0.85 * 5e9 / (2 * count) < on_cpu[config] < 5e9 / (2 * count) + 1
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  for config, tokens in on_cpu.items():
    found = forward.program_tokens(config)
    assert found == pytest.approx(1000 * tokens, rel=0.05)
