"""Embeddings against torch and scikit-learn, in any batch."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from ila_jax.compute import mesh
from ila_jax.embed import encode
from ila_jax.embed import lsa as lsa_lib
from ila_jax.models import architecture, decoder
from ila_jax.models import encoder as encoder_lib
from ila_jax.models.folders import weights
from ila_jax.passes import layouts

SENTENCES = [
  "Give three tips for staying healthy.",
  "给出三个保持健康的秘诀。",
  "How do I start running?",
  "Write a C++ program that calculates the area of a rectangle, given its "
  "width and height, and explain every line of it to a beginner.",
  "Hi",
]


def _layout(batch_tokens):
  return layouts.Layout((16, 64, 512), batch_tokens, packed=False)


def test_minilm_in_batches_equals_torch_alone(minilm):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
  theirs = transformers.AutoModel.from_pretrained(minilm).eval()
  _, pooling, ours = weights.load_encoder(minilm)
  ids = [np.array(i, np.int32) for i in tokenizer(SENTENCES)["input_ids"]]
  found = encode.encode(
    ours, ids, pooling=pooling, layout=_layout(32), mesh=mesh.make()
  )
  for row, sentence in zip(found, SENTENCES, strict=True):
    with torch.no_grad():
      hidden = theirs(**tokenizer(sentence, return_tensors="pt"))[0][0]
    wanted = hidden.mean(0).numpy()
    cosine = row @ wanted / np.linalg.norm(wanted)
    assert cosine > 0.99999
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_decoder_embeddings_ignore_padding():
  config = architecture.DecoderConfig(
    vocab=32, layers=2, width=16, heads=2, kv_heads=1, head_dim=8, mlp_width=32
  )
  model = decoder.Decoder(config, rngs=nnx.Rngs(0))
  rng = np.random.default_rng(0)
  ids = [rng.integers(0, 32, n).astype(np.int32) for n in (3, 30, 7, 1)]
  together = encode.encode(
    model, ids, pooling="mean", layout=_layout(512), mesh=mesh.make()
  )
  for row, alone in zip(together, ids, strict=True):
    found = encode.encode(
      model, [alone], pooling="mean", layout=_layout(16), mesh=mesh.make()
    )
    np.testing.assert_allclose(row, found[0], atol=1e-6)


@functools.cache
def _encoder():
  config = encoder_lib.EncoderConfig(
    vocab=40, layers=1, width=16, heads=2, mlp_width=24, max_positions=64
  )
  encoder = encoder_lib.Encoder(config, rngs=nnx.Rngs(0))
  nnx.update(encoder, jax.tree.map(lambda p: p * 10, nnx.state(encoder)))
  return encoder


def _one_device():
  return jax.make_mesh(
    (1, 1, 1),
    mesh.AXES,
    axis_types=(jax.sharding.AxisType.Auto,) * 3,
    devices=jax.devices()[:1],
  )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["buckets", "pack"])
def test_one_bad_text_spoils_no_other(kind, value):
  rng = np.random.default_rng(0)
  lengths = np.array([9, 30, 4, 17, 25])
  ids = [rng.integers(0, 38, n).astype(np.int32) for n in lengths]
  ids[3][5] = 39
  layout = layouts.choose(lengths, batch_tokens=128, kind=kind)
  rows = layouts.plan(lengths, layout)[0].rows
  assert max(map(len, rows)) == (5 if kind == "pack" else 1)
  broken = nnx.clone(_encoder())
  broken.embedding[...] = broken.embedding[...].at[39].set(value)
  want, found = (
    encode.encode(model, ids, pooling="mean", layout=layout, mesh=_one_device())
    for model in (_encoder(), broken)
  )
  assert np.isfinite(want).all()
  bad = ~np.isfinite(found).all(axis=1)
  assert bad.tolist() == [False, False, False, True, False]
  np.testing.assert_allclose(found[~bad], want[~bad], atol=1e-6)


@pytest.mark.parametrize("kind", ["buckets", "pack"])
def test_programs_are_few_however_many_shards(kind):
  # A shard of each: more than there may be programs.
  pool = [np.array([60, 60] * n + [6]) for n in range(1, 11)]
  layout = layouts.choose(
    np.concatenate(pool),
    batch_tokens=2048,
    kind=kind,
    pack_tokens=128,
    program_tokens=300,
  )
  before = encode.batch_embeddings._cache_size()
  for lengths in pool:
    ids = [np.zeros(n, np.int32) for n in lengths]
    encode.encode(
      _encoder(), ids, pooling="mean", layout=layout, mesh=_one_device()
    )
  made = encode.batch_embeddings._cache_size() - before
  assert len(layout.widths) == (1 if kind == "pack" else 2)
  most = len(layout.widths) + layouts.LAST_BATCH_PARTS - 1
  assert len(layout.widths) < made <= most


def test_no_prompts():
  config = architecture.DecoderConfig(
    vocab=32, layers=1, width=16, heads=2, kv_heads=1, head_dim=8, mlp_width=32
  )
  model = decoder.Decoder(config, rngs=nnx.Rngs(0))
  found = encode.encode(
    model, [], pooling="mean", layout=_layout(16), mesh=mesh.make()
  )
  assert len(found) == 0


def _lsa(lsa, texts):
  return lsa_lib.apply_lsa(lsa, encode.lsa_terms(lsa, texts))


def test_lsa_equals_numpy_svd_of_tfidf():
  texts = ["a red fox", "a red dog", "the blue sky", "sky and sea", "fox sea"]
  lsa = lsa_lib.fit_lsa(texts, width=3, seed=0)
  found = _lsa(lsa, texts)
  u, s, _ = np.linalg.svd(
    lsa[0].transform(texts).toarray(), full_matrices=False
  )
  rows = u[:, :3] * s[:3]
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  # The axes may be turned; the cosines may not.
  np.testing.assert_allclose(found @ found.T, rows @ rows.T, atol=1e-4)


def test_lsa_reads_scripts_without_spaces():
  texts = ["两只猫在树上", "两只狗在树下", "blue sky", "grey sea"]
  found = _lsa(lsa_lib.fit_lsa(texts, width=3, seed=0), texts)
  near = found @ found.T
  assert near[0, 1] > near[0, 2] + 0.2


def test_a_prompt_without_a_known_term_gets_a_direction():
  lsa = lsa_lib.fit_lsa(["a fox", "a dog", "the sea"], width=2, seed=0)
  found = _lsa(lsa, ["zzz"])
  np.testing.assert_array_equal(found, [[1.0, 0.0]])
