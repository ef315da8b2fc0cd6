"""What the config.json files of published models say, and their weights."""


def _sizes(vocab, width, mlp, layers, heads, kv_heads, **more):
  return {
    "vocab_size": vocab,
    "hidden_size": width,
    "intermediate_size": mlp,
    "num_hidden_layers": layers,
    "num_attention_heads": heads,
    "num_key_value_heads": kv_heads,
  } | more


def _llama(*sizes, **more):
  fields = {"model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5}
  return _sizes(*sizes, **fields) | {"tie_word_embeddings": False} | more


def _llama3(*sizes, factor, **more):
  scaling = {
    "factor": factor,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
  }
  fields = {"max_position_embeddings": 131072, "rope_theta": 500000.0}
  return _llama(*sizes, **fields, rope_scaling=scaling, **more)


def _mistral(*sizes, **more):
  return _llama(*sizes, model_type="mistral", max_position_embeddings=32768) | (
    more
  )


def _qwen2(*sizes, tied, positions=32768, layers=28):
  return _llama(*sizes) | {
    "model_type": "qwen2",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": positions,
    "max_window_layers": layers,
    "sliding_window": positions,
    "use_sliding_window": False,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": tied,
  }


def _qwen3(*sizes, tied):
  return _qwen2(*sizes, tied=tied, positions=40960) | {
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "rope_scaling": None,
    "sliding_window": None,
  }


def _gemma2(*sizes, head_dim=256, scalar=256):
  return _sizes(*sizes) | {
    "model_type": "gemma2",
    "attention_bias": False,
    "attn_logit_softcapping": 50.0,
    "cache_implementation": "hybrid",
    "final_logit_softcapping": 30.0,
    "head_dim": head_dim,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "query_pre_attn_scalar": scalar,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
  }


def _gemma3_text(*sizes, **more):
  return _sizes(*sizes) | {
    "model_type": "gemma3_text",
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 32768,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-6,
    "rope_local_base_freq": 10000,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": 512,
    **more,
  }


def _gemma3(**text):
  """Published with the fields in which a size differs from the 4B's."""
  scaling = {"factor": 8.0, "rope_type": "linear"}
  return {
    "model_type": "gemma3",
    "image_token_index": 262144,
    "mm_tokens_per_image": 256,
    "text_config": {
      "model_type": "gemma3_text",
      "rope_scaling": scaling,
      "sliding_window": 1024,
      **text,
    },
    "vision_config": {
      "hidden_size": 1152,
      "image_size": 896,
      "intermediate_size": 4304,
      "model_type": "siglip_vision_model",
      "num_attention_heads": 16,
      "num_hidden_layers": 27,
      "patch_size": 14,
      "vision_use_head": False,
    },
  }


_QWEN_72B = (152064, 8192, 29568, 80, 64, 8)
# Name -> (config.json, number of weights; of Gemma 3, without its eyes).
DECODERS = {
  "Llama-2-7b": (
    _llama(32000, 4096, 11008, 32, 32, 32, max_position_embeddings=4096),
    6_738_415_616,
  ),
  "Llama-2-13b": (
    _llama(32000, 5120, 13824, 40, 40, 40, max_position_embeddings=4096),
    13_015_864_320,
  ),
  "Llama-2-70b": (
    _llama(32000, 8192, 28672, 80, 64, 8, max_position_embeddings=4096),
    68_976_648_192,
  ),
  "Meta-Llama-3-8B": (
    _llama(128256, 4096, 14336, 32, 32, 8)
    | {"max_position_embeddings": 8192, "rope_theta": 500000.0},
    8_030_261_248,
  ),
  "Llama-3.1-8B": (
    _llama3(128256, 4096, 14336, 32, 32, 8, factor=8.0),
    8_030_261_248,
  ),
  "Llama-3.1-70B": (
    _llama3(128256, 8192, 28672, 80, 64, 8, factor=8.0),
    70_553_706_496,
  ),
  "Llama-3.2-1B": (
    _llama3(128256, 2048, 8192, 16, 32, 8, factor=32.0, head_dim=64)
    | {"tie_word_embeddings": True},
    1_235_814_400,
  ),
  "Llama-3.2-3B": (
    _llama3(128256, 3072, 8192, 28, 24, 8, factor=32.0, head_dim=128)
    | {"tie_word_embeddings": True},
    3_212_749_824,
  ),
  "Mistral-7B-v0.1": (
    _mistral(32000, 4096, 14336, 32, 32, 8, sliding_window=4096),
    7_241_732_096,
  ),
  "Mistral-7B-v0.3": (
    _mistral(32768, 4096, 14336, 32, 32, 8, sliding_window=None)
    | {"rope_theta": 1000000.0},
    7_248_023_552,
  ),
  "Qwen2-0.5B": (
    _qwen2(151936, 896, 4864, 24, 14, 2, tied=True, positions=131072),
    494_032_768,
  ),
  "Qwen2-1.5B": (
    _qwen2(151936, 1536, 8960, 28, 12, 2, tied=True, positions=131072),
    1_543_714_304,
  ),
  "Qwen2-7B": (
    _qwen2(152064, 3584, 18944, 28, 28, 4, tied=False, positions=131072),
    7_615_616_512,
  ),
  "Qwen2-72B": (
    _qwen2(*_QWEN_72B, tied=False, positions=131072, layers=80),
    72_706_203_648,
  ),
  "Qwen2.5-0.5B": (
    _qwen2(151936, 896, 4864, 24, 14, 2, tied=True, layers=24),
    494_032_768,
  ),
  "Qwen2.5-1.5B": (
    _qwen2(151936, 1536, 8960, 28, 12, 2, tied=True),
    1_543_714_304,
  ),
  "Qwen2.5-3B": (
    _qwen2(151936, 2048, 11008, 36, 16, 2, tied=True, layers=36),
    3_085_938_688,
  ),
  "Qwen2.5-7B": (
    _qwen2(152064, 3584, 18944, 28, 28, 4, tied=False),
    7_615_616_512,
  ),
  "Qwen2.5-14B": (
    _qwen2(152064, 5120, 13824, 48, 40, 8, tied=False, layers=48),
    14_770_033_664,
  ),
  "Qwen2.5-32B": (
    _qwen2(152064, 5120, 27648, 64, 40, 8, tied=False, layers=64),
    32_763_876_352,
  ),
  "Qwen2.5-72B": (
    _qwen2(*_QWEN_72B, tied=False, layers=80),
    72_706_203_648,
  ),
  "Qwen3-0.6B": (
    _qwen3(151936, 1024, 3072, 28, 16, 8, tied=True),
    596_049_920,
  ),
  "Qwen3-1.7B": (
    _qwen3(151936, 2048, 6144, 28, 16, 8, tied=True),
    1_720_574_976,
  ),
  "Qwen3-4B": (
    _qwen3(151936, 2560, 9728, 36, 32, 8, tied=True),
    4_022_468_096,
  ),
  "Qwen3-8B": (
    _qwen3(151936, 4096, 12288, 36, 32, 8, tied=False),
    8_190_735_360,
  ),
  "Qwen3-14B": (
    _qwen3(151936, 5120, 17408, 40, 40, 8, tied=False),
    14_768_307_200,
  ),
  "Qwen3-32B": (
    _qwen3(151936, 5120, 25600, 64, 64, 8, tied=False),
    32_762_123_264,
  ),
  "gemma-2-2b": (_gemma2(256000, 2304, 9216, 26, 8, 4), 2_614_341_888),
  "gemma-2-9b": (_gemma2(256000, 3584, 14336, 42, 16, 8), 9_241_705_984),
  "gemma-2-27b": (
    _gemma2(256000, 4608, 36864, 46, 32, 16, head_dim=128, scalar=144),
    27_227_128_320,
  ),
  "gemma-3-270m": (
    _gemma3_text(262144, 640, 2048, 18, 4, 1)
    | {
      "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 3,
      "use_bidirectional_attention": False,
    },
    268_098_176,
  ),
  "gemma-3-1b": (
    _gemma3_text(262144, 1152, 6912, 26, 4, 1, sliding_window_pattern=6),
    999_885_952,
  ),
  "gemma-3-4b": (
    _gemma3(hidden_size=2560, intermediate_size=10240, num_hidden_layers=34),
    3_880_263_168,
  ),
  "gemma-3-12b": (
    _gemma3(
      hidden_size=3840,
      intermediate_size=15360,
      num_attention_heads=16,
      num_hidden_layers=48,
      num_key_value_heads=8,
    ),
    11_766_034_176,
  ),
  "gemma-3-27b": (
    _gemma3(
      head_dim=128,
      hidden_size=5376,
      intermediate_size=21504,
      num_attention_heads=32,
      num_hidden_layers=62,
      num_key_value_heads=16,
      query_pre_attn_scalar=168,
    ),
    27_009_346_304,
  ),
}


def _bert(vocab, width, layers, heads, positions=512, **more):
  return {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": vocab,
    "hidden_size": width,
    "intermediate_size": 4 * width,
    "num_hidden_layers": layers,
    "num_attention_heads": heads,
    "max_position_embeddings": positions,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
  } | more


_XLM = {
  "model_type": "xlm-roberta",
  "type_vocab_size": 1,
  "layer_norm_eps": 1e-5,
  "pad_token_id": 1,
}
ENCODERS = {
  "all-MiniLM-L6-v2": _bert(30522, 384, 6, 12),
  "bge-small-en-v1.5": _bert(30522, 384, 12, 12),
  "bge-base-en-v1.5": _bert(30522, 768, 12, 12),
  "bge-large-en-v1.5": _bert(30522, 1024, 24, 16),
  "bge-m3": _bert(250002, 1024, 24, 16, 8194, **_XLM),
  "e5-base-v2": _bert(30522, 768, 12, 12),
  "multilingual-e5-base": _bert(250002, 768, 12, 12, 514, **_XLM),
}
