"""Runs together beside the same runs alone: equal but for rounding."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora as lora_lib
from ila_jax.passes import token_set
from ila_jax.training import loop, together
from ila_jax.training import recipe as recipe_lib

_CONFIG = architecture.DecoderConfig(
  vocab=48,
  layers=2,
  width=16,
  heads=4,
  kv_heads=2,
  head_dim=4,
  mlp_width=24,
  max_positions=64,
)
_LORA = lora_lib.LoraConfig(rank=2, alpha=4, targets=("query", "down"))
_RECIPE = recipe_lib.Recipe(
  learning_rate=1e-2, batch_tokens=64, width=16, seed=3, total_steps=5
)


def _data(n, seed):
  rng = np.random.default_rng(seed)
  lengths = rng.integers(2, 17, n)
  return token_set.TokenSet(
    [rng.integers(0, 48, k).astype(np.int32) for k in lengths],
    [np.arange(k) >= rng.integers(1, k) for k in lengths],
  )


def _leaves(trained):
  is_decoder = isinstance(trained, decoder_lib.Decoder)
  tree = nnx.state(trained) if is_decoder else trained
  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("lora", [None, _LORA], ids=["full", "lora"])
def test_each_run_is_the_run_alone(lora):
  """Ten runs on eight devices: two on some of them, and two that fill up."""
  base = decoder_lib.Decoder(_CONFIG, rngs=nnx.Rngs(0))
  before = _leaves(base)
  data = [_data(9 + i, seed=i) for i in range(10)]
  recipes = [
    dataclasses.replace(
      _RECIPE,
      lora=lora,
      seed=i,
      learning_rate=1e-3 * (1 + i),
      schedule=("cosine", "linear", "constant")[i % 3],
      # Some end before the others.
      total_steps=2 + i % 3,
    )
    for i in range(10)
  ]
  said = []
  mesh = mesh_lib.make()
  found = together.train(base, data, recipes, mesh=mesh, on_step=said.append)
  assert [[m is not None for m in told] for told in said[-2:]] == [
    [i % 3 > 0 for i in range(10)],
    [i % 3 > 1 for i in range(10)],
  ]
  one = mesh_lib.make(1, 1, 1) if jax.device_count() == 1 else mesh
  for (trained, history), own, recipe in zip(found, data, recipes, strict=True):
    alone, wanted = loop.train(base, own, recipe, mesh=one)
    assert [m["tokens"] for m in history] == [m["tokens"] for m in wanted]
    for name in ("loss", "grad_norm", "learning_rate", "total_steps"):
      np.testing.assert_allclose(
        [m[name] for m in history], [m[name] for m in wanted], rtol=1e-4
      )
    for a, b in zip(_leaves(trained), _leaves(alone), strict=True):
      # Adam divides by tiny moments: relative to the step that was made.
      np.testing.assert_allclose(a, b, atol=1e-2 * recipe.learning_rate)
  for a, b in zip(_leaves(base), before, strict=True):
    np.testing.assert_array_equal(a, b)


def test_weights_in_bfloat16_are_trained_in_float32():
  base = decoder_lib.Decoder(_CONFIG, rngs=nnx.Rngs(0))
  state = jax.tree.map(lambda p: p.astype("bfloat16"), nnx.state(base))
  nnx.update(base, state)
  data, mesh = _data(9, seed=0), mesh_lib.make()
  ((trained, history),) = together.train(base, [data], [_RECIPE], mesh=mesh)
  _, wanted = loop.train(base, data, _RECIPE, mesh=mesh)
  np.testing.assert_allclose(
    [m["loss"] for m in history], [m["loss"] for m in wanted], rtol=1e-4
  )
  assert {leaf.dtype for leaf in _leaves(trained)} == {np.dtype("bfloat16")}


@pytest.mark.parametrize(
  "changes",
  [{"width": 8}, {"batch_tokens": 32}, {"weight_decay": 0.1}, {"lora": _LORA}],
  ids=str,
)
def test_runs_of_another_shape_are_refused(changes):
  base = decoder_lib.Decoder(_CONFIG, rngs=nnx.Rngs(0))
  recipes = [_RECIPE, dataclasses.replace(_RECIPE, **changes)]
  with pytest.raises(ValueError, match="one shape"):
    together.train(base, [_data(3, 0)] * 2, recipes, mesh=mesh_lib.make())


def test_data_that_cannot_be_trained_on_is_refused():
  base = decoder_lib.Decoder(_CONFIG, rngs=nnx.Rngs(0))
  data = [_data(3, 0), token_set.TokenSet([], [])]
  with pytest.raises(errors.InputError, match="no examples"):
    together.train(base, data, [_RECIPE] * 2, mesh=mesh_lib.make())
