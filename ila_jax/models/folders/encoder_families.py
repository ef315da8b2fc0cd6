"""The families of sentence encoders, a record each, and how a folder is read.

What is not implemented is refused by name, never read as something else.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from ila_jax import errors
from ila_jax.models import attention as attention_lib
from ila_jax.models import encoder
from ila_jax.models.folders import json_fields, tensor_names

_POOLINGS = {
  "pooling_mode_cls_token": "cls",
  "pooling_mode_mean_tokens": "mean",
  "pooling_mode_weightedmean_tokens": "weightedmean",
}
_SENTENCE_MODULES = ("Transformer", "Pooling", "Normalize")
# Fields that all families have, with the values that are implemented.
_ONLY = {
  "hidden_act": ("gelu",),
  "position_embedding_type": ("absolute",),
  "is_decoder": (False,),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
  """A family of sentence encoders: how it differs from BERT.

  Attributes:
    model_type: its name in config.json.
    only: fields of which no more than these values are implemented; the first
      is what a file means that leaves the field out.
    offset: reads how many rows of the position table come before that of the
      first token.
    tensors: what its files call its weights.
  """

  model_type: str
  only: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
  offset: Callable[[json_fields.Fields], int] = lambda _: 0
  tensors: tensor_names.Names = tensor_names.BERT


def _after_padding(raw: json_fields.Fields) -> int:
  """Reads RoBERTa's offset: it counts from the row after that of padding."""
  return raw.integer("pad_token_id", 1, least=0) + 1


FAMILIES: dict[str, Family] = {
  family.model_type: family
  for family in (
    Family(model_type="bert"),
    Family(model_type="roberta", offset=_after_padding),
    Family(model_type="xlm-roberta", offset=_after_padding),
  )
}


def tensors(folder: pathlib.Path) -> tensor_names.Names:
  """Returns what the files of an encoder's folder call its weights.

  Raises:
    errors.InputError: the family is not implemented.
  """
  return _family(json_fields.read_config(folder)).tensors


def _family(raw: json_fields.Fields) -> Family:
  return raw.entry("model_type", FAMILIES)


def encoder_config(
  folder: pathlib.Path, *, dtype: str, attention: str = "auto"
) -> encoder.EncoderConfig:
  """Reads the sizes of an encoder of any family from its config.json.

  Args:
    folder: of the model; its weights need not be there.
    dtype: compute dtype.
    attention: kernel, see `attention.choose`.

  Raises:
    errors.InputError: the file cannot be read, or says what is not implemented.

  >>> encoder_config(pathlib.Path("nowhere"), dtype="float32")
  Traceback (most recent call last):
  ila_jax.errors.InputError: nowhere has no config.json: it is not a model's ...
  """
  raw = json_fields.read_config(folder)
  family = _family(raw)
  raw.only("quantization_config", None)
  for name, values in (_ONLY | dict(family.only)).items():
    raw.only(name, *values)
  offset = family.offset(raw)
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
  """Reads what sentence-transformers noted of the texts that an encoder takes.

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
  raw = json_fields.Fields(file, json_fields.read_json(file, dict))
  name = "max_seq_length"
  longest = None if raw.get(name) is None else raw.integer(name)
  return longest, raw.only("do_lower_case", False, True)


def pooling(folder: pathlib.Path) -> str:
  """Reads the pooling, of `encoder.POOLINGS`, that sentence-transformers noted.

  Without a note it is `cls`.

  Raises:
    errors.InputError: another pooling, or a layer after the pooling.

  >>> pooling(pathlib.Path("nowhere"))
  'cls'
  """
  modules = folder / "modules.json"
  for module in (
    json_fields.read_json(modules, list) if modules.exists() else ()
  ):
    kind = module["type"].split(".")[-1]
    if kind not in _SENTENCE_MODULES:
      raise errors.InputError(
        f"{modules}: type is {kind!r}; allowed: "
        f"{', '.join(_SENTENCE_MODULES)}. Use another encoder."
      )
  file = folder / "1_Pooling" / "config.json"
  if not file.exists():
    return "cls"
  values = json_fields.read_json(file, dict)
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
