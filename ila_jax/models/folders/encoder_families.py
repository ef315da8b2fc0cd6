"""What the JSON files of Hugging Face folders mean.

What is not implemented is refused by name, never read as something else.
"""

import dataclasses
import json
import pathlib
from typing import Any

from ila_jax import errors
from ila_jax.models import architecture, encoder
from ila_jax.models import attention as attention_lib
from ila_jax.models.folders import causal_families, json_fields

_ENCODERS = ("bert", "roberta", "xlm-roberta")
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
  except (OSError, ValueError, RecursionError) as error:
    raise errors.InputError(
      f"{file} cannot be read as JSON ({error}). Fetch it again."
    ) from error
  if not isinstance(values, kind):
    raise errors.InputError(
      f"{file} is no JSON {kind.__name__}. Fetch it again."
    )
  return values


def _fields(folder: pathlib.Path) -> json_fields.Fields:
  file = folder / "config.json"
  if not file.exists() and (folder / "adapter_config.json").exists():
    raise errors.InputError(
      f"{folder} holds an adapter and no model (adapter_config.json, but no "
      "config.json). Merge it into its base with peft's merge_and_unload and "
      "save_pretrained, and give that folder."
    )
  return json_fields.Fields(file, read_json(file, dict))


def decoder_config(
  folder: pathlib.Path,
  *,
  dtype: str,
  param_dtype: str,
  remat: bool,
  attention: str = "auto",
) -> architecture.DecoderConfig:
  """Sizes of a decoder of any of the causal families, from config.json."""
  config = causal_families.read(_fields(folder))
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


def encoder_config(
  folder: pathlib.Path, *, dtype: str, attention: str = "auto"
) -> encoder.EncoderConfig:
  """Sizes of a BERT, RoBERTa or XLM-RoBERTa encoder, from config.json."""
  raw = _fields(folder)
  family = raw.get("model_type")
  if family not in _ENCODERS:
    known = " or ".join(map(repr, _ENCODERS))
    raise raw.reject("model_type", family, known)
  raw.only("quantization_config", None)
  raw.only("hidden_act", "gelu")
  raw.only("position_embedding_type", "absolute")
  raw.only("is_decoder", False)
  # RoBERTa counts positions from the row after that of its padding token.
  offset = 0
  if family != "bert":
    offset = raw.integer("pad_token_id", 1, least=0) + 1
  rows = raw.integer("max_position_embeddings", least=offset + 1)
  width, heads = (
    raw.integer("hidden_size"),
    raw.integer("num_attention_heads"),
  )
  return encoder.EncoderConfig(
    vocab=raw.integer("vocab_size"),
    layers=raw.integer("num_hidden_layers", most=json_fields.MOST_LAYERS),
    width=width,
    heads=heads,
    mlp_width=raw.integer("intermediate_size"),
    max_positions=rows - offset,
    position_offset=offset,
    token_types=raw.integer("type_vocab_size"),
    norm_eps=raw.number("layer_norm_eps"),
    dtype=dtype,
    attention=attention_lib.choose(
      attention, dtype=dtype, head_dim=width // heads
    ),
  )


def reading(folder: pathlib.Path) -> tuple[int | None, bool]:
  """How an encoder reads, by sentence-transformers' notes beside its weights.

  Returns:
    (the longest text that it was tuned for, in tokens, special ones included,
    or None where nobody noted it; whether text is lower-cased before it is
    tokenized, as BGE's is).

  >>> reading(pathlib.Path("nowhere"))
  (None, False)
  """
  file = folder / "sentence_bert_config.json"
  if not file.exists():
    return None, False
  raw = json_fields.Fields(file, read_json(file, dict))
  name = "max_seq_length"
  longest = None if raw.get(name) is None else raw.integer(name)
  return longest, raw.only("do_lower_case", False, True)


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
  if len(modes) != 1 or modes[0] not in encoder.POOLINGS:
    raise errors.InputError(
      f"{file}: the pooling is {' and '.join(modes) or 'not given'}; allowed: "
      f"{' or '.join(encoder.POOLINGS)}. Use another encoder."
    )
  return modes[0]
