"""The causal families, a record each: a new one is an entry of `FAMILIES`.

Llama 2 and 3, Mistral, Qwen2, Qwen2.5, Qwen3, Gemma 2 and Gemma 3. What a file
lacks is what transformers takes.
"""

from typing import Any

from ila_jax.models import architecture
from ila_jax.models.folders import causal_family, json_fields, tensor_names


def _mistral_window(
  raw: json_fields.Fields, layers: int
) -> causal_family.Local:
  """Reads a window of all layers."""
  if raw.get("sliding_window") is None:
    return causal_family.no_window(raw, layers)
  return raw.integer("sliding_window"), [True] * layers


def _qwen_window(raw: json_fields.Fields, layers: int) -> causal_family.Local:
  """Reads a window of the layers from one on, if it is in use."""
  if not raw.only("use_sliding_window", False, True):
    return causal_family.no_window(raw, layers)
  first = raw.integer("max_window_layers", least=0)
  window = raw.get("sliding_window") and raw.integer("sliding_window")
  return window, [window is not None and i >= first for i in range(layers)]


def _gemma_window(raw: json_fields.Fields, layers: int) -> causal_family.Local:
  """Reads a window of all layers but every n-th."""
  every = raw.integer("sliding_window_pattern")
  window = raw.integer("sliding_window")
  return window, [(layer + 1) % every != 0 for layer in range(layers)]


def _gemma_read(raw: json_fields.Fields, width: int) -> dict[str, Any]:
  """Reads how Gemma scales and bounds."""
  return {
    "embedding_scale": width**0.5,
    "attention_scale": raw.number("query_pre_attn_scalar") ** -0.5,
    "attention_softcap": raw.maybe("attn_logit_softcapping"),
    "final_softcap": raw.maybe("final_logit_softcapping"),
  }


def _gemma_write(config: architecture.DecoderConfig) -> dict[str, Any]:
  """Writes how a decoder scales and bounds; the inverse of `_gemma_read`."""
  scale = config.attention_scale or config.head_dim**-0.5
  return {
    "query_pre_attn_scalar": round(scale**-2),
    "attn_logit_softcapping": config.attention_softcap,
    "final_logit_softcapping": config.final_softcap,
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
_GEMMA_HAS = {"norm_plus_one": True, "sandwich_norms": True}

FAMILIES: dict[str, causal_family.Family] = {
  family.model_type: family
  for family in (
    causal_family.Family(
      model_type="llama",
      architecture="LlamaForCausalLM",
      only={"mlp_bias": (False, True)},
      suits=lambda config: True,
    ),
    causal_family.Family(
      model_type="mistral",
      architecture="MistralForCausalLM",
      absent={"sliding_window": 4096, "num_key_value_heads": 8},
      only={"attention_bias": (False,)},
      window=_mistral_window,
      write=lambda config: {"sliding_window": config.window},
      suits=lambda config: config.window is not None,
    ),
    causal_family.Family(
      model_type="qwen2",
      architecture="Qwen2ForCausalLM",
      absent=_QWEN,
      only={"attention_bias": (False,)},
      has={"qkv_bias": True},
      window=_qwen_window,
      layer_types=True,
      suits=lambda config: config.qkv_bias and not config.output_bias,
    ),
    causal_family.Family(
      model_type="qwen3",
      architecture="Qwen3ForCausalLM",
      absent=_QWEN | {"head_dim": 128},
      has={"qk_norm": True},
      window=_qwen_window,
      layer_types=True,
      suits=lambda config: config.qk_norm,
    ),
    causal_family.Family(
      model_type="gemma2",
      architecture="Gemma2ForCausalLM",
      absent=_GEMMA
      | {
        "num_key_value_heads": 4,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window_pattern": 2,
      },
      only={"use_bidirectional_attention": (False,)},
      activation="hidden_activation",
      activations=architecture.ACTIVATIONS[::-1],
      has=_GEMMA_HAS,
      read=_gemma_read,
      write=_gemma_write,
      window=_gemma_window,
      layer_types=True,
      tensors=tensor_names.SANDWICH,
      suits=lambda config: config.sandwich_norms,
    ),
    causal_family.Family(
      model_type="gemma3_text",
      architecture="Gemma3ForCausalLM",
      larger=("gemma3",),
      # It is published with the fields in which a size differs, and no more.
      absent=_GEMMA
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
      # transformers carries the soft cap in Gemma 3, and does not apply it.
      only={
        "use_bidirectional_attention": (False,),
        "attn_logit_softcapping": (None,),
      },
      activation="hidden_activation",
      activations=architecture.ACTIVATIONS[::-1],
      has=_GEMMA_HAS | {"qk_norm": True},
      read=_gemma_read,
      write=_gemma_write,
      window=_gemma_window,
      layer_types=True,
      rope_theta=1e6,
      local_rope_theta=1e4,
      tensors=tensor_names.SANDWICH,
      suits=lambda config: config.sandwich_norms and config.qk_norm,
    ),
  )
}
