"""What stage `finetune` takes and writes, by hand."""

import pytest

from ila_jax.finetune import plan
from ila_jax.forecast import costs, work
from tests.support import planned


def test_one_model_is_kept():
  need = plan.need(planned.known())
  assert need.kept == pytest.approx(1e9, rel=0.01)
  assert need.passing == pytest.approx(9e9, rel=0.01)


@pytest.mark.parametrize(
  ("rivals", "arms"), [((), 1), (("random",), 3), (("random", "trim"), 5)]
)
def test_rivals_are_tuned_twice_and_the_base_is_evaluated(
  rivals, arms, monkeypatch
):
  asked = {}

  def tuning(self, **what):
    asked.update(what)
    return costs.Cost(1.0)

  monkeypatch.setattr(work.PlannedRun, "tuning", tuning)
  run = planned.run(
    finetune__compare=rivals, select__unit="examples", select__budget=77.0
  )
  assert plan.cost(run) == costs.Cost(1.0)
  assert asked == {"examples": 77.0, "runs": arms, "evaluations": arms + 1}
