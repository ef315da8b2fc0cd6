"""Small random models of torch transformers: the witness of ours."""

import pathlib

import numpy as np
import pytest

# Sizes that are all different, so that no two axes can be mistaken.
SIZES = {
  "vocab_size": 97,
  "hidden_size": 48,
  "intermediate_size": 80,
  "num_hidden_layers": 3,
  "num_attention_heads": 6,
  "max_position_embeddings": 512,
}
FAMILIES = {
  "llama_tied": (
    "llama",
    {"num_key_value_heads": 6, "tied": True, "head_dim": 12, "theta": 5e5},
  ),
  "llama_gqa": ("llama", {"num_key_value_heads": 2, "tied": False}),
  "qwen2_gqa": ("qwen2", {"num_key_value_heads": 3, "tied": True}),
}


def make_decoder(family: str):
  """A torch causal language model whose every weight is random."""
  pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  kind, options = FAMILIES[family]
  options = dict(options)
  tied, theta = options.pop("tied"), options.pop("theta", 10000.0)
  config_class, model_class = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
  }[kind]
  config = config_class(
    **SIZES,
    **options,
    tie_word_embeddings=tied,
    rope_parameters={"rope_type": "default", "rope_theta": theta},
    rms_norm_eps=1e-5,
  )
  return randomize(model_class(config))


def make_encoder(model_type: str = "bert", **fields):
  """A torch BERT or RoBERTa whose every weight is random."""
  pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  padding = {"pad_token_id": 0 if model_type == "bert" else 1}
  config = transformers.AutoConfig.for_model(
    model_type, **SIZES | padding | fields
  )
  return randomize(transformers.AutoModel.from_config(config))


def randomize(model):
  """Weights at which norms, biases and positions all matter."""
  torch = pytest.importorskip("torch")
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for name, weight in model.named_parameters():
      noise = torch.randn(weight.shape, generator=generator)
      if weight.ndim == 1:
        weight.add_(0.3 * noise)
      else:
        fan_in = weight.shape[1] if "embed" not in name else 1
        weight.copy_(noise / fan_in**0.5)
  return model.eval()


def causal(model_type: str, **fields):
  """A torch causal language model of any family, at small random weights."""
  pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  sizes = SIZES | {"num_key_value_heads": 2, "head_dim": 12} | fields
  config = transformers.AutoConfig.for_model(model_type, **sizes)
  return randomize(
    transformers.AutoModelForCausalLM.from_config(
      config, attn_implementation="eager"
    )
  )


def save(model, folder: pathlib.Path) -> pathlib.Path:
  """The model as a Hugging Face folder."""
  model.save_pretrained(folder)
  return folder


def torch_logits(model, tokens: np.ndarray) -> np.ndarray:
  """float32 logits of rows without padding."""
  torch = pytest.importorskip("torch")
  with torch.no_grad():
    return model(torch.from_numpy(tokens.astype(np.int64))).logits.numpy()


def torch_nll(model, tokens: np.ndarray, targets: np.ndarray) -> float:
  """Summed loss of one example's targets, by torch's own cross entropy."""
  torch = pytest.importorskip("torch")
  logits = torch.from_numpy(torch_logits(model, tokens[None])[0])
  losses = torch.nn.functional.cross_entropy(
    logits[:-1].double(),
    torch.from_numpy(tokens[1:].astype(np.int64)),
    reduction="none",
  )
  return float(losses[torch.from_numpy(targets[1:])].sum())
