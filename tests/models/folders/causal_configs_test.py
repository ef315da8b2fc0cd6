"""What config.json files say, in older and newer spellings, and is refused."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ila_jax import errors
from ila_jax.models import decoder, rotary
from ila_jax.models.folders import (
  causal_configs,
  causal_families,
  json_fields,
)

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
  "llama3": {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
  },
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
