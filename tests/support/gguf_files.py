"""GGUF files, written by gguf's own writer as llama.cpp's converter does."""

import pathlib

import gguf
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import nnx

from ila_jax.models import architecture, decoder, rotary
from ila_jax.models.folders import weights
from ila_jax.models.folders.gguf import gguf_config

_SIZES = {
  "vocab": 64,
  "layers": 2,
  "width": 64,
  "heads": 4,
  "kv_heads": 2,
  "head_dim": 16,
  "mlp_width": 96,
  "max_positions": 512,
}
_GEMMA = {
  "norm_plus_one": True,
  "sandwich_norms": True,
  "activation": "gelu_pytorch_tanh",
  "embedding_scale": 8.0,
  "attention_scale": 0.25,
  "window": 6,
}
_LLAMA3 = rotary.Rope(kind="llama3", theta=5e5, factor=32.0)
_YARN = rotary.Rope(
  kind="yarn",
  factor=4.0,
  original_positions=128,
  attention_factor=0.1 * np.log(4.0) + 1,
)
_LINEAR = rotary.Rope(kind="linear", theta=1e6, factor=8.0)
# What differs from `_SIZES`, by the name of the case; it begins with the
# architecture.
FAMILIES = {
  "llama": {"tied": False, "rope": rotary.Rope(theta=1e5)},
  "llama_3": {"rope": _LLAMA3},
  "llama_biases": {"qkv_bias": True, "output_bias": True, "mlp_bias": True},
  "qwen2": {"qkv_bias": True, "tied": False, "rope": _YARN},
  "qwen3": {"qk_norm": True, "head_dim": 32},
  "gemma2": _GEMMA
  | {
    "local_layers": (True, False),
    "attention_softcap": 50.0,
    "final_softcap": 30.0,
  },
  "gemma3": _GEMMA
  | {
    "qk_norm": True,
    "layers": 6,
    "local_layers": (True,) * 5 + (False,),
    "rope": _LINEAR,
    "local_rope": rotary.Rope(theta=1e4),
  },
}


def make_decoder(case: str) -> decoder.Decoder:
  """A small decoder whose every weight is random."""
  config = architecture.DecoderConfig(**_SIZES | FAMILIES[case])
  model = decoder.Decoder(config, rngs=nnx.Rngs(0))
  random = np.random.default_rng(0)
  state = nnx.to_pure_dict(nnx.state(model))
  flat = nnx.traversals.flatten_mapping(state)
  drawn = {
    path: jnp.asarray(random.normal(size=leaf.shape), jnp.float32)
    for path, leaf in flat.items()
  }
  nnx.update(model, nnx.traversals.unflatten_mapping(drawn))
  return model


def write(
  folder: pathlib.Path, case: str, kind: str, *, change=lambda writer: None
) -> pathlib.Path:
  """Writes a decoder twice: `folder/m.gguf`, and the same as a folder `hf`.

  The weights of the folder are those that the GGUF file holds, dequantised.

  Args:
    folder: of both.
    case: of `FAMILIES`.
    kind: type of the matrices.
    change: is given the writer before it writes.

  Returns:
    The GGUF file.
  """
  model = make_decoder(case)
  family = case.partition("_")[0]
  weights.save_decoder(folder / "hf", model.config, model)
  plain = folder / "hf/model.safetensors"
  tensors = safetensors.numpy.load_file(plain)
  file = folder / "m.gguf"
  writer = gguf.GGUFWriter(file, family)
  _add_metadata(writer, model.config, family)
  arch = {name: a for a, name in gguf.MODEL_ARCH_NAMES.items()}[family]
  names = gguf.get_tensor_name_map(arch, model.config.layers)
  for name, tensor in tensors.items():
    stored = _as_llama_cpp(tensor, name, family, model.config)
    to = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if tensor.ndim == 1:
      writer.add_tensor(to, stored)
      continue
    qtype = gguf.GGMLQuantizationType[kind]
    writer.add_tensor(to, gguf.quantize(stored, qtype), raw_dtype=qtype)
    # A row is quantised by itself, in whatever order they are.
    tensors[name] = gguf.dequantize(gguf.quantize(tensor, qtype), qtype)
  if model.config.rope.kind == "llama3":
    factors = gguf_config._llama3_factors(5e5, 16, 32.0)
    writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))
  safetensors.numpy.save_file(tensors, plain, {"format": "pt"})
  (folder / "hf/checksums.json").unlink()
  change(writer)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return file


def _add_metadata(writer, config, family):
  writer.add_block_count(config.layers)
  writer.add_context_length(config.max_positions)
  writer.add_embedding_length(config.width)
  writer.add_feed_forward_length(config.mlp_width)
  writer.add_head_count(config.heads)
  writer.add_head_count_kv(config.kv_heads)
  writer.add_layer_norm_rms_eps(config.norm_eps)
  writer.add_key_length(config.head_dim)
  writer.add_value_length(config.head_dim)
  writer.add_rope_freq_base(config.rope.theta)
  writer.add_vocab_size(config.vocab)
  if config.window:
    writer.add_sliding_window(config.window)
  if config.attention_softcap:
    writer.add_attn_logit_softcapping(config.attention_softcap)
    writer.add_final_logit_softcapping(config.final_softcap)
  if config.rope.kind in ("linear", "yarn"):
    writer.add_rope_scaling_type(gguf.RopeScalingType(config.rope.kind))
    writer.add_rope_scaling_factor(config.rope.factor)
  if config.rope.kind == "yarn":
    writer.add_rope_scaling_orig_ctx_len(config.rope.original_positions)


def _as_llama_cpp(tensor, name, family, config):
  """What convert_hf_to_gguf.py makes of a tensor."""
  if family.startswith("gemma") and name.endswith("norm.weight"):
    return tensor + 1
  for part, heads in (("q_proj", config.heads), ("k_proj", config.kv_heads)):
    if family == "llama" and part in name:
      halves = tensor.reshape(heads, 2, -1, *tensor.shape[1:])
      return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(tensor.shape))
  return tensor
