"""Scores and embeddings are the same however the devices are arranged."""

import functools
import itertools

import jax
import numpy as np
import pytest
from flax import nnx

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import decoder, encoder, losses
from ila_jax.models.folders import causal_configs, json_fields
from tests.support import packed

# Every arrangement of 1, 2, 4 and 8 devices: data, fsdp, tensor.
SHAPES = [
  shape
  for shape in itertools.product((1, 2, 4, 8), repeat=3)
  if np.prod(shape) in (1, 2, 4, 8)
]
BY_COUNT = ((2, 1, 1), (1, 2, 2), (2, 2, 2))
# Quick to compile, for these programs run once.
_QUICK = {
  "xla_backend_optimization_level": 0,
  "xla_llvm_disable_expensive_passes": True,
}
# Sizes that 8 devices divide, but for the heads of keys.
SIZES = {
  "vocab_size": 40,
  "hidden_size": 16,
  "intermediate_size": 24,
  "num_attention_heads": 8,
  "num_key_value_heads": 2,
  "head_dim": 4,
  "num_hidden_layers": 1,
  "max_position_embeddings": 64,
}
_TWO = {"num_hidden_layers": 2, "sliding_window": 5}
FAMILIES = {
  "llama": {"attention_bias": True, "mlp_bias": True},
  "mistral": _TWO,
  "qwen2": _TWO | {"use_sliding_window": True, "max_window_layers": 1},
  "qwen3": {"tie_word_embeddings": True},
  "gemma2": _TWO,
  "gemma3_text": _TWO | {"sliding_window_pattern": 2},
}


def _mesh(shape):
  return jax.make_mesh(
    shape,
    mesh_lib.AXES,
    axis_types=(jax.sharding.AxisType.Auto,) * 3,
    devices=jax.devices()[: np.prod(shape)],
  )


def _random(abstract):
  """Weights at which norms and biases matter too."""
  graphdef, shapes = nnx.split(abstract)
  rng = np.random.default_rng(0)
  return graphdef, jax.tree.map(
    lambda x: rng.normal(0.5, 0.3, size=x.shape).astype(x.dtype), shapes
  )


def _texts(vocab):
  """Eight rows: one text, two texts, or none."""
  rng = np.random.default_rng(1)
  ids = [rng.integers(2, vocab, n).astype(np.int32) for n in (14, 3, 9, 6, 5)]
  texts = [(i, np.arange(len(i)) % 4 > 1) for i in ids]
  rows = [
    [texts[0]],
    texts[1:3],
    [texts[3], texts[4]],
    [],
    *([t] for t in texts),
  ]
  return packed.batch(rows[:8], width=16)


@functools.partial(jax.jit, static_argnums=0, compiler_options=_QUICK)
def _score(graphdef, state, rows):
  tokens, positions, segments, targets = rows
  model = nnx.merge(graphdef, state)
  nll = losses.token_nll(
    model.hidden(tokens, positions, segments),
    model.head_weights(),
    tokens,
    targets,
    chunk_tokens=32,
    softcap=model.config.final_softcap,
  )
  return losses.example_nll(nll, targets, segments, num_segments=2)[0]


@functools.partial(jax.jit, static_argnums=(0, 1), compiler_options=_QUICK)
def _embed(graphdef, kind, state, rows):
  tokens, positions, segments, _ = rows
  hidden = nnx.merge(graphdef, state).hidden(tokens, positions, segments)
  return encoder.pool(hidden, segments, positions, kind, num_segments=2)


def _on(shape, run, state, shardings, rows):
  """What `run` gives on a mesh, of weights and rows that are split over it."""
  mesh = _mesh(shape)
  with jax.set_mesh(mesh):
    placed = jax.device_put(state, shardings(state, mesh))
    found = run(placed, mesh_lib.put(rows, mesh))
  assert found.sharding.num_devices == np.prod(shape)
  return np.asarray(found)


@functools.cache
def _decoder(family):
  values = {"model_type": family} | SIZES | FAMILIES[family]
  config = causal_configs.read(json_fields.Fields("config.json", values))
  graphdef, state = _random(decoder.abstract(config))
  run = functools.partial(_score, graphdef)
  rows = _texts(config.vocab)
  want = np.asarray(run(state, rows))
  # All but the empty row have a loss.
  assert ((want > 1).sum(axis=1) == [1, 2, 2, 0, 1, 1, 1, 1]).all()
  return run, state, rows, want


@pytest.mark.parametrize("shape", BY_COUNT, ids=str)
@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "llama"])
def test_scores_of_a_family_on_2_4_and_8_devices_are_those_of_one(
  family, shape
):
  run, state, rows, want = _decoder(family)
  found = _on(shape, run, state, decoder.shardings, rows)
  np.testing.assert_allclose(found, want, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scores_are_the_same_on_every_mesh(shape):
  run, state, rows, want = _decoder("llama")
  found = _on(shape, run, state, decoder.shardings, rows)
  np.testing.assert_allclose(found, want, rtol=1e-6)


@functools.cache
def _encoder():
  config = encoder.EncoderConfig(
    vocab=40,
    layers=1,
    width=16,
    heads=8,
    mlp_width=24,
    max_positions=32,
    position_offset=2,
  )
  return _random(encoder.abstract(config))


@pytest.mark.parametrize(
  "shape", [s for s in SHAPES if np.prod(s) == 8 or s in BY_COUNT], ids=str
)
def test_embeddings_are_the_same_on_every_mesh_of_8_and_on_fewer(shape):
  graphdef, state = _encoder()
  rows = _texts(40)
  run = functools.partial(_embed, graphdef, encoder.POOLINGS[shape[0] > 1])
  found = _on(shape, run, state, encoder.shardings, rows)
  np.testing.assert_allclose(found, run(state, rows), atol=1e-6)


def test_every_mesh_is_there():
  assert len(SHAPES) == len(set(SHAPES)) == 20
