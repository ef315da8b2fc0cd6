"""Every causal family against torch transformers, and written back."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ila_jax.compute import mesh
from ila_jax.models import decoder, lora, losses
from ila_jax.models.folders import (
  causal_configs,
  causal_families,
  tensor_names,
  weights,
)
from ila_jax.passes import example_loss, layouts
from tests.support import packed, torch_models

# Longer than the windows below, and shorter.
LENGTHS = (15, 4, 11)
_YARN = {
  "rope_type": "yarn",
  "rope_theta": 1e4,
  "factor": 4.0,
  "original_max_position_embeddings": 128,
}
_LLAMA3 = {
  "rope_type": "llama3",
  "rope_theta": 5e5,
  "factor": 8.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 64,
}
_DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
_GEMMA3_ROPE = {
  "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
  "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
CASES = {
  "llama2": ("llama", {"num_key_value_heads": 6, "head_dim": None}),
  "llama3": ("llama", {"rope_parameters": _LLAMA3}),
  "llama_biases": (
    "llama",
    {"attention_bias": True, "mlp_bias": True, "rope_parameters": _DYNAMIC},
  ),
  "mistral": ("mistral", {"sliding_window": 6}),
  "mistral_whole": ("mistral", {"sliding_window": None}),
  "qwen2": ("qwen2", {"tie_word_embeddings": True, "rope_parameters": _YARN}),
  "qwen2_window": (
    "qwen2",
    {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
  ),
  "qwen3": ("qwen3", {"tie_word_embeddings": True}),
  "qwen3_biases": (
    "qwen3",
    {
      "attention_bias": True,
      "use_sliding_window": True,
      "sliding_window": 5,
      "layer_types": ["full_attention"] + ["sliding_attention"] * 2,
    },
  ),
  "gemma2": (
    "gemma2",
    {
      "sliding_window": 6,
      "query_pre_attn_scalar": 20,
      "attn_logit_softcapping": 2.0,
      "final_logit_softcapping": 3.0,
    },
  ),
  "gemma3": (
    "gemma3_text",
    {
      "sliding_window": 6,
      "sliding_window_pattern": 2,
      "query_pre_attn_scalar": 20,
      "rope_parameters": _GEMMA3_ROPE,
    },
  ),
}


def test_every_family_has_a_witness():
  assert {family for family, _ in CASES.values()} == {*causal_families.FAMILIES}


def test_adapters_find_their_matrices_in_every_family():
  # An adapter's folder does not say of which family its base is.
  for family in causal_families.FAMILIES.values():
    for target in lora.TARGETS:
      name = family.tensors.table[f"blocks/{target}"]
      assert name == tensor_names.DECODER[f"blocks/{target}"]


@functools.partial(jax.jit, static_argnums=0)
def _run(graphdef, state, tokens, positions, segment_ids, targets):
  model = nnx.merge(graphdef, state)
  hidden = model.hidden(tokens, positions, segment_ids)
  nll = losses.token_nll(
    hidden,
    model.head_weights(),
    tokens,
    targets,
    chunk_tokens=16,
    softcap=model.config.final_softcap,
  )
  sums, _ = losses.example_nll(
    nll, targets, segment_ids, num_segments=len(LENGTHS)
  )
  return model.logits(tokens, positions, segment_ids), sums


def _examples(vocab):
  """Token lists; two or three answers in each are to be predicted."""
  rng = np.random.default_rng(0)
  ids = [rng.integers(0, vocab, n).astype(np.int32) for n in LENGTHS]
  return [(i, np.arange(len(i)) % 5 > 1) for i in ids]


def _rows(vocab):
  """A row for each example, with padding, and one that holds them all."""
  examples = _examples(vocab)
  return packed.batch([*([e] for e in examples), examples], width=32)


@pytest.fixture(scope="module", params=list(CASES))
def pair(request, tmp_path_factory):
  family, options = CASES[request.param]
  theirs = torch_models.causal(family, **options)
  folder = torch_models.save(theirs, tmp_path_factory.mktemp("model"))
  config, ours = weights.load_decoder(folder)
  return theirs, config, ours


def test_a_family_equals_torch_alone_and_packed_and_is_written_back(
  pair, tmp_path
):
  transformers = pytest.importorskip("transformers")
  theirs, config, ours = pair
  logits, sums = _run(*nnx.split(ours), *_rows(config.vocab))
  weights.save_decoder(tmp_path, config, ours)
  again, report = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path, output_loading_info=True, attn_implementation="eager"
  )
  assert not report["missing_keys"] and not report["unexpected_keys"]
  assert type(again) is type(theirs)
  assert weights.load_decoder(tmp_path)[0] == config
  start = 0
  for row, (ids, targets) in enumerate(_examples(config.vocab)):
    end = start + len(ids)
    want = torch_models.torch_logits(theirs, ids[None])[0]
    assert want.std() > 0.3
    near = functools.partial(np.testing.assert_allclose, desired=want)
    near(logits[row, : len(ids)], atol=1e-4)
    near(logits[-1, start:end], atol=1e-4)
    near(torch_models.torch_logits(again.eval(), ids[None])[0], atol=1e-5)
    want = torch_models.torch_nll(theirs, ids, targets)
    np.testing.assert_allclose(sums[row, 0], want, rtol=1e-5)
    np.testing.assert_allclose(sums[-1, row], want, rtol=1e-5)
    start = end


@pytest.mark.parametrize(
  "pair",
  ["llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"],
  indirect=True,
)
def test_bfloat16_losses_are_near_those_of_float32(pair):
  _, config, ours = pair
  rows = _rows(config.vocab)
  half = dataclasses.replace(config, dtype="bfloat16")
  graphdef = nnx.split(decoder.abstract(half))[0]
  _, state = nnx.split(ours)
  _, near = _run(graphdef, state, *rows)
  _, exact = _run(nnx.split(ours)[0], state, *rows)
  assert near.dtype == jnp.float32
  error = np.abs(np.asarray(near - exact))
  assert error.max() > 0
  # Measured: 0.005 at most, where logits are large (Qwen2 with YaRN).
  np.testing.assert_allclose(near, exact, rtol=0.01)


def test_parameters_are_counted_as_torch_counts(pair):
  theirs, config, _ = pair
  assert decoder.count_parameters(config) == theirs.num_parameters()


def _renamed(folder, change):
  """The same tensors under other names."""
  import safetensors.numpy

  file = folder / "model.safetensors"
  tensors = safetensors.numpy.load_file(file)
  safetensors.numpy.save_file(
    {change(name): tensor for name, tensor in tensors.items()}, file
  )
  return set(tensors)


def test_gemma3_with_eyes_is_read_without_them(tmp_path):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  text = torch_models.SIZES | {
    "num_key_value_heads": 2,
    "head_dim": 12,
    "sliding_window": 6,
    "sliding_window_pattern": 2,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
  }
  eyes = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
  }
  config = transformers.Gemma3Config(text_config=text, vision_config=eyes)
  config._attn_implementation = "eager"
  theirs = torch_models.randomize(
    transformers.Gemma3ForConditionalGeneration(config)
  )
  torch_models.save(theirs, tmp_path)
  # As published: few fields, and the language model under its older name.
  values = {"model_type": "gemma3", "text_config": text, "vision_config": eyes}
  (tmp_path / "config.json").write_text(json.dumps(values))

  def published(name):
    name = name.removeprefix("model.")
    ours = name.removeprefix("language_model.").removeprefix("model.")
    inside = name.startswith("language_model.")
    return f"language_model.model.{ours}" if inside else name

  def newer(name):
    ours = name.removeprefix("language_model.model.")
    return f"model.language_model.{ours}" if ours != name else f"model.{name}"

  ids = np.random.default_rng(0).integers(0, 97, 15).astype(np.int32)
  with torch.no_grad():
    want = theirs(torch.from_numpy(ids[None]).long()).logits.numpy()[0]
  rows = packed.batch([[(ids, np.ones(15, bool))]], width=16)
  for change in (published, newer):
    before = _renamed(tmp_path, change)
    assert any("vision_tower" in name for name in before)
    config, ours = weights.load_decoder(tmp_path)
    assert (config.local, config.rope.kind) == ((True, False, True), "linear")
    got = _run(*nnx.split(ours), *rows)[0]
    np.testing.assert_allclose(got[0, :15], want, atol=1e-4)
  # It is written back as the language model that it is here.
  assert causal_configs.write(config)["model_type"] == "gemma3_text"


def test_scoring_bounds_the_logits_as_the_family_does(tmp_path):
  theirs = torch_models.causal(*CASES["gemma2"][:1], **CASES["gemma2"][1])
  _, ours = weights.load_decoder(torch_models.save(theirs, tmp_path))
  examples = _examples(ours.config.vocab)
  found = example_loss.example_nll(
    ours,
    [ids for ids, _ in examples],
    [targets for _, targets in examples],
    layout=layouts.Layout((16,), batch_tokens=64, packed=False),
    mesh=mesh.make(),
  )
  want = [torch_models.torch_nll(theirs, *example) for example in examples]
  np.testing.assert_allclose(found[:, 0], want, rtol=1e-5)
