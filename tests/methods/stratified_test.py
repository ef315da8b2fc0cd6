"""What `stratified` says of a budget that its quotas do not bear."""

import numpy as np
import pytest

from ila_jax.methods import candidates, table


@pytest.mark.parametrize(
  ("wanted", "warns"), [(13, True), (14, False), (30, False), (None, False)]
)
def test_a_budget_below_one_cycle_of_quotas_is_told(wanted, warns):
  """Two cells give three, and eight give one: fourteen in all."""
  rows = np.arange(30)
  c = candidates.candidates(
    rows.astype(np.uint64),
    cell=rows % 10,
    depth=1.0 * rows,
    relative_depth=1.0 * rows,
    n_tokens=rows + 1,
    domain=0 * rows,
    candidate=rows >= 0,
    seed=0,
  )
  c = candidates.with_inputs(c, {}, wanted=wanted)
  got = table.METHODS["stratified"](c, tiers=((2, 3),))
  assert bool(got.warning) == warns
  if warns:
    # The quotas 3, 3 and seven times 1 are 13.
    assert "10 cells give 14 examples" in got.warning
    assert "at most 9 cells: --config.landscape.grid=N" in got.warning
