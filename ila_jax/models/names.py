"""What Hugging Face files call our weights: the one file with foreign names."""

# Our name -> their name ({} is the layer). Matrices, which they keep as
# (out, in), are transposed; tables and vectors are kept as they are.
DECODER = {
  "embedding": "model.embed_tokens.weight",
  "final_norm": "model.norm.weight",
  "output_head": "lm_head.weight",
  "blocks/attention_norm": "model.layers.{}.input_layernorm.weight",
  "blocks/query": "model.layers.{}.self_attn.q_proj.weight",
  "blocks/key": "model.layers.{}.self_attn.k_proj.weight",
  "blocks/value": "model.layers.{}.self_attn.v_proj.weight",
  "blocks/output": "model.layers.{}.self_attn.o_proj.weight",
  "blocks/query_bias": "model.layers.{}.self_attn.q_proj.bias",
  "blocks/key_bias": "model.layers.{}.self_attn.k_proj.bias",
  "blocks/value_bias": "model.layers.{}.self_attn.v_proj.bias",
  "blocks/mlp_norm": "model.layers.{}.post_attention_layernorm.weight",
  "blocks/gate": "model.layers.{}.mlp.gate_proj.weight",
  "blocks/up": "model.layers.{}.mlp.up_proj.weight",
  "blocks/down": "model.layers.{}.mlp.down_proj.weight",
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
# What folders may hold beside the weights: constants, and heads we do not use.
IGNORED = ("rotary_emb.inv_freq", "position_ids", "pooler.", "cls.")
# What peft calls the factors of a matrix that has an adapter.
PEFT = "base_model.model.{module}.lora_{factor}.weight"
