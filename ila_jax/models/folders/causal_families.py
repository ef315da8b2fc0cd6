"""The causal families: what the config.json of each says, read and written.

Llama 2 and 3, Mistral, Qwen2, Qwen2.5, Qwen3, Gemma 2 and Gemma 3, in the
spelling of older files (rope_theta, rope_scaling) and of newer ones
(rope_parameters, layer_types). What a file lacks is what transformers takes.
"""

import dataclasses
from typing import Any

from ila_jax import errors
from ila_jax.models import architecture
from ila_jax.models.folders import json_fields, ropes

ARCHITECTURES = {
  "llama": "LlamaForCausalLM",
  "mistral": "MistralForCausalLM",
  "qwen2": "Qwen2ForCausalLM",
  "qwen3": "Qwen3ForCausalLM",
  "gemma2": "Gemma2ForCausalLM",
  "gemma3_text": "Gemma3ForCausalLM",
}
_QWEN = {
  "sliding_window": 4096,
  "max_window_layers": 28,
  "num_key_value_heads": 32,
}
_GEMMA = {
  "head_dim": 256,
  "query_pre_attn_scalar": 256,
  "sliding_window": 4096,
  "tie_word_embeddings": True,
}
# What the absence of a field means; a null is another thing.
_DEFAULTS: dict[str, dict[str, Any]] = {
  "llama": {},
  "mistral": {"sliding_window": 4096, "num_key_value_heads": 8},
  "qwen2": _QWEN,
  "qwen3": _QWEN | {"head_dim": 128},
  "gemma2": _GEMMA
  | {
    "num_key_value_heads": 4,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "sliding_window_pattern": 2,
  },
  # Gemma 3 is published with the fields in which a size differs, and no more.
  "gemma3_text": _GEMMA
  | {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 131072,
    "sliding_window_pattern": 6,
  },
}


def read(raw: json_fields.Fields) -> architecture.DecoderConfig:
  """The decoder that a config.json describes.

  Raises:
    errors.InputError: a family, or a value of a field, that is not
      implemented.

  >>> read(json_fields.Fields("config.json", {"model_type": "mamba"}))
  Traceback (most recent call last):
  ila_jax.errors.InputError: config.json: model_type is 'mamba'; allowed: 'll...
  """
  raw.only("quantization_config", None)
  family = raw.get("model_type")
  if family == "gemma3":
    raw, family = _language_model(raw), "gemma3_text"
    raw.only("model_type", family)
  if not isinstance(family, str) or family not in ARCHITECTURES:
    known = " or ".join(map(repr, (*ARCHITECTURES, "gemma3")))
    raise raw.reject("model_type", family, known)
  absent = {"rms_norm_eps": 1e-6} | _DEFAULTS[family]
  raw = json_fields.Fields(raw.file, absent | raw.values, raw.prefix)
  heads, width = (
    raw.integer("num_attention_heads", most=json_fields.MOST_HEADS),
    raw.integer("hidden_size"),
  )
  layers = raw.integer("num_hidden_layers", most=json_fields.MOST_LAYERS)
  rope, local_rope = ropes.read(raw, by_layer=family == "gemma3_text")
  window, local_layers = _window(raw, family, layers)
  return architecture.DecoderConfig(
    vocab=raw.integer("vocab_size"),
    layers=layers,
    width=width,
    heads=heads,
    kv_heads=raw.integer("num_key_value_heads", heads),
    head_dim=raw.integer(
      "head_dim", width // heads, most=json_fields.MOST_HEADS
    ),
    mlp_width=raw.integer("intermediate_size"),
    norm_eps=raw.number("rms_norm_eps"),
    rope=rope,
    local_rope=local_rope,
    window=window,
    local_layers=local_layers,
    tied=raw.only("tie_word_embeddings", False, True),
    max_positions=raw.integer("max_position_embeddings"),
    family=family,
    **_biases(raw, family),
    **(
      _gemma(raw, family, width) if "gemma" in family else _other(raw, family)
    ),
  )


def _language_model(raw: json_fields.Fields) -> json_fields.Fields:
  """The part of a model with eyes that reads and writes text."""
  text = raw.inner("text_config")
  # One head for both: the whole model's word counts.
  if (tied := raw.get("tie_word_embeddings")) is not None:
    text.values = text.values | {"tie_word_embeddings": tied}
  text.only("quantization_config", None)
  return text


def _biases(raw: json_fields.Fields, family: str) -> dict[str, bool]:
  if family in ("mistral", "qwen2"):
    raw.only("attention_bias", False)
    attention = False
  else:
    attention = raw.only("attention_bias", False, True)
  allowed = (False, True) if family == "llama" else (False,)
  return {
    "qkv_bias": attention or family == "qwen2",
    "output_bias": attention,
    "mlp_bias": raw.only("mlp_bias", *allowed),
  }


def _other(raw: json_fields.Fields, family: str) -> dict[str, Any]:
  return {
    "activation": raw.only("hidden_act", *architecture.ACTIVATIONS),
    "qk_norm": family == "qwen3",
  }


def _gemma(raw: json_fields.Fields, family: str, width: int) -> dict[str, Any]:
  raw.only("use_bidirectional_attention", False)
  if family == "gemma3_text":
    # transformers carries this field in Gemma 3, and does not apply it.
    raw.only("attn_logit_softcapping", None)
  return {
    "activation": raw.only(
      "hidden_activation", *reversed(architecture.ACTIVATIONS)
    ),
    "qk_norm": family == "gemma3_text",
    "norm_plus_one": True,
    "sandwich_norms": True,
    "embedding_scale": width**0.5,
    "attention_scale": raw.number("query_pre_attn_scalar") ** -0.5,
    "attention_softcap": raw.maybe("attn_logit_softcapping"),
    "final_softcap": raw.maybe("final_logit_softcapping"),
  }


def _window(
  raw: json_fields.Fields, family: str, layers: int
) -> tuple[int | None, tuple[bool, ...]]:
  """Window and local layers, in the form that `DecoderConfig` takes."""
  window, local = None, [False] * layers
  if family == "mistral" and raw.get("sliding_window") is not None:
    window, local = raw.integer("sliding_window"), [True] * layers
  elif "gemma" in family:
    every = raw.integer("sliding_window_pattern")
    window = raw.integer("sliding_window")
    local = [(layer + 1) % every != 0 for layer in range(layers)]
  elif family.startswith("qwen") and raw.only(
    "use_sliding_window", False, True
  ):
    first = raw.integer("max_window_layers", least=0)
    window = raw.get("sliding_window") and raw.integer("sliding_window")
    local = [window is not None and i >= first for i in range(layers)]
  if (types := raw.get("layer_types")) is not None:
    named = {ropes.FULL: False, ropes.SLIDING: True}
    known = isinstance(types, list) and len(types) == layers
    known = known and all(kind in tuple(named) for kind in types)
    found = [named[kind] for kind in types] if known else None
    # Where transformers does not read the field it may say nothing new.
    free = window is not None and family != "mistral"
    if not known or (found != local and not free):
      expected = (
        f"{ropes.FULL!r} or {ropes.SLIDING!r} for each of {layers} layers"
      )
      same = [ropes.SLIDING if here else ropes.FULL for here in local]
      raise raw.reject("layer_types", types, expected if free else str(same))
    local = found
  if not any(local):
    return None, ()
  return window, () if all(local) else tuple(local)


def write(config: architecture.DecoderConfig) -> dict[str, Any]:
  """What config.json says of a decoder; `read` is its inverse.

  Args:
    config: of a family that has all that it has.

  Raises:
    errors.InputError: no family, or not the one named, has all that.

  >>> config = architecture.DecoderConfig(
  ...   vocab=32, layers=2, width=8, heads=2, kv_heads=1, head_dim=4,
  ...   mlp_width=16, window=4,
  ... )
  >>> write(config)["model_type"], write(config)["sliding_window"]
  ('mistral', 4)
  """
  family = config.family or _simplest(config)
  gemma = "gemma" in family
  values = {
    "architectures": [ARCHITECTURES.get(family)],
    "model_type": family,
    "vocab_size": config.vocab,
    "num_hidden_layers": config.layers,
    "hidden_size": config.width,
    "num_attention_heads": config.heads,
    "num_key_value_heads": config.kv_heads,
    "head_dim": config.head_dim,
    "intermediate_size": config.mlp_width,
    "hidden_activation" if gemma else "hidden_act": config.activation,
    "rms_norm_eps": config.norm_eps,
    "tie_word_embeddings": config.tied,
    "max_position_embeddings": config.max_positions,
    "attention_bias": config.output_bias,
    "mlp_bias": config.mlp_bias,
    "dtype": config.param_dtype,
  } | ropes.write(config.rope, config.local_rope)
  if config.window is not None or family == "mistral":
    values["sliding_window"] = config.window
  if family not in ("llama", "mistral"):
    values["use_sliding_window"] = config.window is not None
    values["layer_types"] = [
      ropes.SLIDING if local else ropes.FULL for local in config.local
    ]
  if gemma:
    scale = config.attention_scale or config.head_dim**-0.5
    values["query_pre_attn_scalar"] = round(scale**-2)
    values["attn_logit_softcapping"] = config.attention_softcap
    values["final_logit_softcapping"] = config.final_softcap
  computing = ("dtype", "param_dtype", "remat", "attention")
  same = {name: getattr(config, name) for name in computing}
  again = read(json_fields.Fields("config.json", values))
  if dataclasses.replace(again, **same) != config:
    raise _no_family(config, again, family)
  return values


def _simplest(config: architecture.DecoderConfig) -> str:
  if config.sandwich_norms:
    return "gemma3_text" if config.qk_norm else "gemma2"
  if config.qk_norm:
    return "qwen3"
  if config.qkv_bias and not config.output_bias:
    return "qwen2"
  return "llama" if config.window is None else "mistral"


def _no_family(
  config: architecture.DecoderConfig,
  again: architecture.DecoderConfig,
  family: str,
) -> errors.InputError:
  name = next(
    field.name
    for field in dataclasses.fields(config)
    if field.compare
    and getattr(config, field.name) != getattr(again, field.name)
  )
  return errors.InputError(
    f"decoder {name} is {getattr(config, name)!r}; a {family} file says "
    f"{getattr(again, name)!r} and has no words for the other. Use sizes of a "
    "published family, to be able to save the model."
  )
