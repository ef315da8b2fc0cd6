"""What stage `select` writes and takes, by hand."""

import pytest

from ila_jax.forecast import costs, here
from ila_jax.methods import effort, table
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


def test_the_efforts_of_all_methods_are_added(monkeypatch):
  size = effort.Size(100, 10, 5, embedding=4, hidden=6, feature_bytes=8)
  monkeypatch.setattr(plan, "_size", lambda run: size)

  # A second for an operation, and one for a byte.
  def second(self, amount, *_):
    return costs.Cost(float(amount))

  monkeypatch.setattr(here.Here, "products", second)
  monkeypatch.setattr(here.Here, "reading", second)

  def seconds(*compare):
    return plan.cost(
      planned.run(select__compare=compare, select__target="aims.jsonl")
    ).seconds

  # All 100 rows with 10 that are chosen: two operations for each number.
  assert seconds("kcenter") - seconds() == pytest.approx(800 * 10)
  # All with 5 targets: two operations for each of 4 numbers, and of 6.
  assert seconds("target_nearest") - seconds() == pytest.approx(400 * 10)
  assert seconds("rds_plus", "random") - seconds() == pytest.approx(600 * 10)


def test_every_effort_grows_with_the_pool():
  small = effort.Size(1000, 100, 10, embedding=8, hidden=8, feature_bytes=8)
  large = small._replace(candidates=10_000)
  for method in table.METHODS.values():
    less, more = (
      method.effort(size, method.options()) for size in (small, large)
    )
    assert all(a <= b for a, b in zip(less, more, strict=True)), method.name
    assert less == more or sum(less) < sum(more), method.name
