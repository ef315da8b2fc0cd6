"""Contrastive depth by hand, by plain loops, and where it is 0."""

import numpy as np
import pytest

from ila_jax.methods import candidates, table
from tests.methods.variants import specific_test
from tests.support import reference_selection as reference

CONTRASTIVE = table.METHODS["ila_contrastive"]
NAME = "swapped_prompt"


def _candidates(pool, values, seed=0):
  c = candidates.candidates(**pool, seed=seed)
  return candidates.with_inputs(c, {NAME: values}, wanted=None)


def test_by_hand():
  """CD of the rows is 1, 3, 0.5 and -1; cells 0 and 1 have two rows each."""
  values = np.array([[1.0, 2.0], [0.0, 6.0], [3.0, 4.0], [2.0, 1.0]])
  pool = {
    "ids": np.arange(4, dtype=np.uint64),
    "cell": np.array([0, 0, 1, 1]),
    "depth": np.zeros(4),
    "relative_depth": np.zeros(4),
    "n_tokens": np.array([1, 2, 2, 1]),
    "domain": np.zeros(4, int),
    "candidate": np.ones(4, bool),
  }
  c = _candidates(pool, values)
  got = CONTRASTIVE(c, like_length=False)
  assert got.order.tolist() == [1, 2, 0, 3]
  assert got.round.tolist() == [1, 1, 2, 2]
  values[2] = np.nan
  got = CONTRASTIVE(_candidates(pool, values), like_length=False)
  assert got.order.tolist() == [1, 3, 0]
  assert got.rest == "1 have no finite contrastive depth."


@pytest.mark.parametrize("seed", range(8))
def test_it_is_that_of_plain_loops(seed):
  n = 90
  pool = reference.pool(n, seed) | {"depth": np.zeros(n)}
  rng = np.random.default_rng(seed)
  values = rng.integers(-2, 3, (n, 4)).astype(np.float32)
  values[rng.random(n) < 0.1] = np.nan
  c = _candidates(pool, values, seed)
  swing = values[:, 1] - values[:, 0] + values[:, 3] - values[:, 2]
  depth = swing.astype(float) / 2 / pool["n_tokens"]
  rows = [r for r in np.flatnonzero(c.candidate) if np.isfinite(depth[r])]
  if seed % 2:
    ranked = specific_test.slow_strata(c, depth, rows, 5)
    depth = np.array([ranked.get(row, np.nan) for row in range(n)])
  lines = [one for one in reference.rows(pool, c, depth) if one.row in rows]
  got = CONTRASTIVE(c, like_length=bool(seed % 2))
  pairs = list(zip(got.order.tolist(), got.round.tolist(), strict=True))
  assert pairs == reference.ila(lines)


def test_what_tuning_teaches_of_the_style_alone_has_no_part():
  """A drop that is the same behind every prompt adds nothing."""
  rng = np.random.default_rng(1)
  pool = reference.big_pool(300)
  base = rng.integers(0, 9, (300, 2)).astype(np.float32)
  swing = rng.integers(-3, 4, (300, 2)).astype(np.float32)
  other = np.stack([base, base + swing], axis=2).reshape(300, 4)
  plain = np.stack([0 * base, swing], axis=2).reshape(300, 4)
  one, two = (CONTRASTIVE(_candidates(pool, v)) for v in (other, plain))
  assert one.order.tolist() == two.order.tolist()


def test_draws_that_do_not_agree_are_told():
  rng = np.random.default_rng(2)
  pool = reference.big_pool(300)
  values = rng.normal(size=(300, 4)).astype(np.float32)
  assert "two draws of other prompts agree by a correlation of" in (
    CONTRASTIVE(_candidates(pool, values)).warning
  )
  values[:, 2:] = values[:, :2]
  assert CONTRASTIVE(_candidates(pool, values)).warning == ""
