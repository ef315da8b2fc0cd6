"""What a causal family is; `causal_families` has a record of each."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ila_jax.models import architecture
from ila_jax.models.folders import json_fields, tensor_names

# The window in tokens, or None, and which layers see no more than it.
Local = tuple[int | None, list[bool]]

# What config.json may say in all families; the first is what a file means that
# leaves the field out.
ONLY = {"attention_bias": (False, True), "mlp_bias": (False,)}


def no_window(raw: json_fields.Fields, layers: int) -> Local:
  """Says that every token sees all before it.

  >>> no_window(json_fields.Fields("config.json", {}), 2)
  (None, [False, False])
  """
  return None, [False] * layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
  """A family of causal language models: how it differs from Llama.

  Attributes:
    model_type: its name in config.json.
    architecture: its class in transformers.
    larger: model types of larger models, with eyes, whose `text_config` is of
      this family.
    absent: what fields mean that a file leaves out. A null means another
      thing: that there is none.
    only: fields of which no more than these values are implemented; the first
      is what a file means that leaves the field out.
    activation: field of the MLP's activation.
    activations: of `architecture.ACTIVATIONS`, that of the family first.
    has: what all its decoders have, as fields of `DecoderConfig`.
    read: reads what else it has, from a file and the width.
    write: the inverse of `read`: fields of a file, from a decoder.
    window: reads the window, and which of so many layers are local, where the
      file does not name the kind of each layer.
    layer_types: whether a file may name the kind of each layer.
    rope_theta: the base of rotary positions where a file gives none.
    local_rope_theta: likewise of local layers, where these turn positions in
      their own way; None: all layers are alike.
    tensors: what its files call its weights.
    suits: whether a decoder without a family is written as one of this family,
      if none does that stands later among `causal_families.FAMILIES`.
  """

  model_type: str
  architecture: str
  larger: tuple[str, ...] = ()
  absent: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  only: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
  activation: str = "hidden_act"
  activations: tuple[str, ...] = architecture.ACTIVATIONS
  has: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  read: Callable[[json_fields.Fields, int], dict[str, Any]] = lambda *_: {}
  write: Callable[[architecture.DecoderConfig], dict[str, Any]] = lambda _: {}
  window: Callable[[json_fields.Fields, int], Local] = no_window
  layer_types: bool = False
  rope_theta: float = 1e4
  local_rope_theta: float | None = None
  tensors: tensor_names.Names = tensor_names.LLAMA
  suits: Callable[[architecture.DecoderConfig], bool] = lambda _: False
