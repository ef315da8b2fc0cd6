"""Every causal family against torch transformers, and its files both ways."""

import dataclasses
import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.models import decoder, lora, losses, rotary
from ila_jax.models.folders import (
  causal_configs,
  causal_families,
  json_fields,
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


SMALL = {
  "vocab_size": 97,
  "hidden_size": 48,
  "intermediate_size": 80,
  "num_hidden_layers": 6,
  "num_attention_heads": 6,
  "num_key_value_heads": 2,
  "head_dim": 12,
  "max_position_embeddings": 512,
}


def _read(family, **values):
  return causal_configs.read(
    json_fields.Fields("config.json", SMALL | {"model_type": family} | values)
  )


_LINEAR = {"rope_type": "linear", "factor": 8.0}


@pytest.mark.parametrize(
  ("family", "old", "new"),
  [
    ("llama", {"rope_theta": 5e5}, {"rope_parameters": {"rope_theta": 5e5}}),
    (
      "llama",
      {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 8.0}},
      {"rope_parameters": _LINEAR | {"rope_theta": 5e5}},
    ),
    (
      "qwen2",
      {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 4},
      {
        "use_sliding_window": True,
        "sliding_window": 9,
        "layer_types": ["full_attention"] * 4 + ["sliding_attention"] * 2,
      },
    ),
    (
      "gemma2",
      {},
      {"layer_types": ["sliding_attention", "full_attention"] * 3},
    ),
    (
      "gemma3_text",
      {
        "rope_theta": 2e6,
        "rope_local_base_freq": 20000,
        "rope_scaling": _LINEAR,
        "sliding_window_pattern": 3,
      },
      {
        "rope_parameters": {
          "full_attention": _LINEAR | {"rope_theta": 2e6},
          "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
        },
        "layer_types": (["sliding_attention"] * 2 + ["full_attention"]) * 2,
      },
    ),
  ],
)
def test_older_and_newer_files_say_the_same(family, old, new):
  transformers = pytest.importorskip("transformers")
  assert _read(family, **old) == _read(family, **new)
  theirs = transformers.AutoConfig.for_model(family, **SMALL, **old)
  assert _read(family, **theirs.to_dict()) == _read(family, **old)
  assert _read(family, **old) != _read(family) or old == {}


@pytest.mark.parametrize(
  ("family", "values", "message"),
  [
    ("mamba", {}, "model_type is 'mamba'; allowed: 'llama' or 'mistral'"),
    ("gemma3n", {}, "model_type is 'gemma3n'; allowed: "),
    ("gemma3", {}, "text_config is None; allowed: an object"),
    (
      "gemma3",
      {"text_config": {"hidden_activation": "relu"}},
      "text_config.hidden_activation is 'relu'; allowed: 'gelu_pytorch_tanh'",
    ),
    (
      "gemma3",
      {"text_config": {"rope_scaling": {"rope_type": "proportional"}}},
      "text_config.rope_scaling.rope_type is 'proportional'; allowed: 'def",
    ),
    ("gemma2", {"hidden_activation": "gelu"}, "hidden_activation is 'gelu'; "),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_att"),
    ("gemma2", {"sliding_window": None}, "sliding_window is None; allowed: a"),
    ("gemma3_text", {"attn_logit_softcapping": 50.0}, "attn_logit_softcappin"),
    (
      "gemma3_text",
      {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
      "rope_parameters.rope_theta is 10000.0; allowed: full_attention and",
    ),
    ("mistral", {"attention_bias": True}, "attention_bias is True; allowed: F"),
    ("mistral", {"sliding_window": 0}, "sliding_window is 0; allowed: a whol"),
    (
      "mistral",
      {"layer_types": ["full_attention"] * 6},
      "layer_types is .*'sliding_attention'",
    ),
    (
      "qwen2",
      {"use_sliding_window": True, "layer_types": ["full_attention"]},
      "layer_types is .* for each of 6 layers",
    ),
    ("qwen3", {"mlp_bias": True}, "mlp_bias is True; allowed: False"),
    ("qwen3", {"quantization_config": {"bits": 4}}, "quantization_config is"),
    ("qwen2", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
    (
      "qwen2",
      {"rope_scaling": {"type": "mrope", "mrope_section": [2, 2, 2]}},
      "rope_scaling.rope_type is 'mrope'; allowed: 'default' or 'linear'",
    ),
    (
      "qwen2",
      {"rope_scaling": {"type": "default", "mrope_section": [2, 2, 2]}},
      r"rope_scaling.mrope_section is \[2, 2, 2\]; allowed: None",
    ),
    (
      "llama",
      {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}},
      "rope_parameters.full_attention is .*; allowed: None",
    ),
    (
      "llama",
      {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
      "rope_scaling.low_freq_factor is None; allowed: a number above 0",
    ),
    ("llama", {"rope_scaling": {"type": "linear"}}, "rope_scaling.factor is"),
    ("llama", {"rope_scaling": ""}, "rope_scaling is ''; allowed: an object"),
    ("llama", {"rms_norm_eps": None}, "rms_norm_eps is None; allowed: a numb"),
    (
      "llama",
      {"rms_norm_eps": math.nan},
      "rms_norm_eps is nan; allowed: a number above 0",
    ),
    ("llama", {"rope_theta": math.inf}, "rope_theta is inf; allowed: a finite"),
    ("llama", {"rope_theta": 10**400}, "rope_theta is 1000.*; allowed: a fin"),
    ("llama", {"hidden_size": 10**12}, "hidden_size is 1000000000000; allowed"),
    # Lists with an entry a layer would fill the memory.
    ("gemma2", {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
    ("llama", {"num_attention_heads": 10**9}, "num_attention_heads is 1000000"),
    ("gemma2", {"layer_types": [[]] * 6}, "layer_types is "),
  ],
)
def test_what_is_not_implemented_is_refused_by_name(family, values, message):
  with pytest.raises(errors.InputError, match=f"^config.json: {message}"):
    _read(family, **values)


@pytest.mark.parametrize("kind", [["llama"], {"a": 1}, None, 3])
def test_a_model_type_that_is_no_text_is_refused(kind):
  raw = json_fields.Fields("config.json", {"model_type": kind})
  with pytest.raises(
    errors.InputError, match=r"model_type is .*; allowed: 'll"
  ):
    causal_configs.read(raw)


def test_a_missing_field_is_what_transformers_takes_and_null_is_none():
  transformers = pytest.importorskip("transformers")
  for family in causal_families.FAMILIES:
    theirs = transformers.AutoConfig.for_model(family, **SMALL).to_dict()
    assert _read(family) == _read(family, **theirs), family
  assert _read("mistral").window == 4096
  assert _read("mistral", sliding_window=None).window is None
  assert _read("gemma2").attention_softcap == 50
  assert _read("gemma2", attn_logit_softcapping=None).attention_softcap is None


_ROPES = {
  "linear": {"factor": 8.0},
  "dynamic": {"factor": 4.0},
  "llama3": {k: v for k, v in _LLAMA3.items() if "theta" not in k},
  "yarn": {"factor": 4.0, "original_max_position_embeddings": 32768},
  "yarn whole": {
    "factor": 40.0,
    "original_max_position_embeddings": 4096,
    "beta_fast": 16,
    "beta_slow": 2,
    "truncate": False,
    "mscale": 1.0,
    "mscale_all_dim": 0.5,
  },
  "yarn inferred": {"original_max_position_embeddings": 8192, "factor": None},
  "yarn given": {"factor": 4.0, "attention_factor": 1.5, "finetuned": True},
}


@pytest.mark.parametrize("name", _ROPES)
@pytest.mark.parametrize("theta", [1e4, 1e6])
def test_frequencies_equal_torchs(name, theta):
  transformers = pytest.importorskip("transformers")
  from transformers import modeling_rope_utils

  kind = name.split()[0]
  scaling = _ROPES[name] | {"rope_type": kind, "rope_theta": theta}
  sizes = SMALL | {"head_dim": 128, "max_position_embeddings": 32768}
  theirs = transformers.LlamaConfig(**sizes, rope_parameters=dict(scaling))
  want, factor = modeling_rope_utils.ROPE_INIT_FUNCTIONS[kind](theirs, "cpu")
  rope = _read("llama", **sizes, rope_parameters=scaling).rope
  found = rotary.frequencies(rope, 128)
  np.testing.assert_allclose(found, want.numpy(), rtol=2e-6)
  assert rope.attention_factor == factor
  again = causal_configs.write(
    dataclasses.replace(_read("llama", **sizes), rope=rope)
  )
  assert (
    causal_configs.read(json_fields.Fields("config.json", again)).rope == rope
  )


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


def test_what_no_family_has_is_not_written():
  config = _read("qwen3")
  for family, change, message in (
    (None, {"activation": "gelu_pytorch_tanh", "mlp_bias": True}, "mlp_bias"),
    ("llama", {}, "qk_norm is True; a llama file says False"),
    ("qwen3", {"final_softcap": 30.0}, "final_softcap is 30.0; a qwen3 file"),
    ("qwen3", {"embedding_scale": 2.0}, "embedding_scale is 2.0; a qwen3 fi"),
  ):
    changed = dataclasses.replace(config, family=family, **change)
    with pytest.raises(errors.InputError, match=message):
      causal_configs.write(changed)


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


def test_a_window_that_holds_the_row_costs_nothing():
  config = dataclasses.replace(_read("gemma2"), window=16)

  def conditionals(t):
    row = jax.ShapeDtypeStruct((1, t), jnp.int32)
    model = decoder.abstract(config)
    graphdef, state = nnx.split(model)
    text = str(
      jax.make_jaxpr(lambda s, *r: nnx.merge(graphdef, s).hidden(*r))(
        state, row, row, row
      )
    )
    return text.count("cond[")

  assert conditionals(16) == 0
  assert conditionals(17) == 1
