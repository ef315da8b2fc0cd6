"""Marginal depth by hand and by plain loops in exact fractions."""

import fractions

import numpy as np
import pytest

from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference

MARGINAL = table.METHODS["ila_marginal"]
F = fractions.Fraction


def _candidates(pool, gain, seed=0):
  c = candidates.candidates(**pool, seed=seed)
  gain = np.array(gain, np.float32)
  return candidates.with_inputs(c, {"early_gain": gain}, wanted=None)


def _pool(cell, n_tokens, domain=None):
  n = len(cell)
  return {
    "ids": np.arange(n, dtype=np.uint64),
    "cell": np.array(cell),
    "depth": -np.arange(n, dtype=float),
    "relative_depth": np.zeros(n),
    "n_tokens": np.array(n_tokens),
    "domain": np.array(cell if domain is None else domain),
    "candidate": np.ones(n, bool),
  }


def test_by_hand():
  """Domains 0 and 1, each a cell, teach 1.5 and 0.5 nats a token; 1 in all.

  With 300 tokens of the mean they have (450 + 300) / 600 = 1.25 and 0.75. Rows
  of cell 0 come at 0.4, 1.2, 2, 2.8 and those of cell 1 at 2/3, 2, 10/3, 14/3;
  of the two at 2 the lower place goes first.
  """
  pool = _pool([0, 0, 0, 0, 1, 1, 1, 1], [300, 1, 1, 1, 300, 1, 1, 1])
  gain = [450.0, *[np.nan] * 3, 150.0, *[np.nan] * 3]
  c = _candidates(pool, gain)
  got = MARGINAL(c, inside="depth")
  assert got.order.tolist() == [0, 4, 1, 5, 2, 3, 6, 7]
  # A floor of the mean lifts cell 1 to 1: times 0.4, 1.2, 2 and 0.5, 1.5, 2.5.
  got = MARGINAL(c, inside="depth", least=1.0)
  assert got.order.tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
  assert MARGINAL(c, power=0.0).order.tolist() == (
    table.METHODS["coverage_only"](c).order.tolist()
  )


def test_where_nothing_is_taught_cells_are_alike_and_it_is_told():
  pool = _pool([0, 0, 1, 1], [5, 5, 5, 5])
  for gain in ([-1.0] * 4, [0.0] * 4, [np.nan] * 4):
    c = _candidates(pool, gain)
    got = MARGINAL(c)
    assert "has taught nothing" in got.warning
    coverage = table.METHODS["coverage_only"](c).order.tolist()
    assert got.order.tolist() == coverage


def test_a_cell_in_which_nothing_is_taught_comes_last_without_a_floor():
  """With a floor of 0.3 its first row is before the other's sixth."""
  cell = [0] * 2 + [1] * 10
  pool = _pool(cell, [9000] * 12)
  c = _candidates(pool, [-9000.0] * 2 + [9000.0] * 10)
  assert sorted(MARGINAL(c, least=0.0).order[-2:].tolist()) == [0, 1]
  assert (np.array(cell)[MARGINAL(c).order[:8]] == 0).any()


def _slowly(c, gain, least):
  n = len(c.ids)
  known = [row for row in range(n) if np.isfinite(gain[row])]
  total = sum(F(float(gain[row])) for row in known)
  mean = total / sum(int(c.n_tokens[row]) for row in known)
  of_domain = {}
  for domain in set(c.domain.tolist()):
    own = [row for row in known if c.domain[row] == domain]
    held = sum(int(c.n_tokens[row]) for row in own)
    taught = sum(F(float(gain[row])) for row in own)
    of_domain[domain] = (taught + 300 * mean) / (held + 300)
  rows = np.flatnonzero(c.candidate).tolist()
  weight = {}
  for cell in {int(c.cell[row]) for row in rows}:
    own = [of_domain[int(c.domain[r])] for r in rows if c.cell[r] == cell]
    share = sum(own) / len(own) / mean
    weight[cell] = max(share, F(least))
  place_in, keys = {}, []
  for row in sorted(rows, key=lambda r: (c.uniform[r], c.ids[r])):
    cell = int(c.cell[row])
    place = place_in[cell] = place_in.get(cell, -1) + 1
    own = 1 if c.cell_weight is None else F(float(c.cell_weight[row]))
    time = F(2 * place + 1, 2) / weight[cell] / own
    across = float(c.uniform_across[row])
    # As far as float64 tells times apart.
    keys.append((round(float(time), 9), place, across, int(c.ids[row]), row))
  return [key[-1] for key in sorted(keys)]


@pytest.mark.parametrize("seed", range(12))
def test_it_is_that_of_plain_loops(seed):
  n = 24
  pool = reference.pool(n, seed) | {"depth": np.zeros(n)}
  rng = np.random.default_rng(seed)
  gain = rng.integers(-3, 9, n).astype(float) * 100 + 200
  gain[rng.random(n) < 0.3] = np.nan
  c = _candidates(pool, gain, seed)
  if seed % 2:
    c = candidates.with_weights(c, 1.0 + pool["cell"] % 3)
  assert MARGINAL(c).order.tolist() == _slowly(c, gain, 0.3)
