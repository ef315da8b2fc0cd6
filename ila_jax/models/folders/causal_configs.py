"""The config.json of causal models, read and written.

All families share what is here: it is Llama's, in the spelling of older files
(rope_theta, rope_scaling) and of newer ones (rope_parameters, layer_types).
What a family has of its own stands in its record.
"""

import dataclasses
import pathlib
from typing import Any

from ila_jax import errors
from ila_jax.models import architecture
from ila_jax.models import attention as attention_lib
from ila_jax.models.folders import (
  causal_families,
  causal_family,
  json_fields,
  ropes,
)
from ila_jax.models.folders.gguf import container, gguf_config


def decoder_config(
  folder: pathlib.Path,
  *,
  dtype: str,
  param_dtype: str,
  remat: bool,
  attention: str = "auto",
) -> architecture.DecoderConfig:
  """Reads the sizes of a decoder of any causal family from its config.json.

  Args:
    folder: of the model, whose weights need not be there; or a GGUF file.
    dtype: compute dtype.
    param_dtype: dtype of the weights, whatever they are in the files.
    remat: recompute blocks in the backward pass.
    attention: kernel, see `attention.choose`.

  Raises:
    errors.InputError: the file cannot be read, or says what is not implemented.
  """
  if container.is_gguf(folder):
    config = read(gguf_config.read(folder))
  else:
    config = read(json_fields.read_config(folder))
  kernel = attention_lib.choose(
    attention,
    dtype=dtype,
    head_dim=config.head_dim,
    softcap=config.attention_softcap,
  )
  return dataclasses.replace(
    config,
    dtype=dtype,
    param_dtype=param_dtype,
    remat=remat,
    attention=kernel,
  )


def read(raw: json_fields.Fields) -> architecture.DecoderConfig:
  """Reads the decoder that a config.json describes.

  Raises:
    errors.InputError: a family, or a value of a field, that is not
      implemented.

  >>> read(json_fields.Fields("config.json", {"model_type": "mamba"}))
  Traceback (most recent call last):
  ila_jax.errors.InputError: config.json: model_type is 'mamba'; allowed: 'll...
  """
  raw.only("quantization_config", None)
  family = raw.entry("model_type", _by_name())
  if raw.get("model_type") in family.larger:
    raw = _language_model(raw)
    raw.only("model_type", family.model_type)
  return _read(family, raw)


def _by_name() -> dict[str, causal_family.Family]:
  """Lists the families by all model types that are of them."""
  larger = {
    name: family
    for family in causal_families.FAMILIES.values()
    for name in family.larger
  }
  return causal_families.FAMILIES | larger


def _language_model(raw: json_fields.Fields) -> json_fields.Fields:
  """Finds the part of a model with eyes that reads and writes text."""
  text = raw.inner("text_config")
  # One head for both: the whole model's word counts.
  if (tied := raw.get("tie_word_embeddings")) is not None:
    text.values = text.values | {"tie_word_embeddings": tied}
  text.only("quantization_config", None)
  return text


def _read(
  family: causal_family.Family, raw: json_fields.Fields
) -> architecture.DecoderConfig:
  """Reads a decoder of one family from what a file says of text."""
  absent = {"rms_norm_eps": 1e-6} | dict(family.absent)
  raw = json_fields.Fields(raw.file, absent | raw.values, raw.prefix)
  heads, width = (
    raw.integer("num_attention_heads", most=json_fields.MOST_HEADS),
    raw.integer("hidden_size"),
  )
  layers = raw.integer("num_hidden_layers", most=json_fields.MOST_LAYERS)
  rope, local_rope = ropes.read(
    raw, theta=family.rope_theta, local_theta=family.local_rope_theta
  )
  window, local_layers = _window(family, raw, layers)
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
    family=family.model_type,
    **_differences(family, raw, width),
  )


def _differences(
  family: causal_family.Family, raw: json_fields.Fields, width: int
) -> dict[str, Any]:
  """Reads biases, activation, and what only this family has."""
  only = causal_family.ONLY | dict(family.only)
  said = {name: raw.only(name, *values) for name, values in only.items()}
  return {
    "qkv_bias": said["attention_bias"],
    "output_bias": said["attention_bias"],
    "mlp_bias": said["mlp_bias"],
    "activation": raw.only(family.activation, *family.activations),
    **family.has,
    **family.read(raw, width),
  }


def _window(
  family: causal_family.Family, raw: json_fields.Fields, layers: int
) -> tuple[int | None, tuple[bool, ...]]:
  """Reads window and local layers, in the form that `DecoderConfig` takes."""
  window, local = family.window(raw, layers)
  if (types := raw.get("layer_types")) is not None:
    named = {ropes.FULL: False, ropes.SLIDING: True}
    known = isinstance(types, list) and len(types) == layers
    known = known and all(kind in tuple(named) for kind in types)
    read = [named[kind] for kind in types] if known else None
    # Where transformers does not read the field it may say nothing new.
    free = window is not None and family.layer_types
    if not known or (read != local and not free):
      expected = (
        f"{ropes.FULL!r} or {ropes.SLIDING!r} for each of {layers} layers"
      )
      same = [ropes.SLIDING if here else ropes.FULL for here in local]
      raise raw.reject("layer_types", types, expected if free else str(same))
    local = read
  if not any(local):
    return None, ()
  return window, () if all(local) else tuple(local)


def family_of(config: architecture.DecoderConfig) -> causal_family.Family:
  """Finds the family that a decoder is written as.

  Returns:
    That of `config.family`; without one, the simplest that has all that the
    decoder has, so far as there is one.

  Raises:
    errors.InputError: `config.family` is not implemented.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> family_of(config).tensors.table["blocks/mlp_norm"].format(1)
  'model.layers.1.post_attention_layernorm.weight'
  """
  if config.family is not None:
    named = json_fields.Fields("config.json", {"model_type": config.family})
    return named.entry("model_type", _by_name())
  # Those that have more stand later.
  return next(
    f for f in reversed(causal_families.FAMILIES.values()) if f.suits(config)
  )


def write(config: architecture.DecoderConfig) -> dict[str, Any]:
  """Writes the fields of config.json for a decoder; `read` is its inverse.

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
  family = family_of(config)
  values = _write(family, config)
  computing = ("dtype", "param_dtype", "remat", "attention")
  same = {name: getattr(config, name) for name in computing}
  again = _read(family, json_fields.Fields("config.json", values))
  if dataclasses.replace(again, **same) != config:
    raise _cannot_say(config, again, family.model_type)
  return values


def _write(
  family: causal_family.Family, config: architecture.DecoderConfig
) -> dict[str, Any]:
  """Writes what a file of one family can say of a decoder."""
  values = {
    "architectures": [family.architecture],
    "model_type": family.model_type,
    "vocab_size": config.vocab,
    "num_hidden_layers": config.layers,
    "hidden_size": config.width,
    "num_attention_heads": config.heads,
    "num_key_value_heads": config.kv_heads,
    "head_dim": config.head_dim,
    "intermediate_size": config.mlp_width,
    family.activation: config.activation,
    "rms_norm_eps": config.norm_eps,
    "tie_word_embeddings": config.tied,
    "max_position_embeddings": config.max_positions,
    "attention_bias": config.output_bias,
    "mlp_bias": config.mlp_bias,
    "dtype": config.param_dtype,
  } | ropes.write(config.rope, config.local_rope)
  if config.window is not None:
    values["sliding_window"] = config.window
  if family.layer_types:
    values["use_sliding_window"] = config.window is not None
    values["layer_types"] = [
      ropes.SLIDING if local else ropes.FULL for local in config.local
    ]
  return values | family.write(config)


def _cannot_say(
  config: architecture.DecoderConfig,
  again: architecture.DecoderConfig,
  family: str,
) -> errors.InputError:
  """Makes the error that names what a decoder has and its family lacks."""
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
