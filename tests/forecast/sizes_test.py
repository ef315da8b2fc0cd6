"""What the bytes of a run follow from, by hand."""

import pytest

from ila_jax.forecast import base_plan, pool_plan
from ila_jax.models import decoder
from tests.support import planned


def test_a_model_and_its_checkpoints():
  known = planned.known()
  weights = decoder.count_parameters(planned.DECODER)
  assert weights == pytest.approx(250e6, rel=1e-3)
  assert known.tokenizer == 1e6
  assert known.base == known.tuned == 4 * weights + 1e6
  # Weights and two moments; a third while two are kept.
  assert known.checkpoints == known.base_checkpoints == 3 * 12 * weights
  half = planned.known(model__dtype="bfloat16")
  assert half.base == 2 * weights + 1e6
  assert half.checkpoints == known.checkpoints


def test_an_adapter_is_small_and_its_base_is_not():
  fields = {"train__method": "lora", "train__lora_rank": 4}
  fields |= {"train__lora_targets": ("query",)}
  known = planned.known(**fields, model__dtype="bfloat16")
  # A and B of the queries of 20 layers, in float32.
  numbers = 20 * 4 * (1024 + 1024)
  assert known.tuned == 4 * numbers + known.tokenizer
  assert known.checkpoints == 3 * 12 * numbers
  assert known.base_checkpoints > 1000 * known.checkpoints


def test_a_pool_and_a_base_from_scratch():
  known = planned.known()
  pool = pool_plan.need(known)
  assert pool.kept == pytest.approx(7.3e6, rel=0.1)
  # Until they are merged the splits hold what the shards hold.
  assert pool.passing == pytest.approx(pool.kept, rel=0.05)
  scratch = pool_plan.need(planned.known(model__path="scratch"))
  assert scratch.kept - pool.kept == known.tokenizer
  base = base_plan.need(known)
  assert base.kept == pytest.approx(1e9, rel=0.01)
  assert base.passing == pytest.approx(9e9, rel=0.01)


@pytest.mark.parametrize(
  ("unit", "budget", "wanted"),
  [("examples", 40.0, 40), ("tokens", 400.0, 8), ("fraction", 0.5, 4960)],
)
def test_the_budget_in_examples(unit, budget, wanted):
  # Of 10,000, 20 are held out, and two times 30 are the reference.
  known = planned.known(select__unit=unit, select__budget=budget)
  assert known.selected == wanted
  more = planned.known(
    select__unit=unit, select__budget=budget, score__exclude_reference=False
  )
  assert more.selected == wanted + 30 * (unit == "fraction")
