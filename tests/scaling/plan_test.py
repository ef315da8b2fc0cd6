"""What stage `scaling` takes, by hand."""

from ila_jax.forecast import costs, work
from ila_jax.scaling import plan
from tests.support import planned


def test_every_subset_is_tuned_on_and_evaluated(monkeypatch):
  asked = {}

  def tuning(self, **what):
    asked.update(what)
    return costs.Cost(10.0)

  monkeypatch.setattr(work.PlannedRun, "tuning", tuning)
  fields = {"scaling__subsets": 6, "scaling__held_out": 2}
  run = planned.run(**fields, scaling__sizes=(20, 40))
  assert plan.cost(run) == costs.Cost(13.0)
  wanted = {"examples": 30.0, "runs": 8, "evaluations": 8}
  assert asked == wanted | {"turns": []}
  plan.cost(
    planned.run(**fields, scaling__sizes=(20, 40), train__runs_a_device=1)
  )
  assert asked == wanted | {"turns": [(1, 40.0)]}
  none = {"scaling__subsets": 0, "scaling__held_out": 0}
  assert plan.cost(planned.run(**none)) == costs.Cost(0.0)
  lines = plan.need(planned.known(**fields)), plan.need(planned.known(**none))
  assert lines[0].kept - lines[1].kept == 8 * 400
