"""What stage `select` writes, by hand."""

import pytest

from ila_jax.selection import plan
from tests.support import planned


def _kept(**fields):
  return plan.need(planned.known(select__unit="examples", **fields)).kept


def test_the_records_that_are_chosen():
  few, more = _kept(select__budget=100.0), _kept(select__budget=500.0)
  assert more - few == 400 * 1000
  assert few == pytest.approx(10_000 * 22 + 100 * 1000, rel=0.05)
  # No more than there are.
  assert _kept(select__budget=1e6) == _kept(select__budget=1e4)
