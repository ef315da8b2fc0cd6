"""Projected gradients of each example against torch and peft, one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora as lora_lib
from ila_jax.models.folders import weights
from ila_jax.passes import (
  example_gradients,
  layouts,
  projection,
  token_set,
)
from tests.support import bergson_gram, torch_models

LORA = lora_lib.LoraConfig(rank=3, alpha=5, targets=lora_lib.TARGETS)
RECIPE = example_gradients.Recipe(LORA, width=512, seed=4)
_THEIRS = {
  **{"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"},
  **{"gate": "gate_proj", "up": "up_proj", "down": "down_proj"},
}


def _adapter(config, seed, scale=1.0):
  rng = np.random.default_rng(seed)
  return {
    target: {
      factor: (scale * rng.normal(size=shape) / 6).astype(np.float32)
      for factor, shape in factors.items()
    }
    for target, factors in lora_lib.shapes(config, LORA).items()
  }


def _data():
  rng = np.random.default_rng(1)
  lengths = (5, 9, 9, 14, 3)
  return token_set.TokenSet(
    [rng.integers(0, 97, n).astype(np.int32) for n in lengths],
    [np.arange(n) >= max(n // 3, 1) for n in lengths],
  )


def _with_adapter(model, adapter):
  """Adds x·A·B to torch's own matrices; returns A and B as they are named."""
  torch = pytest.importorskip("torch")
  held = {}
  for number, layer in enumerate(model.model.layers):
    for target, factors in adapter.items():
      part = layer.mlp if target in ("gate", "up", "down") else layer.self_attn
      linear = getattr(part, _THEIRS[target])
      a, b = (
        torch.nn.Parameter(torch.from_numpy(factors[f][number].copy()))
        for f in ("a", "b")
      )
      held[number, target, "a"], held[number, target, "b"] = a, b
      linear.register_forward_hook(
        lambda _, x, out, a=a, b=b: out + LORA.scale * (x[0] @ a @ b)
      )
  return held


@pytest.fixture(scope="module")
def models(tmp_path_factory):
  """The same model twice: torch's with factors beside it; ours, and ours."""
  folder = tmp_path_factory.mktemp("models")
  theirs = torch_models.make_decoder("llama_gqa")
  torch_models.save(theirs, folder)
  _, ours = weights.load_decoder(folder, mesh=mesh_lib.make())
  adapter = _adapter(ours.config, 0)
  return (theirs, _with_adapter(theirs, adapter)), ours, adapter


def _moments(config):
  first = _adapter(config, 7, scale=0.05)
  second = jax.tree.map(np.square, _adapter(config, 8, scale=0.1))
  return example_gradients.Moments(first, second)


def _flat(tree, layer):
  return np.concatenate([leaf[layer].ravel() for leaf in jax.tree.leaves(tree)])


def _torch_gradients(tuned, config):
  """D loss / d adapter of each example, in the layout of our adapter."""
  torch = pytest.importorskip("torch")
  data, (model, held) = _data(), tuned
  for ids, mask in zip(data.tokens, data.is_response, strict=True):
    logits = model(torch.from_numpy(ids[None].astype(np.int64))).logits[0]
    losses = torch.nn.functional.cross_entropy(
      logits[:-1], torch.from_numpy(ids[1:].astype(np.int64)), reduction="none"
    )
    mean = losses[torch.from_numpy(mask[1:])].mean()
    found = torch.autograd.grad(mean, [*held.values()])
    by_name = dict(zip(held, found, strict=True))
    yield {
      target: {
        factor: np.stack(
          [by_name[n, target, factor].numpy() for n in range(config.layers)]
        )
        for factor in ("a", "b")
      }
      for target in LORA.targets
    }


def _ours(models, moments, mesh=None, width=RECIPE.width):
  _, decoder, adapter = models
  mesh = mesh or mesh_lib.make()
  graphdef, state = nnx.split(decoder)
  placed = jax.device_put(state, decoder_lib.shardings(state, mesh))
  with jax.set_mesh(mesh):
    return example_gradients.example_gradients(
      nnx.merge(graphdef, placed),
      _data(),
      RECIPE._replace(width=width),
      adapter=mesh_lib.put(adapter, mesh, mesh_lib.REPLICATED),
      moments=mesh_lib.put(moments, mesh, mesh_lib.REPLICATED),
      layout=layouts.Layout((14,), 64, packed=False),
      mesh=mesh,
    )


@functools.cache
def _matrices(layers, n):
  """The explicit projection of each layer, [n, w]."""
  return [
    np.asarray(
      projection.project(
        jnp.eye(n),
        jax.random.fold_in(jax.random.key(RECIPE.seed), layer),
        width=RECIPE.width,
      ),
      np.float64,
    )
    for layer in range(layers)
  ]


@pytest.mark.parametrize("is_adam", [False, True])
def test_gradients_are_torchs_times_an_explicit_matrix(models, is_adam):
  tuned, decoder, _ = models
  config = decoder.config
  moments = _moments(config)
  wanted = []
  for gradient in _torch_gradients(tuned, config):
    total = np.zeros(RECIPE.width)
    for layer in range(config.layers):
      g = _flat(gradient, layer).astype(np.float64)
      if is_adam:
        m, v = (_flat(part, layer).astype(np.float64) for part in moments)
        g = (0.9 * m + 0.1 * g) / np.sqrt(0.999 * v + 0.001 * g * g + 1e-8)
      total += g @ _matrices(config.layers, len(g))[layer]
    wanted.append(total)
  got = _ours(models, moments if is_adam else None)
  scale = np.abs(wanted).max()
  np.testing.assert_allclose(got, wanted, atol=2e-4 * scale)
  # And what the method compares.
  unit = [x / np.linalg.norm(x, axis=1)[:, None] for x in (got, wanted)]
  np.testing.assert_allclose(
    unit[0] @ unit[0].T, unit[1] @ unit[1].T, atol=2e-4
  )


def test_torchs_gradients_are_bergsons(models):
  """So ours are, which are torch's; whose inner products were recorded."""
  tuned, decoder, _ = models
  every = range(decoder.config.layers)
  rows = [
    np.concatenate([_flat(gradient, layer) for layer in every])
    for gradient in _torch_gradients(tuned, decoder.config)
  ]
  gram = np.array(rows, np.float64) @ np.array(rows, np.float64).T
  np.testing.assert_allclose(gram, bergson_gram.GRAM, atol=1e-4)


def test_one_device_is_eight_however_weights_are_split(models):
  moments = _moments(models[1].config)
  one = mesh_lib.make(devices=jax.devices()[:1])
  wanted = _ours(models, moments, one)
  for mesh in (mesh_lib.make(8), mesh_lib.make(2, 2, 2)):
    got = _ours(models, moments, mesh)
    np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())


def test_no_more_than_one_layers_gradients_is_held():
  """Nor copies of the adapters: what grows is of the size of one adapter."""
  held, rows = [], 8
  for depth in (1, 12):
    config = architecture.DecoderConfig(
      vocab=40,
      layers=depth,
      width=64,
      heads=4,
      kv_heads=4,
      head_dim=16,
      mlp_width=64,
    )
    lora = lora_lib.LoraConfig(rank=32, alpha=32, targets=lora_lib.TARGETS)
    graphdef, params = nnx.split(decoder_lib.abstract(config))
    adapter = jax.eval_shape(
      lambda c=config, lora=lora: lora_lib.init(c, lora, jax.random.key(0))
    )
    batch = dict.fromkeys(
      ("tokens", "positions", "segment_ids"),
      jax.ShapeDtypeStruct((rows, 4), np.int32),
    )
    batch |= {"targets": jax.ShapeDtypeStruct((rows, 4), np.bool_)}
    program = example_gradients.batch_gradients.lower(
      graphdef,
      example_gradients.Recipe(lora, 64, 0),
      params,
      adapter,
      None,
      batch,
    ).compile()
    held.append(program.memory_analysis().temp_size_in_bytes)
  layer = sum(leaf.size for leaf in jax.tree.leaves(adapter)) // 12
  assert held[0] > 4 * rows * layer  # What is held of one layer.
  assert held[1] - held[0] < 4 * rows * layer * 11 / 4


def test_a_layout_that_packs_is_refused(models):
  _, decoder, adapter = models
  with pytest.raises(ValueError, match="one a row"):
    example_gradients.example_gradients(
      decoder,
      _data(),
      RECIPE,
      adapter=adapter,
      moments=None,
      layout=layouts.Layout((128,), 128, packed=True, segments=8),
      mesh=mesh_lib.make(),
    )
