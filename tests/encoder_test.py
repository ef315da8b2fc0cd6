import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ila_jax import errors
from ila_jax import mesh as mesh_lib
from ila_jax.models import encoder as encoder_lib
from ila_jax.models import weights
from tests import torch_models

SENTENCES = (
  "Name the largest ocean of the world.",
  "What is the derivative of x^2 · sin(x)?",
  "Write a haiku about snow that falls on a sleeping town.\n\nSnow, 雪, neige",
  "hi",
  "Translate: " + "the quick brown fox jumps over the lazy dog " * 10,
)
TINY = encoder_lib.EncoderConfig(
  vocab=32, layers=2, width=16, heads=4, mlp_width=24, max_positions=12
)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _embed(graphdef, kind, state, tokens, mask):
  hidden = nnx.merge(graphdef, state).hidden(tokens, mask)
  return hidden, encoder_lib.pool(hidden, mask, kind)


def _rows(vocab, lengths, width, seed=0):
  rng = np.random.default_rng(seed)
  tokens = rng.integers(0, vocab, (len(lengths), width)).astype(np.int32)
  mask = np.arange(width)[None] < np.array(lengths)[:, None]
  return jnp.asarray(tokens), jnp.asarray(mask)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  theirs = torch_models.make_encoder()
  folder = torch_models.save(theirs, tmp_path_factory.mktemp("bert"))
  config, pooling, ours = weights.load_encoder(folder)
  assert pooling == "cls"
  return theirs, config, ours


def test_hidden_states_equal_torch(pair):
  torch = pytest.importorskip("torch")
  theirs, config, ours = pair
  tokens, mask = _rows(config.vocab, lengths=(9, 1, 5), width=9)
  got, _ = _embed(*_static(ours, "cls"), tokens, mask)
  with torch.no_grad():
    want = theirs(
      torch.from_numpy(np.array(tokens)).long(),
      attention_mask=torch.from_numpy(np.array(mask)).long(),
    ).last_hidden_state.numpy()
  assert want.std() > 0.5
  keep = np.asarray(mask)
  np.testing.assert_allclose(np.asarray(got)[keep], want[keep], atol=1e-4)


def _static(model, kind):
  graphdef, state = nnx.split(model)
  return graphdef, kind, state


def test_minilm_equals_torch_on_sentences(minilm):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
  batch = tokenizer(list(SENTENCES), padding=True, return_tensors="np")
  tokens = jnp.asarray(batch.input_ids, jnp.int32)
  mask = jnp.asarray(batch.attention_mask, bool)
  _, pooling, model = weights.load_encoder(minilm)
  assert pooling == "mean"
  _, ours = _embed(*_static(model, pooling), tokens, mask)

  theirs = transformers.AutoModel.from_pretrained(minilm).eval()
  for sentence, vector in zip(SENTENCES, np.asarray(ours), strict=True):
    # One by one, so that torch sees no padding at all.
    with torch.no_grad():
      alone = tokenizer(sentence, return_tensors="pt")
      hidden = theirs(**alone).last_hidden_state.numpy()[0]
    want = hidden.mean(axis=0)
    assert vector @ want / np.linalg.norm(want) > 0.99999
    np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-6)
  # Sentences that were all alike would be equal to anything.
  assert (np.asarray(ours) @ np.asarray(ours).T)[0, 1:].max() < 0.9


@pytest.mark.parametrize("kind", encoder_lib.POOLINGS)
def test_padding_changes_nothing_and_empty_rows_are_zero(kind):
  static = _static(encoder_lib.Encoder(TINY, rngs=nnx.Rngs(0)), kind)
  tokens, mask = _rows(TINY.vocab, lengths=(7, 1, 0, 4), width=12)
  want = np.asarray(_embed(*static, tokens, mask)[1])
  other = jnp.where(mask, tokens, (tokens + 1) % TINY.vocab)
  np.testing.assert_array_equal(_embed(*static, other, mask)[1], want)
  short = _embed(*static, tokens[:, :8], mask[:, :8])[1]
  np.testing.assert_allclose(short, want, atol=1e-6)
  norms = np.linalg.norm(want, axis=1)
  np.testing.assert_allclose(norms, [1, 1, 0, 1], rtol=1e-5)


def test_pool_equals_numpy():
  rng = np.random.default_rng(0)
  hidden = rng.normal(size=(3, 5, 4)).astype(np.float32)
  mask = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)
  for kind in encoder_lib.POOLINGS:
    got = encoder_lib.pool(jnp.asarray(hidden), jnp.asarray(mask), kind)
    for row in range(3):
      vectors = hidden[row, mask[row]]
      want = vectors[0] if kind == "cls" else vectors.mean(axis=0)
      want = want / np.linalg.norm(want)
      np.testing.assert_allclose(got[row], want, atol=1e-6)


def test_unknown_pooling_is_refused():
  with pytest.raises(errors.InputError, match="'max'; allowed: cls, mean"):
    encoder_lib.pool(jnp.ones((1, 2, 3)), jnp.ones((1, 2), bool), "max")


def test_input_beyond_the_positions_is_refused():
  model = encoder_lib.Encoder(TINY, rngs=nnx.Rngs(0))
  with pytest.raises(errors.InputError, match="has 13 tokens; allowed: at mos"):
    model.hidden(*_rows(TINY.vocab, lengths=(13,), width=13))


def test_heads_that_do_not_divide_are_refused():
  with pytest.raises(errors.InputError, match="heads is 5; allowed: a divisor"):
    dataclasses.replace(TINY, heads=5)


def test_bfloat16_is_near_float32():
  half = dataclasses.replace(TINY, dtype="bfloat16")
  rows = _rows(TINY.vocab, lengths=(7, 12), width=12)
  exact, near = (
    _embed(*_static(encoder_lib.Encoder(c, rngs=nnx.Rngs(0)), "mean"), *rows)
    for c in (TINY, half)
  )
  assert near[0].dtype == jnp.bfloat16 and near[1].dtype == jnp.float32
  assert (np.asarray(near[1]) * np.asarray(exact[1])).sum(axis=1).min() > 0.999


def test_eight_devices_equal_one():
  static = _static(encoder_lib.Encoder(TINY, rngs=nnx.Rngs(0)), "mean")
  rows = _rows(TINY.vocab, lengths=(1, 2, 3, 4, 5, 6, 7, 8), width=8)
  want = _embed(*static, *rows)[1]
  mesh = mesh_lib.make()
  state = mesh_lib.put(static[2], mesh, mesh_lib.REPLICATED)
  got = _embed(*static[:2], state, *mesh_lib.put(rows, mesh))[1]
  assert got.sharding.num_devices == 8
  np.testing.assert_allclose(got, want, atol=1e-6)


def test_flops_equal_torchs_count():
  torch = pytest.importorskip("torch")
  flop_counter = pytest.importorskip("torch.utils.flop_counter")
  theirs = torch_models.make_encoder()
  theirs.config._attn_implementation = "eager"
  with flop_counter.FlopCounterMode(display=False) as counter, torch.no_grad():
    theirs(torch.zeros((1, 17), dtype=torch.long))
  config = encoder_lib.EncoderConfig(
    vocab=theirs.config.vocab_size,
    layers=theirs.config.num_hidden_layers,
    width=theirs.config.hidden_size,
    heads=theirs.config.num_attention_heads,
    mlp_width=theirs.config.intermediate_size,
    max_positions=theirs.config.max_position_embeddings,
  )
  # torch counts BERT's pooler too, which sentence embeddings do not use.
  pooler = 2 * config.width**2
  assert counter.get_total_flops() == encoder_lib.flops(config, [17]) + pooler
