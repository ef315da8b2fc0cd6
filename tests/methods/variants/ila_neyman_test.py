"""Shares by reducible loss: by hand, in plain loops, and their ends."""

import numpy as np
import pytest

from ila_jax.methods import candidates, table
from ila_jax.methods.variants import ila_neyman
from tests.support import reference_selection as reference

NEYMAN = table.METHODS["ila_neyman"]


def _candidates(pool, base, tuned, mass=None):
  c = candidates.candidates(**pool, seed=0)
  c = candidates.with_weights(c, mass, mass=mass)
  inputs = {
    "nll_base": np.asarray(base, np.float32),
    "nll_sft": np.asarray(tuned, np.float32),
  }
  return candidates.with_inputs(c, inputs, wanted=None)


def _pool(cell, n_tokens, depth, domain=None):
  n = len(cell)
  return {
    "ids": np.arange(n, dtype=np.uint64),
    "cell": np.array(cell),
    "depth": np.array(depth, float),
    "relative_depth": np.full(n, 0.5),
    "n_tokens": np.array(n_tokens),
    "domain": np.zeros(n, int) if domain is None else np.array(domain),
    "candidate": np.ones(n, bool),
  }


def test_by_hand():
  """Cell 0: 2 nats in 2 tokens, so 1 a token; cell 1: 8 nats in 2 tokens, 4.

  Both have 2 candidates: shares are (2 * 1)^(1/2) and (2 * 4)^(1/2), as 1 to
  2. Rows of cell 0 come at (1/2) / 1 and (3/2) / 1, those of cell 1 at 1/4 and
  3/4.
  """
  pool = _pool([0, 0, 1, 1], [1, 1, 1, 1], [9, 8, 2, 1])
  c = _candidates(pool, [2, 2, 5, 5], [1, 1, 1, 1])
  got = NEYMAN(c, exponent=1.0, pseudo_tokens=0.0)
  assert got.order.tolist() == [2, 0, 3, 1] and got.warning == ""
  assert got.round.tolist() == [1, 1, 2, 2]


def _slowly(c, options):
  """The shares, cell by cell; then the order of ILA by them."""
  rows = np.flatnonzero(c.candidate).tolist()
  gain = {
    r: float(c.inputs["nll_base"][r]) - float(c.inputs["nll_sft"][r])
    for r in rows
  }
  tokens = {r: int(c.n_tokens[r]) for r in rows}

  def rate(some):
    return sum(gain[r] for r in some) / sum(tokens[r] for r in some)

  weight = {}
  for cell in {int(c.cell[r]) for r in rows}:
    mine = [r for r in rows if c.cell[r] == cell]
    size = sum(tokens[r] for r in mine)
    around = 0.0
    for r in mine:
      like = [other for other in rows if c.domain[other] == c.domain[r]]
      around += tokens[r] * rate(like) / size
    more = options["pseudo_tokens"]
    reducible = (sum(gain[r] for r in mine) + more * around) / (size + more)
    reducible = max(reducible, options["floor"] * rate(rows))
    mass = len(mine) if c.cell_mass is None else c.cell_mass[mine[0]]
    weight[cell] = (mass * reducible) ** (1 / (1 + options["exponent"]))
  keys = []
  for cell, share in weight.items():
    mine = sorted(
      (r for r in rows if c.cell[r] == cell),
      key=lambda r: (-c.depth[r], c.ids[r]),
    )
    keys += [
      ((place + 0.5) / share, place, -c.depth[r], c.ids[r], r)
      for place, r in enumerate(mine)
    ]
  return [key[-1] for key in sorted(keys)]


@pytest.mark.parametrize("by_target", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_it_is_that_of_plain_loops(seed, by_target):
  pool = reference.pool(24, seed)
  if not pool["candidate"].any():
    return
  rng = np.random.default_rng(seed)
  tuned = rng.uniform(0, 9, 24)
  # Some cells lose, and the pool gains.
  base = tuned + rng.uniform(-1, 4, 24)
  mass = 1.0 + rng.random(10)[pool["cell"]] if by_target else None
  c = _candidates(pool, base, tuned, mass)
  options = {"exponent": 0.3, "pseudo_tokens": 7.0, "floor": 0.2}
  assert NEYMAN(c, **options).order.tolist() == _slowly(c, options)


def test_a_pool_of_one_reducible_loss_has_the_weights_of_a_power():
  """All A_c are one: W_c = n_c^(1 / (1 + b))."""
  pool = reference.big_pool()
  base = 3.0 * pool["n_tokens"]
  c = _candidates(pool, base, base - pool["n_tokens"])
  got = NEYMAN(c, exponent=1.0).order
  ila = table.METHODS["ila"](candidates.with_power(c, 0.5)).order
  assert got.tolist() == ila.tolist()


def test_pseudo_tokens_lead_from_the_cell_to_its_domains():
  pool = _pool([0, 0, 1], [2, 2, 4], [1, 2, 3], domain=[0, 1, 1])
  c = _candidates(pool, [4, 12, 6], [0, 0, 0])
  own, in_pool = ila_neyman.reducible_loss(c, pseudo_tokens=0.0)
  np.testing.assert_allclose(own, [4, 4, 1.5])
  assert in_pool == pytest.approx(22 / 8)
  # Of the domains: 4 / 2 nats a token, and 18 / 6.
  far, _ = ila_neyman.reducible_loss(c, pseudo_tokens=1e12)
  np.testing.assert_allclose(far, [2.5, 2.5, 3])


def test_a_tuning_that_taught_nothing_is_told():
  pool = _pool([0, 0, 1], [1, 1, 1], [1, 2, 3])
  c = _candidates(pool, [1, 1, 1], [2, 1, 1])
  got = NEYMAN(c)
  assert "has not lowered the loss of the pool (-0.3333 nats" in got.warning
  ila = table.METHODS["ila"](candidates.with_power(c, 1 / 1.5))
  assert got.order.tolist() == ila.order.tolist()
