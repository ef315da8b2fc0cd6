"""Embeddings of many kinds, 1,100 each, for maps that are set side by side."""

import functools
import gzip
import json
import pathlib
from collections.abc import Callable

import numpy as np

from ila_jax.compute import mesh as mesh_lib
from ila_jax.embed import encode
from ila_jax.embed import lsa as lsa_lib
from ila_jax.models.folders import weights
from ila_jax.passes import layouts

N = 1100  # Enough for a grid, and of all data as many: one program serves all.
BY_LSA = ("gpteacher_roleplay", "gsm8k_train")
BY_MINILM = "alpaca_52k"


def _unit(x):
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def _structureless(rng, width):
  return _unit(rng.normal(size=(N, width)))


def _one_cluster(rng):
  """One Gaussian with few long axes and many short ones."""
  return _unit(rng.normal(size=(N, 128)) / np.sqrt(np.arange(1, 129)))


def _two_clusters(rng):
  """Each of them without structure, far from the other."""
  middle = rng.normal(size=(2, 1, 384))
  return _unit(
    (middle + 0.3 * rng.normal(size=(2, N // 2, 384))).reshape(N, -1)
  )


def _duplicates(rng):
  return np.repeat(_unit(rng.normal(size=(N // 5, 64))), 5, axis=0)


def _twins(rng):
  x = rng.normal(size=(N // 2, 64))
  return _unit(np.concatenate([x, x + 1e-3 * rng.normal(size=x.shape)]))


def _long_tails(rng):
  return rng.standard_t(2, size=(N, 16)).astype(np.float32)


def _digits(rng):
  from sklearn import datasets

  x = datasets.load_digits().data / 16
  return x[rng.permutation(len(x))[:N]].astype(np.float32)


_MADE: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
  "structureless, narrow": functools.partial(_structureless, width=32),
  "structureless, wide": functools.partial(_structureless, width=384),
  "one cluster": _one_cluster,
  "two clusters": _two_clusters,
  "duplicates": _duplicates,
  "near-twins": _twins,
  "long tails": _long_tails,
  "digits": _digits,
}
MADE = tuple(_MADE)


def made(kind: str) -> np.ndarray:
  """Embeddings that need no file."""
  return _MADE[kind](np.random.default_rng(1))


def by_lsa(folder: pathlib.Path, pool: str) -> np.ndarray:
  """Prompts of a pool in a folder, by LSA."""
  texts = _prompts(folder, pool)
  lsa = lsa_lib.fit_lsa(texts, width=256, seed=0)
  return np.asarray(lsa_lib.apply_lsa(lsa, encode.lsa_terms(lsa, texts)))


def by_minilm(folder: pathlib.Path, model: pathlib.Path) -> np.ndarray:
  """Prompts of a pool in a folder, by MiniLM in another."""
  import transformers

  tokenizer = transformers.AutoTokenizer.from_pretrained(model)
  _, pooling, encoder = weights.load_encoder(model)
  texts = _prompts(folder, BY_MINILM)
  tokens = [np.array(ids, np.int32) for ids in tokenizer(texts)["input_ids"]]
  # The longest has 41 tokens, most have 13.
  layout = layouts.Layout((16, 24, 48), 1024, packed=False)
  return encode.encode(
    encoder, tokens, pooling=pooling, layout=layout, mesh=mesh_lib.make()
  )


def _prompts(folder, pool):
  with gzip.open(folder / f"{pool}.jsonl.gz") as lines:
    records = [json.loads(line) for line in lines]
  texts = [r.get("instruction") or r.get("question") for r in records]
  rows = np.random.default_rng(0).permutation(len(texts))[:N]
  return [texts[row] for row in rows]
