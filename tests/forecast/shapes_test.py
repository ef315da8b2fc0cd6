"""Memory and FLOPs by shapes, beside what compilers say."""

import dataclasses

import jax
import pytest

from ila_jax.compute import mesh as mesh_lib
from ila_jax.dry_run import meshes
from ila_jax.forecast import elsewhere, memory, shapes
from ila_jax.models import architecture, decoder
from ila_jax.models import lora as lora_lib
from ila_jax.passes import example_loss
from ila_jax.training import recipe as recipe_lib
from tests.support import planned, published, tpu_programs

_SMALL = architecture.DecoderConfig(
  **{"vocab": 4096, "layers": 4, "width": 256, "heads": 4, "kv_heads": 2},
  **{"head_dim": 64, "mlp_width": 1024, "remat": True, "tied": False},
)
# GiB at the fullest moment of a program of Qwen2-7B on v5e:4x4 with fsdp=16,
# tokens a device: as libtpu 0.0.42.1 says under JAX 0.10.2. Those of 16,384 and
# 2,048 tokens are in docs/results.md.
_SCORING = {16_384: 3.03, 32_768: 3.70}
_TRAINING = {2_048: 11.05, 8_192: 13.50}
_AXES = shapes.Axes(1, 16, 1)
_ADAPTER = lora_lib.LoraConfig(rank=4, alpha=8.0, targets=("query",))


def _near(found: float, witness: float) -> None:
  assert witness / meshes.FACTOR < found < witness * meshes.FACTOR


def test_weights_are_those_of_the_model():
  found = shapes.of(_SMALL)
  assert found.total == decoder.count_parameters(_SMALL)
  small = dataclasses.replace(_SMALL, qkv_bias=True, tied=True)
  assert shapes.of(small).total == decoder.count_parameters(small)
  assert (
    shapes.of(tpu_programs.MODELS["qwen"]).total
    == (published.DECODERS["Qwen2-7B"][1])
  )
  # bge-base-en has 109 million, of which its encoder holds all but a pooler.
  assert shapes.of(tpu_programs.ENCODER).total == pytest.approx(109e6, rel=0.02)


@pytest.mark.parametrize(("tokens", "gib"), _SCORING.items())
def test_scoring_is_as_the_compiler_of_tpus_says(tokens, gib):
  model = shapes.of(tpu_programs.MODELS["qwen"])
  _near(shapes.pass_bytes(model, _AXES, tokens=tokens), gib * 2**30)


@pytest.mark.parametrize(("tokens", "gib"), _TRAINING.items())
def test_training_is_as_the_compiler_of_tpus_says(tokens, gib):
  model = shapes.of(
    dataclasses.replace(tpu_programs.MODELS["qwen"], remat=True)
  )
  found = shapes.training_bytes(model, _AXES, tokens=tokens, adapter=False)
  _near(found, gib * 2**30)


def test_training_is_as_xla_says_on_a_cpu():
  mesh = mesh_lib.make(fsdp=4, data=2)
  recipe = recipe_lib.Recipe(
    learning_rate=1e-5, batch_tokens=8 * 256, width=256, seed=0, total_steps=1
  )
  found = shapes.training_bytes(
    shapes.of(_SMALL), shapes.Axes(2, 4, 1), tokens=256, adapter=False
  )
  _near(found, memory.training_bytes(_SMALL, recipe, mesh))


@pytest.mark.parametrize("lora", [None, _ADAPTER])
def test_each_run_side_by_side_holds_a_model_or_an_adapter(lora):
  recipe = recipe_lib.Recipe(
    **{"learning_rate": 1e-5, "batch_tokens": 256, "width": 256, "seed": 0},
    **{"total_steps": 1, "lora": lora},
  )
  mesh = mesh_lib.make()
  found = [
    memory.together_bytes(_SMALL, recipe, mesh, beside=count)
    for count in (1, 3)
  ]
  each = (found[1] - found[0]) / 2
  run = planned.run(_SMALL)
  chips = elsewhere.Elsewhere("h100:1", shapes.Axes(1, 1, 1), compiles=False)
  run = dataclasses.replace(run, machine=chips)
  told = run.training(
    run.sample.data,
    dataclasses.replace(recipe, epochs=1.0, total_steps=None),
    examples=9,
    runs=24,
    turns=[(3, 9.0)],
  ).device_bytes
  # The base lies there, too, for the runs to come.
  _near(told, found[1] + shapes.of(_SMALL).itemsize * shapes.of(_SMALL).total)
  weights = decoder.count_parameters(_SMALL)
  if lora is None:
    _near(found[0], each)
    alone = mesh_lib.make(devices=jax.devices()[:1])
    _near(each, memory.training_bytes(_SMALL, recipe, alone))
    assert each > 12 * weights  # In float32, with two moments.
  else:
    assert found[0] - each >= 4 * weights  # The base that they share.


def test_flops_are_those_that_xla_counts():
  """Of one layer, for XLA counts what a loop repeats once."""
  sizes = {"layers": 1, "vocab": 512, "attention": "plain", "remat": False}
  config = dataclasses.replace(_SMALL, **sizes)
  mesh = mesh_lib.make(devices=jax.devices()[:1])
  graphdef, params = memory.placed(config, mesh)
  batch = memory.batch(128, 128, mesh)
  with jax.set_mesh(mesh):
    lowered = example_loss.batch_nll.lower(graphdef, 1, params, None, batch)
  counted = lowered.compile().cost_analysis()["flops"]
  # XLA multiplies what is masked too: all 128 × 128 pairs.
  ours = architecture.flops(
    config, tokens=128, attended=128 * 128, response_tokens=128
  )
  assert ours == pytest.approx(counted, rel=0.1)
