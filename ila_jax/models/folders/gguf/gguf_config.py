"""Reads a GGUF file's metadata into the fields of a config.json.

The fields are then read as those of any other config.json. `Architecture` is a
record of what llama.cpp names differently in one kind of model.
"""

import math
import pathlib
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ila_jax import errors
from ila_jax.models.folders import json_fields
from ila_jax.models.folders.gguf import container

_NEEDED = {
  "block_count": "num_hidden_layers",
  "context_length": "max_position_embeddings",
  "embedding_length": "hidden_size",
  "feed_forward_length": "intermediate_size",
  "attention.head_count": "num_attention_heads",
  "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
_OPTIONAL = {
  "attention.head_count_kv": "num_key_value_heads",
  "attention.key_length": "head_dim",
  "rope.freq_base": "rope_theta",
}
_GEMMA = {
  "attn_logit_softcapping": "attn_logit_softcapping",
  "final_logit_softcapping": "final_logit_softcapping",
}


class Architecture(NamedTuple):
  """How the files of an architecture differ from those of Llama's family.

  Attributes:
    model_type: of a config.json.
    needed: keys that must be there, and their fields, beside `_NEEDED`.
    optional: the same of keys that may be there, beside `_OPTIONAL`.
    turned: whether rows of queries and keys are in llama.cpp's own order.
    norm_shift: what is added to a norm's weights as they stand in the file.
    scaled_by_width: layers of the one model that scales attention by width /
      heads where the others take the size of a head, which no key says; None:
      attention is scaled as in Llama.
  """

  model_type: str
  needed: Mapping[str, str] = types.MappingProxyType({})
  optional: Mapping[str, str] = types.MappingProxyType({})
  turned: bool = False
  norm_shift: float = 0.0
  scaled_by_width: int | None = None


_WINDOW = {"attention.sliding_window": "sliding_window"}
# llama.cpp's architectures. Mistral's files say llama.
ARCHITECTURES = {
  "llama": Architecture("llama", turned=True),
  "qwen2": Architecture("qwen2"),
  "qwen3": Architecture("qwen3"),
  "gemma2": Architecture(
    "gemma2", _WINDOW, _GEMMA, norm_shift=-1.0, scaled_by_width=46
  ),
  "gemma3": Architecture(
    "gemma3_text", _WINDOW, _GEMMA, norm_shift=-1.0, scaled_by_width=62
  ),
}
# Read below, or without weight for what a model computes.
_OTHER = (
  *("attention.value_length", "rope.dimension_count", "vocab_size"),
  *("rope.scaling.type", "rope.scaling.factor", "rope.scaling.finetuned"),
  *("rope.scaling.original_context_length", "expert_count"),
  "expert_used_count",
)
_FREQUENCIES = "rope_freqs.weight"
_LLAMA3 = {
  "rope_type": "llama3",
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 8192,
}


def read(path: pathlib.Path) -> json_fields.Fields:
  """Reads metadata into the fields that a config.json of the model has.

  Args:
    path: of the file.

  Raises:
    errors.InputError: an architecture, or a key of it, that is not
      implemented, or a key that is missing.

  >>> read(pathlib.Path("nowhere.gguf"))
  Traceback (most recent call last):
  ila_jax.errors.InputError: the GGUF file nowhere.gguf does not exist; ...
  """
  file = container.open_file(path)
  name = architecture(file)
  kind, prefix = ARCHITECTURES[name], f"{name}."
  said = {
    key.removeprefix(prefix): _shortest(value)
    for key, value in file.values.items()
    if key.startswith(prefix)
  }
  needed = _NEEDED | kind.needed
  for key in needed:
    if key not in said:
      raise errors.InputError(
        f"{path}: the metadata lacks {prefix}{key}; allowed: a file that has "
        f"{', '.join(prefix + key for key in needed)}. Convert the model again "
        "by llama.cpp's convert_hf_to_gguf.py."
      )
  names = needed | _OPTIONAL | kind.optional
  _check_keys(path, prefix, said, names)
  values = {name: said[key] for key, name in names.items() if key in said}
  values["model_type"] = kind.model_type
  embedding = file.tensors.get("token_embd.weight")
  # Where it is missing, the check of the tensors says so.
  values["vocab_size"] = 1 if embedding is None else int(embedding.shape[-1])
  values["tie_word_embeddings"] = "output.weight" not in file.tensors
  values["attention_bias"] = "blk.0.attn_output.bias" in file.tensors
  values["mlp_bias"] = "blk.0.ffn_down.bias" in file.tensors
  raw = json_fields.Fields(path, values)
  heads = raw.integer("num_attention_heads")
  values.setdefault("num_key_value_heads", heads)
  values.setdefault("head_dim", raw.integer("hidden_size") // heads)
  _check_heads(path, prefix, said, raw.integer("head_dim"))
  if kind.scaled_by_width is not None:
    values["query_pre_attn_scalar"] = raw.integer("head_dim")
    if raw.integer("num_hidden_layers") == kind.scaled_by_width:
      values["query_pre_attn_scalar"] = raw.integer("hidden_size") // heads
  values["rope_scaling"] = _scaling(path, prefix, said) or _llama3(file, raw)
  return raw


def architecture(file: container.File) -> str:
  """Returns llama.cpp's name of the architecture of an open file.

  Raises:
    errors.InputError: it is not implemented.
  """
  name = file.values.get("general.architecture")
  if name not in ARCHITECTURES:
    raise errors.InputError(
      f"{file.path}: general.architecture is {name!r}; allowed: "
      f"{', '.join(ARCHITECTURES)}. Use a model of one of these; others are "
      "not implemented."
    )
  return name


def _shortest(value: Any) -> Any:
  """Spells a float of 32 bits as the config.json that it comes from did.

  >>> _shortest(9.999999747378752e-06)
  1e-05
  """
  return float(str(np.float32(value))) if isinstance(value, float) else value


def _check_keys(
  path: pathlib.Path, prefix: str, said: dict[str, Any], names: dict[str, str]
) -> None:
  """Refuses keys that are not known: they may change what is computed."""
  for key, value in said.items():
    if (key in names or key in _OTHER) and not (
      key.startswith("expert") and value
    ):
      continue
    raise errors.InputError(
      f"{path}: {prefix}{key} is {value!r}; allowed: a file without it. Use a "
      "model that has none; what it says is not implemented."
    )


def _check_heads(
  path: pathlib.Path, prefix: str, said: dict[str, Any], head_dim: int
) -> None:
  for key in ("attention.value_length", "rope.dimension_count"):
    if said.get(key, head_dim) != head_dim:
      raise errors.InputError(
        f"{path}: {prefix}{key} is {said[key]!r}; allowed: {head_dim}, the "
        "width of a head. Use a model that has it so; others are not "
        "implemented."
      )


def _scaling(
  path: pathlib.Path, prefix: str, said: dict[str, Any]
) -> dict[str, Any] | None:
  """Reads how positions were stretched, where the metadata says so."""
  kind = said.get("rope.scaling.type", "none")
  if kind == "none":
    return None
  if kind not in ("linear", "yarn") or "rope.scaling.factor" not in said:
    raise errors.InputError(
      f"{path}: {prefix}rope.scaling.type is {kind!r}; allowed: none, linear "
      f"or yarn, the last two with {prefix}rope.scaling.factor. Use a model "
      "that has it so; others are not implemented."
    )
  scaling = {"rope_type": kind, "factor": said["rope.scaling.factor"]}
  if kind == "yarn" and "rope.scaling.original_context_length" in said:
    original = said["rope.scaling.original_context_length"]
    scaling["original_max_position_embeddings"] = original
  return scaling


def _llama3(
  file: container.File, raw: json_fields.Fields
) -> dict[str, Any] | None:
  """Recovers Llama 3.1's rope scaling from the tensor of its factors.

  A file holds by what each frequency is divided, and not the four numbers that
  this comes from: all published models have three of them in common.
  """
  if _FREQUENCIES not in file.tensors:
    return None
  factors = np.asarray(file.tensors[_FREQUENCIES].data, np.float64).ravel()
  theta, head_dim = raw.number("rope_theta", 1e4), raw.integer("head_dim")
  expected = _llama3_factors(theta, head_dim, float(factors.max()))
  if factors.shape != expected.shape or not np.allclose(
    factors, expected, rtol=1e-4
  ):
    raise errors.InputError(
      f"{file.path}: {_FREQUENCIES} divides frequencies by {factors.min():g} "
      f"to {factors.max():g}; allowed: as Llama 3.1 does, with "
      "low_freq_factor 1, high_freq_factor 4 and 8192 original positions. Use "
      "the model's Hugging Face folder, with safetensors."
    )
  return _LLAMA3 | {"factor": round(float(factors.max()), 4)}


def _llama3_factors(theta: float, head_dim: int, factor: float) -> np.ndarray:
  """Computes Llama 3.1's divisor of each frequency, as llama.cpp stores it.

  >>> _llama3_factors(5e5, 128, 8.0)[[0, -1]]
  array([1., 8.])
  """
  original = _LLAMA3["original_max_position_embeddings"]
  low, high = _LLAMA3["low_freq_factor"], _LLAMA3["high_freq_factor"]
  waves = 2 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
  smooth = np.clip((original / waves - low) / (high - low), 0, 1)
  return 1 / ((1 - smooth) / factor + smooth)
