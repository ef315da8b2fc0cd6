"""What an arm gets, beside chance."""

import itertools

import numpy as np
import pytest

from ila_jax.laboratory import budgets


@pytest.fixture
def drawn():
  rng = np.random.default_rng(0)
  n = 400
  n_tokens = rng.integers(1, 300, n)
  domain = rng.integers(0, 4, n) * 7
  order = rng.permutation(n)
  chance = rng.permutation(n)[:60]
  stratum = budgets.strata(domain, n_tokens, np.arange(n))
  return n_tokens, domain, order, chance, stratum


def _choose(drawn, equal, order=None):
  n_tokens, _, all_rows, chance, stratum = drawn
  order = all_rows if order is None else order
  return budgets.choose(
    order, n_tokens, equal=equal, chance=chance, stratum=stratum
  )


def test_strata_are_fifths_of_each_domain(drawn):
  n_tokens, domain, _, _, stratum = drawn
  for name in np.unique(domain):
    inside = np.flatnonzero(domain == name)
    numbers, counts = np.unique(stratum[inside], return_counts=True)
    assert len(numbers) == 5 and np.ptp(counts) <= 1
    for low, high in itertools.pairwise(numbers):
      longest = n_tokens[inside][stratum[inside] == low].max()
      assert longest <= n_tokens[inside][stratum[inside] == high].min()


def test_equal_tokens_and_examples(drawn):
  n_tokens, _, order, chance, _ = drawn
  tokens = _choose(drawn, "tokens").rows
  spent = n_tokens[chance].sum()
  assert n_tokens[tokens].sum() <= spent
  assert n_tokens[order[: len(tokens) + 1]].sum() > spent
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
