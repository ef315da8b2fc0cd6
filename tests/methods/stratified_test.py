"""What `stratified` says of a budget that its quotas do not bear."""

import pytest

from ila_jax.methods import candidates, table
from tests.support import reference_selection


@pytest.mark.parametrize(
  ("wanted", "warns"), [(13, True), (14, False), (30, False), (None, False)]
)
def test_a_budget_below_one_cycle_of_quotas_is_told(wanted, warns):
  """Two cells give three, and eight give one: fourteen in all."""
  c = reference_selection.rising(30, cells=10)
  c = candidates.with_inputs(c, {}, wanted=wanted)
  got = table.METHODS["stratified"](c, tiers=((2, 3),))
  assert bool(got.warning) == warns
  if warns:
    # The quotas 3, 3 and seven times 1 are 13.
    assert "10 cells give 14 examples" in got.warning
    assert "at most 9 cells: --config.landscape.grid=N" in got.warning
