"""SmolLM2-135M-Instruct, in 4 bits, against torch's reading of its file."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ila_jax.models import architecture
from ila_jax.models.folders import weights
from ila_jax.pool.tokens import tokenizer as tokenizer_lib
from tests.support import torch_models

_TEXT = (
  "The Eiffel Tower is a wrought-iron lattice tower on the Champ de Mars in "
  "Paris, France. It is named after the engineer Gustave Eiffel, whose company "
  "designed and built the tower from 1887 to 1889."
)
_PROMPTS = ("The capital of France is", "def fibonacci(n):\n")
_WIDTH = 72
_MORE = 20


@nnx.jit
def _logits(model, tokens):
  """Logits of one row in full; what lies after a place cannot be seen there."""
  places = jnp.arange(tokens.shape[1])[None]
  return model.logits(tokens, places, jnp.ones_like(tokens))


def test_smollm2_has_torchs_losses_and_says_what_torch_says(smollm2):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  theirs = transformers.AutoModelForCausalLM.from_pretrained(
    smollm2.parent, gguf_file=smollm2.name, dtype=torch.float32
  )
  config, ours = weights.load_decoder(smollm2)
  assert config == architecture.DecoderConfig(
    vocab=49152,
    layers=30,
    width=576,
    heads=9,
    kv_heads=3,
    head_dim=64,
    mlp_width=1536,
    rope=config.rope,
    max_positions=8192,
    attention=config.attention,
  )
  assert config.rope.theta == 1e5
  tokenizer = tokenizer_lib.load_tokenizer(smollm2)

  def ours_of(tokens):
    row = np.zeros((1, _WIDTH), np.int32)
    row[0, : len(tokens)] = tokens
    return np.asarray(_logits(ours, jnp.asarray(row)))[0, : len(tokens)]

  def theirs_of(tokens):
    return torch_models.torch_logits(theirs, np.array([tokens]))[0]

  tokens = tokenizer(_TEXT).input_ids
  assert 40 < len(tokens) < _WIDTH
  got, want = ours_of(tokens), theirs_of(tokens)
  np.testing.assert_allclose(got, want, atol=2e-3)
  losses = [
    torch.nn.functional.cross_entropy(
      torch.tensor(logits[:-1]), torch.tensor(tokens[1:])
    ).item()
    for logits in (got, want)
  ]
  assert losses[0] == pytest.approx(losses[1], rel=1e-4)
  assert 1 < losses[0] < 3
  for prompt in _PROMPTS:
    said = tokenizer(prompt, return_tensors="pt").input_ids
    more = theirs.generate(
      said,
      attention_mask=torch.ones_like(said),
      do_sample=False,
      min_new_tokens=_MORE,
      max_new_tokens=_MORE,
    )[0].tolist()
    # What is likeliest after each part of torch's text is its next token: so
    # ours says the same, token by token.
    begin = said.shape[1]
    likeliest = ours_of(more).argmax(-1)[begin - 1 : -1].tolist()
    assert len(likeliest) == _MORE and likeliest == more[begin:]
