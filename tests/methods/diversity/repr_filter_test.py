"""The Repr filter on prompts of other scripts; likeness_test has its walk."""

import dataclasses

import numpy as np
import pytest

from ila_jax.embed import encode, lsa
from ila_jax.methods import candidates, table
from tests.support import languages, text_witness
from tests.support import reference_selection as reference


@pytest.mark.parametrize("language", languages.TEXTS)
def test_copies_go_and_other_topics_stay_in_any_script(language):
  """By LSA: each text with a copy of it that has another end."""
  own, other = languages.TEXTS[language]
  texts = [*own[:2], *other[:2]]
  texts += [f"{text} !" for text in texts]
  fitted = lsa.fit_lsa([*texts, *text_witness.POOL], width=8, seed=0)
  x = lsa.apply_lsa(fitted, encode.lsa_terms(fitted, texts))
  n = len(texts)
  pool = reference.pool(n, 0) | {"candidate": np.ones(n, bool)}
  pool |= {"ids": np.arange(n, dtype=np.uint64), "depth": -np.arange(float(n))}
  c = candidates.candidates(**pool, seed=0)
  c = dataclasses.replace(c, inputs={"embeddings": x})
  got = table.METHODS["repr_filter"](c, most=0.99)
  assert (got.order < n // 2).all()
  assert np.isin(got.order, [0, 1]).any() and np.isin(got.order, [2, 3]).any()
  assert "have a cosine above 0.99 to one that is taken" in got.rest
