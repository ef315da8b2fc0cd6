"""DSIR beside its own package, and by hand."""

import dataclasses
import hashlib
import itertools
import re

import numpy as np
import pytest
from scipy import stats

from ila_jax.methods import candidates, table
from ila_jax.methods.target import dsir, ngrams
from ila_jax.pool import records
from ila_jax.run import draws
from tests.support import languages, text_witness
from tests.support import reference_selection as reference


def of_texts(pool, target, **more):
  """Candidates whose prompt is a text's first line, and answer the others."""
  n = len(pool)

  def turns(texts):
    found = np.empty(len(texts), object)
    for place, text in enumerate(texts):
      ask, *answer = text.split("\n", 1)
      found[place] = [records.Turn("user", ask)]
      found[place] += [records.Turn("assistant", one) for one in answer]
    return found

  columns = reference.pool(n, 0) | {
    "ids": np.arange(n, dtype=np.uint64),
    "candidate": np.ones(n, bool),
    "depth": np.zeros(n),
  }
  inputs = {
    "turns": turns(pool),
    "target_turns": turns(target),
    "target_id": np.arange(len(target), dtype=np.uint64),
  }
  made = candidates.candidates(**columns, seed=0)
  return dataclasses.replace(made, inputs=inputs, **more)


def _log_weights(pool, target, buckets=10_000):
  """As the paper has it: counts, shares, logarithms, one text at a time."""

  def counts(text):
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    found = np.zeros(buckets)
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(words)]
    for gram in words + pairs:
      found[int(hashlib.sha256(gram.encode()).hexdigest(), 16) % buckets] += 1
    return found

  p, q = (sum(map(counts, texts)) for texts in (target, pool))
  ratio = np.log(p / p.sum() + 1e-8) - np.log(q / q.sum() + 1e-8)
  return [counts(text) @ ratio for text in pool]


def test_weights_are_those_of_the_package():
  pool, target = text_witness.POOL, text_witness.TARGET
  buckets = ngrams.Buckets(10_000)
  of_target, of_pool = (buckets(list(texts)) for texts in (target, pool))
  value = dsir._log_ratio(
    *(np.bincount(found[0], minlength=10_000) for found in (of_target, of_pool))
  )
  got = ngrams.totals(*of_pool, value)
  np.testing.assert_allclose(got, text_witness.WEIGHTS, rtol=1e-12)
  np.testing.assert_allclose(got, _log_weights(pool, target), rtol=1e-12)


@pytest.mark.parametrize("block", [1, 2, 4096])
def test_without_chance_the_greatest_weight_comes_first(monkeypatch, block):
  monkeypatch.setattr(dsir.texts, "BLOCK", block)
  c = of_texts(text_witness.POOL, text_witness.TARGET)
  got = table.METHODS["dsir"](c, sample=False)
  assert (
    got.order.tolist() == np.argsort(-np.array(text_witness.WEIGHTS)).tolist()
  )


def test_a_draw_adds_gumbel_noise_to_the_weights():
  c = of_texts(text_witness.POOL, text_witness.TARGET)
  key = text_witness.WEIGHTS + dsir.gumbel(c.uniform)
  got = table.METHODS["dsir"](c)
  assert got.order.tolist() == np.argsort(-key).tolist()


def test_the_noise_is_scipys_gumbel():
  ids = np.arange(20_000, dtype=np.uint64)
  for seed in (0, 1):
    uniform = draws.keyed_uniform(ids, seed=seed, purpose="select")
    noise = dsir.gumbel(uniform.astype(np.float32))
    assert stats.kstest(noise, "gumbel_r").pvalue > 0.01


def test_short_examples_are_left_out_where_asked():
  c = of_texts(text_witness.POOL, text_witness.TARGET)
  got = table.METHODS["dsir"](c, least_words=13)
  words = [len(re.findall(r"\w+|[^\w\s]+", text)) for text in text_witness.POOL]
  assert sorted(got.order.tolist()) == [
    row for row, count in enumerate(words) if count >= 13
  ]
  assert "2 have fewer words than config.select.options.dsir.leas" in got.rest


def test_prompts_alone_or_responses_alone():
  """What is not counted cannot tell."""
  pool, target = ["Add.\nNo.", "Sing.\nNo.", "Sing.\nYes."], ["Add.\nYes."]
  c = of_texts(pool, target)
  by_prompt = table.METHODS["dsir"](c, sample=False, text="prompt")
  assert by_prompt.order.tolist() == [0, 1, 2]
  by_answer = table.METHODS["dsir"](c, sample=False, text="response")
  assert by_answer.order.tolist() == [2, 0, 1]


def test_pseudo_counts_bring_shares_together():
  value = dsir._log_ratio(np.array([1, 0]) + 1e9, np.array([1, 1]))
  np.testing.assert_allclose(value, 0, atol=1e-6)


@pytest.mark.parametrize("language", languages.TEXTS)
def test_the_topic_of_the_target_comes_first_in_any_script(language):
  """Also beside texts of the same topic in English, which share no word."""
  own, other = languages.TEXTS[language]
  for same, rest in ((own, other), (other, own)):
    pool = [*rest, *same[1:], *text_witness.POOL]
    c = of_texts(pool, same[:1])
    order = table.METHODS["dsir"](c, sample=False).order.tolist()
    # The weight is a sum, so that a short text of any topic may come early.
    first = [place for place in order if place < len(rest) + len(same) - 1]
    assert first[0] >= len(rest)


def test_a_text_without_blanks_has_words():
  found, words = ngrams.Buckets(10_000)(["黄河ab流入東海", "ひらがな", "한국"])
  assert words.tolist() == [7, 4, 2]
  assert len(found) == 13 + 7 + 3
