"""What an arm gets, beside chance."""

import numpy as np
import pytest

from ila_jax.compute import quantiles
from ila_jax.laboratory import budgets


@pytest.fixture
def drawn():
  rng = np.random.default_rng(0)
  n = 400
  n_tokens = rng.integers(1, 300, n)
  domain = rng.integers(0, 4, n) * 7
  order = rng.permutation(n)
  chance = rng.permutation(n)[:60]
  stratum = quantiles.length_strata(n_tokens, domain, bins=5)
  return n_tokens, domain, order, chance, stratum


def _choose(drawn, equal, order=None):
  n_tokens, _, all_rows, chance, stratum = drawn
  order = all_rows if order is None else order
  return budgets.choose(
    order, n_tokens, equal=equal, chance=chance, stratum=stratum
  )


def test_equal_tokens_and_examples(drawn):
  n_tokens, _, order, chance, _ = drawn
  tokens = _choose(drawn, "tokens").rows
  spent = n_tokens[chance].sum()
  off = [
    abs(n_tokens[order[:k]].sum() - spent)
    for k in range(len(tokens) - 1, len(tokens) + 2)
  ]
  assert off[1] == min(off)  # No head is nearer.
  np.testing.assert_array_equal(_choose(drawn, "steps").rows, tokens)
  examples = _choose(drawn, "examples")
  np.testing.assert_array_equal(examples.rows, order[:60])
  assert examples.missing == 0


def test_equal_lengths_by_brute_force(drawn):
  n_tokens, _, order, chance, stratum = drawn
  left = dict(zip(*np.unique(stratum[chance], return_counts=True), strict=True))
  wanted = []
  for row in order:
    if left.get(stratum[row], 0):
      left[stratum[row]] -= 1
      wanted.append(row)
  found = _choose(drawn, "lengths")
  assert found.rows.tolist() == wanted and found.missing == 0
  # Tokens follow: a fifth of a domain has like lengths.
  ratio = n_tokens[found.rows].sum() / n_tokens[chance].sum()
  assert 0.9 < ratio < 1.1


def test_what_a_short_order_lacks_is_counted(drawn):
  n_tokens, _, order, _, _ = drawn
  few = order[:20]
  assert _choose(drawn, "examples", few).missing == 40
  lengths = _choose(drawn, "lengths", few)
  assert lengths.missing == 60 - len(lengths.rows) > 0
  shortest = np.argsort(n_tokens, kind="stable")[:20]
  assert _choose(drawn, "tokens", shortest).missing > 0
