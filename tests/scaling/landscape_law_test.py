"""The landscape law, by hand and on made laws."""

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.scaling import landscape_law


@pytest.fixture
def domains():
  return landscape_law.Domains(
    weight=np.array([0.5, 0.3, 0.2]),
    base=np.array([4.0, 3.0, 5.0]),
    reducible=np.array([1.0, 0.5, 2.0]),
  )


def _tokens(count, seed=0):
  return np.random.default_rng(seed).gamma(0.5, 4000, (count, 3)) + 1


def test_foretell_is_the_sum_by_hand(domains):
  law = landscape_law.Law(0.1, 0.9, 500.0, 0.4, 0.2)
  tokens = _tokens(4)
  for row, found in zip(
    tokens, landscape_law.foretell(law, tokens, domains), strict=True
  ):
    total = 0.0
    for c in range(3):
      seen = row[c] + 0.2 * (row.sum() - row[c]) / 3
      learned = 1 - (1 + seen / 500.0) ** -0.4
      left = domains.base[c] - domains.reducible[c] * learned
      total += domains.weight[c] * left
    assert found == pytest.approx(0.1 + 0.9 * total, rel=1e-12)


def test_a_made_law_is_found_again(domains):
  true = landscape_law.Law(0.2, 1.3, 900.0, 0.7, 0.1)
  tokens = _tokens(60)
  loss = landscape_law.foretell(true, tokens, domains)
  law = landscape_law.fit(loss, tokens, domains)
  new = _tokens(30, seed=1)
  np.testing.assert_allclose(
    landscape_law.foretell(law, new, domains),
    landscape_law.foretell(true, new, domains),
    atol=2e-4,
  )


def test_no_other_law_is_nearer(domains):
  """Least squares, beside a search by another optimiser of SciPy."""
  from scipy import optimize

  rng = np.random.default_rng(0)
  true = landscape_law.Law(0.0, 1.0, 900.0, 0.7, 0.1)
  tokens = _tokens(40)
  loss = landscape_law.foretell(true, tokens, domains)
  loss += rng.normal(0, 0.02, 40)
  law = landscape_law.fit(loss, tokens, domains)
  missed = np.sum((landscape_law.foretell(law, tokens, domains) - loss) ** 2)

  def cost(free):
    named = landscape_law.Law(
      free[0], free[1], *np.exp(free[2:4]), np.clip(free[4], 0, 1)
    )
    return np.sum((landscape_law.foretell(named, tokens, domains) - loss) ** 2)

  theirs = optimize.minimize(
    cost,
    [0.0, 1.0, np.log(900), np.log(0.7), 0.1],
    method="Nelder-Mead",
    options={"maxiter": 4000, "fatol": 1e-12},
  )
  assert missed <= theirs.fun * (1 + 1e-6)


def test_what_cannot_be_fitted_is_refused(domains):
  tokens = _tokens(5)
  with pytest.raises(errors.InputError, match="fitted on 5 subsets"):
    landscape_law.fit(np.ones(5), tokens, domains)
  flat = domains._replace(reducible=np.zeros(3))
  with pytest.raises(errors.InputError, match="and 0 domains"):
    landscape_law.fit(np.ones(9), _tokens(9), flat)
