"""Every causal family against torch transformers, and its files both ways."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ila_jax import losses
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import weights
from tests import packed, torch_models

# Longer than the windows below, and shorter.
LENGTHS = (15, 4, 11)
_YARN = {
  "rope_type": "yarn",
  "rope_theta": 1e4,
  "factor": 4.0,
  "original_max_position_embeddings": 128,
}
_LLAMA3 = {
  "rope_type": "llama3",
  "rope_theta": 5e5,
  "factor": 8.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 64,
}
_DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
_GEMMA3_ROPE = {
  "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
  "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
CASES = {
  "llama2": ("llama", {"num_key_value_heads": 6, "head_dim": None}),
  "llama3": ("llama", {"rope_parameters": _LLAMA3}),
  "llama_biases": (
    "llama",
    {"attention_bias": True, "mlp_bias": True, "rope_parameters": _DYNAMIC},
  ),
  "mistral": ("mistral", {"sliding_window": 6}),
  "mistral_whole": ("mistral", {"sliding_window": None}),
  "qwen2": ("qwen2", {"tie_word_embeddings": True, "rope_parameters": _YARN}),
  "qwen2_window": (
    "qwen2",
    {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
  ),
  "qwen3": ("qwen3", {"tie_word_embeddings": True}),
  "qwen3_biases": (
    "qwen3",
    {
      "attention_bias": True,
      "use_sliding_window": True,
      "sliding_window": 5,
      "layer_types": ["full_attention"] + ["sliding_attention"] * 2,
    },
  ),
  "gemma2": (
    "gemma2",
    {
      "sliding_window": 6,
      "query_pre_attn_scalar": 20,
      "attn_logit_softcapping": 2.0,
      "final_logit_softcapping": 3.0,
    },
  ),
  "gemma3": (
    "gemma3_text",
    {
      "sliding_window": 6,
      "sliding_window_pattern": 2,
      "query_pre_attn_scalar": 20,
      "rope_parameters": _GEMMA3_ROPE,
    },
  ),
}


@functools.partial(jax.jit, static_argnums=0)
def _run(graphdef, state, tokens, positions, segment_ids, targets):
  model = nnx.merge(graphdef, state)
  hidden = model.hidden(tokens, positions, segment_ids)
  nll = losses.token_nll(
    hidden,
    model.head_weights(),
    tokens,
    targets,
    chunk_tokens=16,
    softcap=model.config.final_softcap,
  )
  sums, _ = losses.example_nll(
    nll, targets, segment_ids, num_segments=len(LENGTHS)
  )
  return model.logits(tokens, positions, segment_ids), sums


def _examples(vocab):
  """Token lists; two or three answers in each are to be predicted."""
  rng = np.random.default_rng(0)
  ids = [rng.integers(0, vocab, n).astype(np.int32) for n in LENGTHS]
  return [(i, np.arange(len(i)) % 5 > 1) for i in ids]


def _rows(vocab):
  """A row for each example, with padding, and one that holds them all."""
  examples = _examples(vocab)
  return packed.batch([*([e] for e in examples), examples], width=32)


@pytest.fixture(scope="module", params=list(CASES))
def pair(request, tmp_path_factory):
  family, options = CASES[request.param]
  theirs = torch_models.causal(family, **options)
  folder = torch_models.save(theirs, tmp_path_factory.mktemp("model"))
  config, ours = weights.load_decoder(folder)
  return theirs, config, ours


def test_a_family_equals_torch_alone_and_packed_and_is_written_back(
  pair, tmp_path
):
  transformers = pytest.importorskip("transformers")
  theirs, config, ours = pair
  logits, sums = _run(*nnx.split(ours), *_rows(config.vocab))
  weights.save_decoder(tmp_path, config, ours)
  again, report = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path, output_loading_info=True, attn_implementation="eager"
  )
  assert not report["missing_keys"] and not report["unexpected_keys"]
  assert type(again) is type(theirs)
  assert weights.load_decoder(tmp_path)[0] == config
  start = 0
  for row, (ids, targets) in enumerate(_examples(config.vocab)):
    end = start + len(ids)
    want = torch_models.torch_logits(theirs, ids[None])[0]
    assert want.std() > 0.3
    near = functools.partial(np.testing.assert_allclose, desired=want)
    near(logits[row, : len(ids)], atol=1e-4)
    near(logits[-1, start:end], atol=1e-4)
    near(torch_models.torch_logits(again.eval(), ids[None])[0], atol=1e-5)
    want = torch_models.torch_nll(theirs, ids, targets)
    np.testing.assert_allclose(sums[row, 0], want, rtol=1e-5)
    np.testing.assert_allclose(sums[-1, row], want, rtol=1e-5)
    start = end


def test_bfloat16_is_near_float32(pair):
  _, config, ours = pair
  rows = _rows(config.vocab)
  half = dataclasses.replace(config, dtype="bfloat16")
  graphdef = nnx.split(decoder_lib.abstract(half))[0]
  _, state = nnx.split(ours)
  _, near = _run(graphdef, state, *rows)
  _, exact = _run(nnx.split(ours)[0], state, *rows)
  assert near.dtype == jnp.float32
  error = np.abs(np.asarray(near - exact))
  assert error.max() > 0
  np.testing.assert_allclose(near, exact, rtol=0.03)


def test_parameters_are_counted_as_torch_counts(pair):
  theirs, config, _ = pair
  assert decoder_lib.count_parameters(config) == theirs.num_parameters()
