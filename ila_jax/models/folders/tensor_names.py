"""What files call our weights: the one module with foreign names."""

import dataclasses
from collections.abc import Mapping

# Our name -> their name ({} is the layer). Matrices, which they keep as
# (out, in), are transposed; tables and vectors are kept as they are.
DECODER = {
  "embedding": "model.embed_tokens.weight",
  "final_norm": "model.norm.weight",
  "output_head": "lm_head.weight",
} | {
  f"blocks/{ours}{suffix}": f"model.layers.{{}}.{theirs}.{kind}"
  for ours, theirs in (
    ("attention_norm", "input_layernorm"),
    ("query", "self_attn.q_proj"),
    ("key", "self_attn.k_proj"),
    ("value", "self_attn.v_proj"),
    ("output", "self_attn.o_proj"),
    ("query_norm", "self_attn.q_norm"),
    ("key_norm", "self_attn.k_norm"),
    ("mlp_norm", "post_attention_layernorm"),
    ("gate", "mlp.gate_proj"),
    ("up", "mlp.up_proj"),
    ("down", "mlp.down_proj"),
  )
  for suffix, kind in (("", "weight"), ("_bias", "bias"))
  if not (suffix and ours.endswith("norm"))
}
# Where branches are normed on both sides, a name of Llama's is another norm.
_SANDWICH = {
  f"blocks/{ours}": f"model.layers.{{}}.{theirs}_layernorm.weight"
  for ours, theirs in (
    ("attention_out_norm", "post_attention"),
    ("mlp_norm", "pre_feedforward"),
    ("mlp_out_norm", "post_feedforward"),
  )
}
# What llama.cpp calls them, in all families.
_GGUF = {
  "embedding": "token_embd.weight",
  "final_norm": "output_norm.weight",
  "output_head": "output.weight",
} | {
  f"blocks/{ours}{suffix}": f"blk.{{}}.{theirs}.{kind}"
  for ours, theirs in (
    ("attention_norm", "attn_norm"),
    ("query", "attn_q"),
    ("key", "attn_k"),
    ("value", "attn_v"),
    ("output", "attn_output"),
    ("query_norm", "attn_q_norm"),
    ("key_norm", "attn_k_norm"),
    ("attention_out_norm", "post_attention_norm"),
    ("mlp_norm", "ffn_norm"),
    ("gate", "ffn_gate"),
    ("up", "ffn_up"),
    ("down", "ffn_down"),
    ("mlp_out_norm", "post_ffw_norm"),
  )
  for suffix, kind in (("", "weight"), ("_bias", "bias"))
  if not (suffix and ours.endswith("norm"))
}
ENCODER = {
  "embedding": "embeddings.word_embeddings.weight",
  "position_embedding": "embeddings.position_embeddings.weight",
  "type_embedding": "embeddings.token_type_embeddings.weight",
  "norm": "embeddings.LayerNorm.weight",
  "norm_bias": "embeddings.LayerNorm.bias",
} | {
  f"blocks/{ours}{suffix}": f"encoder.layer.{{}}.{theirs}.{kind}"
  for ours, theirs in (
    ("query", "attention.self.query"),
    ("key", "attention.self.key"),
    ("value", "attention.self.value"),
    ("output", "attention.output.dense"),
    ("attention_norm", "attention.output.LayerNorm"),
    ("up", "intermediate.dense"),
    ("down", "output.dense"),
    ("mlp_norm", "output.LayerNorm"),
  )
  for suffix, kind in (("", "weight"), ("_bias", "bias"))
}
# What folders may hold beside the weights: constants, heads that we do not
# use, and the eyes of models that see.
_IGNORED = (
  *("rotary_emb.inv_freq", "position_ids", "pooler.", "cls."),
  *("vision_tower.", "multi_modal_projector."),
)
# What peft calls the factors of a matrix that has an adapter.
PEFT = "base_model.model.{module}.lora_{factor}.weight"
# The same model may stand inside a larger one.
_PREFIXES = {
  "bert.": "",
  "roberta.": "",
  "language_model.model.": "model.",
  "language_model.lm_head.": "lm_head.",
  "model.language_model.": "model.",
  "model.vision_tower.": "vision_tower.",
  "model.multi_modal_projector.": "multi_modal_projector.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Names:
  """What the files of a family call its weights.

  Attributes:
    table: our name -> theirs, where {} is the layer; may hold weights that
      not all of its models have.
    ignored: beginnings and ends of the names of tensors that are let be.
    inside: beginnings of names in larger models -> what stands for them here.
  """

  table: Mapping[str, str]
  ignored: tuple[str, ...] = _IGNORED
  inside: Mapping[str, str] = dataclasses.field(default_factory=_PREFIXES.copy)

  def plain(self, name: str) -> str | None:
    """Returns a name in a file without that of a larger model around it.

    Returns:
      The name, or None for a tensor that is let be.

    >>> LLAMA.plain("language_model.model.norm.weight")
    'model.norm.weight'
    >>> BERT.plain("bert.pooler.dense.bias")
    """
    for prefix, ours in self.inside.items():
      if name.startswith(prefix):
        name = ours + name.removeprefix(prefix)
        break
    # A tuple: any of them.
    if name.startswith(self.ignored) or name.endswith(self.ignored):
      return None
    return name


LLAMA = Names(table=DECODER)
# The frequencies of Llama 3.1 are read as config.
GGUF = Names(table=_GGUF, ignored=("rope_freqs.",), inside={})
SANDWICH = Names(table=DECODER | _SANDWICH)
BERT = Names(table=ENCODER, ignored=(*_IGNORED, "lm_head."))
