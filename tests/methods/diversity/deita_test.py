"""Deita: a walk by the product of two scores, by brute force."""

import dataclasses

import numpy as np
import pytest

from ila_jax import config_parsing, errors
from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference
from tests.support import tiny

_DEITA = table.METHODS["deita"]


def _scores(**columns):
  kind = [(name, np.float32) for name in columns]
  return np.array(list(zip(*columns.values(), strict=True)), kind)


def _pool(n, seed, scores):
  random = np.random.default_rng(seed)
  x = random.normal(size=(n, 12)) + 2 * random.normal(size=(1, 12))
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  pool = reference.pool(n, seed) | {"candidate": np.ones(n, bool)}
  made = candidates.candidates(**pool | {"depth": np.zeros(n)}, seed=seed)
  inputs = {"embeddings": np.float32(x), "scores": scores}
  return dataclasses.replace(made, inputs=inputs), x


def test_the_product_decides_and_what_has_no_score_goes():
  """Products 6, 5, 8 and none."""
  held = _scores(quality=[2, 5, 4, 6], complexity=[3, 1, 2, np.nan])
  c, _ = _pool(4, 0, held)
  got = _DEITA(c, most=1.0)
  assert got.order.tolist() == [2, 0, 1]
  assert got.rest == "1 have no finite score."
  alone = _DEITA(c, most=1.0, complexity="")
  assert alone.order.tolist() == [3, 1, 2, 0] and not alone.rest
  other = _DEITA(c, most=1.0, quality="complexity", complexity="")
  assert other.order.tolist() == [0, 2, 1]


@pytest.mark.parametrize("most", [0.5, 0.9])
def test_it_is_a_walk_by_the_product(most):
  for seed in range(5):
    random = np.random.default_rng(seed)
    a, b = random.uniform(1, 6, (2, 60)).astype(np.float32)
    c, x = _pool(60, seed, _scores(evol=a, quality=b, complexity=a))
    taken = []
    for row in np.argsort(-a * b, kind="stable"):
      if all(x[row] @ x[other] <= most for other in taken):
        taken.append(int(row))
    got = _DEITA(c, most=most)
    assert got.order.tolist() == taken
    assert ("options.deita.most" in got.rest) == (len(taken) < 60)


def test_scores_that_are_not_there_are_told_before_anything_is_read():
  def parse(**more):
    source = {"pool.source": "x.jsonl", "select.strategy": "deita"}
    config = tiny.config_dict("x.jsonl")
    config.update_from_flattened_dict(source | more)
    return config_parsing.parse(config)

  with pytest.raises(
    errors.InputError,
    match=r"deita\.quality names 'quality'.*--config\.pool\.fields\.scores",
  ):
    parse()
  with pytest.raises(
    errors.InputError, match=r"deita\.complexity names 'compl"
  ):
    parse(**{"pool.fields.scores": "quality"})
  parse(**{"pool.fields.scores": "quality, complexity=c"})
