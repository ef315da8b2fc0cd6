"""N-grams: hashes that are equal where the words are, and tables of them."""

import collections
import random

import numpy as np

from ila_jax.pool.contamination import ngrams


def test_hashes_are_equal_where_the_words_are():
  draw = random.Random(0)
  text = [draw.choice("abc") for _ in range(400)]
  for width, hashes in ngrams.windows(text, [1, 2, 5, 13]):
    grams = [tuple(text[i : i + width]) for i in range(400 - width + 1)]
    by_gram = dict(zip(grams, hashes.tolist(), strict=True))
    assert [by_gram[gram] for gram in grams] == hashes.tolist()
    assert len(set(by_gram.values())) == len(by_gram)


def test_a_text_shorter_than_the_width_has_no_ngram():
  found = ngrams.windows(["a", "b"], [2, 3])
  assert [width for width, _ in found] == [2]
  assert list(ngrams.windows([], [1])) == []


def test_common_ngrams_are_those_of_many_groups():
  rng = np.random.default_rng(0)
  hashes = rng.integers(0, 50, 2000).astype(np.uint64)
  group = rng.integers(0, 40, 2000)
  groups = collections.defaultdict(set)
  for one, own in zip(hashes.tolist(), group.tolist(), strict=True):
    groups[one].add(own)
  common = ngrams.is_common(hashes, group, limit=24)
  expected = [len(groups[one]) > 24 for one in hashes.tolist()]
  assert common.tolist() == expected and 0 < sum(expected) < 2000


def test_a_table_knows_what_it_was_given_and_nothing_else():
  rng = np.random.default_rng(0)
  hashes = rng.integers(0, 2**64, 5000, np.uint64)
  table = ngrams.Table(hashes[:4000], np.arange(4000))
  assert table.lookup(hashes).tolist() == [*range(4000), *[-1] * 1000]
  none = ngrams.Table(hashes[:0], np.arange(0))
  assert none.lookup(hashes[:3]).tolist() == [-1] * 3
