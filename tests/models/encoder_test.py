import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ila_jax import errors
from ila_jax.models import encoder
from ila_jax.models.folders import encoder_families, weights
from tests.support import packed, torch_models

SENTENCES = (
  "Name the largest ocean of the world.",
  "What is the derivative of x^2 · sin(x)?",
  "Write a haiku about snow that falls on a sleeping town.\n\nSnow, 雪, neige",
  "hi",
  "Translate: " + "the quick brown fox jumps over the lazy dog " * 10,
)
TINY = encoder.EncoderConfig(
  vocab=32, layers=2, width=16, heads=4, mlp_width=24, max_positions=12
)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _embed(graphdef, kind, state, tokens, positions, segment_ids):
  """Hidden states, and the embeddings of up to four texts a row."""
  hidden = nnx.merge(graphdef, state).hidden(tokens, positions, segment_ids)
  return hidden, encoder.pool(
    hidden, segment_ids, positions, kind, num_segments=4
  )


def _rows(vocab, lengths, width, seed=0):
  """One text a row."""
  rng = np.random.default_rng(seed)
  tokens = rng.integers(0, vocab, (len(lengths), width)).astype(np.int32)
  positions = np.tile(np.arange(width, dtype=np.int32), (len(lengths), 1))
  segments = (positions < np.array(lengths)[:, None]).astype(np.int32)
  return tuple(map(jnp.asarray, (tokens, positions, segments)))


def _static(model, kind):
  graphdef, state = nnx.split(model)
  return graphdef, kind, state


FAMILIES = {
  "bert": ("bert", {}),
  "xlm-roberta": ("xlm-roberta", {"type_vocab_size": 1}),
  "roberta": ("roberta", {"type_vocab_size": 1, "layer_norm_eps": 1e-5}),
}


def test_every_family_has_a_witness():
  families = {family for family, _ in FAMILIES.values()}
  assert families == {*encoder_families.FAMILIES}


@pytest.fixture(scope="module", params=list(FAMILIES))
def pair(request, tmp_path_factory):
  family, fields = FAMILIES[request.param]
  theirs = torch_models.make_encoder(family, **fields)
  folder = torch_models.save(theirs, tmp_path_factory.mktemp("encoder"))
  config, pooling, ours = weights.load_encoder(folder)
  assert pooling == "cls"
  return theirs, config, ours


def test_hidden_states_and_embeddings_equal_torch_alone_and_packed(pair):
  torch = pytest.importorskip("torch")
  theirs, config, ours = pair
  rng = np.random.default_rng(0)
  # Ids from 2 up: RoBERTa takes an id 1 for padding, wherever it stands.
  texts = [rng.integers(2, config.vocab, n).astype(np.int32) for n in (9, 1, 5)]
  examples = [(text, np.ones(len(text), bool)) for text in texts]
  # Each alone, all in one row, and a row of nothing.
  rows = packed.batch([*([e] for e in examples), examples, []], width=20)[:3]
  hidden, means = _embed(*_static(ours, "mean"), *rows)
  _, firsts = _embed(*_static(ours, "cls"), *rows)
  start = 0
  for row, text in enumerate(texts):
    with torch.no_grad():
      want = theirs(torch.from_numpy(text[None]).long()).last_hidden_state
    want = want.numpy()[0]
    assert want.std() > 0.5
    end = start + len(text)
    np.testing.assert_allclose(hidden[row, : len(text)], want, atol=1e-4)
    np.testing.assert_allclose(hidden[3, start:end], want, atol=1e-4)
    for found, pooled in ((means, want.mean(axis=0)), (firsts, want[0])):
      unit = pooled / np.linalg.norm(pooled)
      np.testing.assert_allclose(found[row, 0], unit, atol=1e-5)
      np.testing.assert_allclose(found[3, row], unit, atol=1e-5)
    start = end
  for found in (means, firsts):
    np.testing.assert_array_equal(found[:3, 1:], 0)
    np.testing.assert_array_equal(found[3, 3], 0)
    np.testing.assert_array_equal(found[4], 0)


def test_positions_of_padding_are_not_texts(pair):
  theirs, config, _ = pair
  offset = 0 if theirs.config.model_type == "bert" else 2
  assert config.max_positions == 512 - offset
  encoder.check_length(config, 512 - offset)
  with pytest.raises(errors.InputError, match="tokens; allowed: at most 51"):
    encoder.check_length(config, 513 - offset)


def test_minilm_equals_torch_on_sentences(minilm):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
  batch = tokenizer(list(SENTENCES), padding=True, return_tensors="np")
  tokens = jnp.asarray(batch.input_ids, jnp.int32)
  segments = jnp.asarray(batch.attention_mask, jnp.int32)
  positions = _rows(2, [1] * len(SENTENCES), tokens.shape[1])[1]
  _, pooling, model = weights.load_encoder(minilm)
  assert pooling == "mean"
  _, ours = _embed(*_static(model, pooling), tokens, positions, segments)
  ours = ours[:, 0]

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


@pytest.mark.parametrize("kind", encoder.POOLINGS)
def test_padding_changes_nothing_and_empty_rows_are_zero(kind):
  static = _static(encoder.Encoder(TINY, rngs=nnx.Rngs(0)), kind)
  tokens, positions, segments = _rows(TINY.vocab, (7, 1, 0, 4), width=12)
  want = np.asarray(_embed(*static, tokens, positions, segments)[1])[:, 0]
  other = jnp.where(segments > 0, tokens, (tokens + 1) % TINY.vocab)
  got = _embed(*static, other, positions, segments)[1][:, 0]
  np.testing.assert_array_equal(got, want)
  short = _embed(*static, *(x[:, :8] for x in (tokens, positions, segments)))
  np.testing.assert_allclose(short[1][:, 0], want, atol=1e-6)
  norms = np.linalg.norm(want, axis=1)
  np.testing.assert_allclose(norms, [1, 1, 0, 1], rtol=1e-5)


def test_pool_equals_numpy():
  rng = np.random.default_rng(0)
  hidden = rng.normal(size=(2, 5, 4)).astype(np.float32)
  segments = np.array([[1, 1, 2, 2, 2], [2, 1, 1, 0, 0]], np.int32)
  positions = np.array([[0, 1, 0, 1, 2], [0, 1, 0, 0, 0]], np.int32)
  rows = jnp.asarray(hidden), jnp.asarray(segments), jnp.asarray(positions)
  for kind in encoder.POOLINGS:
    got = encoder.pool(*rows, kind, num_segments=3)
    for row in range(2):
      for text in range(2):
        here = segments[row] == text + 1
        first = here & (positions[row] == 0)
        vectors = hidden[row, first if kind == "cls" else here]
        own = positions[row, here]
        times = own + 1 if kind == "weightedmean" else None
        want = np.average(vectors, axis=0, weights=times)
        want = want / np.linalg.norm(want)
        np.testing.assert_allclose(got[row, text], want, atol=1e-6)
    np.testing.assert_array_equal(got[:, 2], 0)


def test_pooling_holds_no_hidden_state_for_each_text():
  b, t, s, d = 4, 512, 64, 128
  shapes = (
    jax.ShapeDtypeStruct((b, t, d), jnp.bfloat16),
    jax.ShapeDtypeStruct((b, t), jnp.int32),
    jax.ShapeDtypeStruct((b, t), jnp.int32),
  )
  for kind in encoder.POOLINGS:
    pool = functools.partial(encoder.pool, kind=kind, num_segments=s)
    compiled = jax.jit(pool).lower(*shapes).compile()
    used = compiled.memory_analysis().temp_size_in_bytes
    assert used < b * t * s * d


def test_unknown_pooling_is_refused():
  rows = jnp.ones((1, 2, 3)), jnp.ones((1, 2), int), jnp.zeros((1, 2), int)
  with pytest.raises(errors.InputError, match="'max'; allowed: cls, mean"):
    encoder.pool(*rows, "max", num_segments=1)


def test_texts_beyond_the_positions_have_no_embedding():
  static = _static(encoder.Encoder(TINY, rngs=nnx.Rngs(0)), "mean")
  found = _embed(*static, *_rows(TINY.vocab, lengths=(13, 12), width=13))[1]
  assert np.isnan(found[0, 0]).all() and np.isfinite(found[1, 0]).all()


def test_heads_that_do_not_divide_are_refused():
  with pytest.raises(errors.InputError, match="heads is 5; allowed: a divisor"):
    dataclasses.replace(TINY, heads=5)


def _cosines(some, others):
  return (np.asarray(some) * np.asarray(others)).sum(axis=-1)[:, 0]


def test_bfloat16_is_near_float32():
  half = dataclasses.replace(TINY, dtype="bfloat16")
  rows = _rows(TINY.vocab, lengths=(7, 12), width=12)
  exact, near = (
    _embed(*_static(encoder.Encoder(c, rngs=nnx.Rngs(0)), "mean"), *rows)
    for c in (TINY, half)
  )
  assert near[0].dtype == jnp.bfloat16 and near[1].dtype == jnp.float32
  assert _cosines(near[1], exact[1]).min() > 0.999


def test_flops_equal_torchs_count():
  torch = pytest.importorskip("torch")
  flop_counter = pytest.importorskip("torch.utils.flop_counter")
  theirs = torch_models.make_encoder()
  theirs.config._attn_implementation = "eager"
  with flop_counter.FlopCounterMode(display=False) as counter, torch.no_grad():
    theirs(torch.zeros((1, 17), dtype=torch.long))
  config = encoder.EncoderConfig(
    vocab=theirs.config.vocab_size,
    layers=theirs.config.num_hidden_layers,
    width=theirs.config.hidden_size,
    heads=theirs.config.num_attention_heads,
    mlp_width=theirs.config.intermediate_size,
    max_positions=theirs.config.max_position_embeddings,
  )
  # torch counts BERT's pooler too, which sentence embeddings do not use.
  pooler = 2 * config.width**2
  assert counter.get_total_flops() == encoder.flops(config, [17]) + pooler
