"""What the JSON files of Hugging Face folders mean.

What is not implemented is refused by name, never read as something else.
"""

import json
import pathlib
from typing import Any

from ila_jax import errors
from ila_jax.models import architecture
from ila_jax.models import encoder as encoder_lib

_POOLINGS = {
  "pooling_mode_cls_token": "cls",
  "pooling_mode_mean_tokens": "mean",
}
_SENTENCE_MODULES = ("Transformer", "Pooling", "Normalize")


def read_json(file: pathlib.Path, kind: type) -> Any:
  """A JSON file of the kind `dict` or `list`.

  >>> read_json(pathlib.Path("nowhere.json"), dict)
  Traceback (most recent call last):
  ila_jax.errors.InputError: nowhere.json cannot be read as JSON (...
  """
  try:
    values = json.loads(file.read_text())
  except (OSError, ValueError) as error:
    raise errors.InputError(
      f"{file} cannot be read as JSON ({error}). Fetch it again."
    ) from error
  if not isinstance(values, kind):
    raise errors.InputError(
      f"{file} is no JSON {kind.__name__}. Fetch it again."
    )
  return values


class _Fields:
  """A config.json, whose fields are checked as they are read."""

  def __init__(self, folder: pathlib.Path) -> None:
    self.file = folder / "config.json"
    self.values = read_json(self.file, dict)
    self.only("quantization_config", None)

  def get(self, name: str, default: Any = None) -> Any:
    value = self.values.get(name)
    return default if value is None else value

  def reject(self, name: str, value: Any, allowed: str) -> errors.InputError:
    return errors.InputError(
      f"{self.file}: {name} is {value!r}; allowed: {allowed}. Use a model "
      "that has it so; others are not implemented."
    )

  def only(self, name: str, *allowed: Any) -> Any:
    """A field that may have these values; the first is the format's default."""
    value = self.get(name, allowed[0])
    if value not in allowed:
      raise self.reject(name, value, " or ".join(map(repr, allowed)))
    return value

  def integer(self, name: str, default: int | None = None) -> int:
    return self._number(int, name, default)

  def number(self, name: str, default: float | None = None) -> float:
    return float(self._number((int, float), name, default))

  def _number(self, kind: Any, name: str, default: Any) -> Any:
    value = self.get(name, default)
    if not isinstance(value, kind) or isinstance(value, bool) or value <= 0:
      raise self.reject(name, value, "a number above 0")
    return value


def decoder_config(
  folder: pathlib.Path, *, dtype: str, param_dtype: str, remat: bool
) -> architecture.DecoderConfig:
  """Sizes of a Llama or Qwen2 decoder, from config.json."""
  raw = _Fields(folder)
  family = raw.get("model_type")
  if family not in ("llama", "qwen2"):
    raise raw.reject("model_type", family, "'llama' or 'qwen2'")
  raw.only("hidden_act", "silu")
  raw.only("attention_bias", False)
  raw.only("mlp_bias", False)
  raw.only("use_sliding_window", False)
  if set(raw.get("layer_types", ())) - {"full_attention"}:
    raise raw.reject("layer_types", raw.get("layer_types"), "'full_attention'")
  heads = raw.integer("num_attention_heads")
  width = raw.integer("hidden_size")
  return architecture.DecoderConfig(
    vocab=raw.integer("vocab_size"),
    layers=raw.integer("num_hidden_layers"),
    width=width,
    heads=heads,
    kv_heads=raw.integer("num_key_value_heads", heads),
    head_dim=raw.integer("head_dim", width // heads),
    mlp_width=raw.integer("intermediate_size"),
    rope_theta=_rope_theta(raw),
    norm_eps=raw.number("rms_norm_eps"),
    qkv_bias=family == "qwen2",
    tied=raw.only("tie_word_embeddings", False, True),
    max_positions=raw.integer("max_position_embeddings"),
    dtype=dtype,
    param_dtype=param_dtype,
    remat=remat,
  )


def _rope_theta(raw: _Fields) -> float:
  """The rotary base: of its own in older files, in a table in newer ones."""
  field = "rope_parameters" if raw.get("rope_parameters") else "rope_scaling"
  rope = raw.get(field, {})
  if not isinstance(rope, dict):
    raise raw.reject(field, rope, "an object with a rope_type")
  kind = rope.get("rope_type", rope.get("type", "default"))
  if kind != "default":
    raise raw.reject(f"{field}.rope_type", kind, "'default'")
  raw.only("partial_rotary_factor", 1.0)
  # Files older than the field mean 10000.
  return float(rope.get("rope_theta") or raw.number("rope_theta", 10000.0))


def encoder_config(
  folder: pathlib.Path, *, dtype: str
) -> encoder_lib.EncoderConfig:
  """Sizes of a BERT encoder, from config.json."""
  raw = _Fields(folder)
  if raw.get("model_type") != "bert":
    raise raw.reject("model_type", raw.get("model_type"), "'bert'")
  raw.only("hidden_act", "gelu")
  raw.only("position_embedding_type", "absolute")
  raw.only("is_decoder", False)
  return encoder_lib.EncoderConfig(
    vocab=raw.integer("vocab_size"),
    layers=raw.integer("num_hidden_layers"),
    width=raw.integer("hidden_size"),
    heads=raw.integer("num_attention_heads"),
    mlp_width=raw.integer("intermediate_size"),
    max_positions=raw.integer("max_position_embeddings"),
    token_types=raw.integer("type_vocab_size"),
    norm_eps=raw.number("layer_norm_eps"),
    dtype=dtype,
  )


def pooling(folder: pathlib.Path) -> str:
  """`cls` or `mean`, as sentence-transformers noted; else `cls`.

  >>> pooling(pathlib.Path("nowhere"))
  'cls'
  """
  modules = folder / "modules.json"
  for module in read_json(modules, list) if modules.exists() else ():
    kind = module["type"].split(".")[-1]
    if kind not in _SENTENCE_MODULES:
      raise errors.InputError(
        f"{modules}: type is {kind!r}; allowed: "
        f"{', '.join(_SENTENCE_MODULES)}. Use another encoder."
      )
  file = folder / "1_Pooling" / "config.json"
  if not file.exists():
    return "cls"
  values = read_json(file, dict)
  # Newer files name the mode; older ones have a flag for each.
  flags = [k for k, v in values.items() if k.startswith("pooling_mode_") and v]
  modes = [_POOLINGS.get(flag, flag) for flag in flags]
  modes = [values["pooling_mode"]] if "pooling_mode" in values else modes
  if len(modes) != 1 or modes[0] not in encoder_lib.POOLINGS:
    raise errors.InputError(
      f"{file}: the pooling is {' and '.join(modes) or 'not given'}; allowed: "
      f"{' or '.join(encoder_lib.POOLINGS)}. Use another encoder."
    )
  return modes[0]


def to_foreign(config: architecture.DecoderConfig) -> dict[str, Any]:
  """What config.json says of a decoder of ours.

  >>> config = architecture.DecoderConfig(
  ...   vocab=32, layers=2, width=8,
  ...   heads=2, kv_heads=1, head_dim=4, mlp_width=16,
  ... )
  >>> to_foreign(config)["model_type"]
  'llama'
  """
  family = "Qwen2" if config.qkv_bias else "Llama"
  return {
    "architectures": [f"{family}ForCausalLM"],
    "model_type": family.lower(),
    "vocab_size": config.vocab,
    "num_hidden_layers": config.layers,
    "hidden_size": config.width,
    "num_attention_heads": config.heads,
    "num_key_value_heads": config.kv_heads,
    "head_dim": config.head_dim,
    "intermediate_size": config.mlp_width,
    "rope_theta": config.rope_theta,
    "rms_norm_eps": config.norm_eps,
    "tie_word_embeddings": config.tied,
    "max_position_embeddings": config.max_positions,
    "hidden_act": "silu",
    "dtype": config.param_dtype,
  }
