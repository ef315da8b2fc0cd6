"""What stage `laboratory` takes, by hand."""

import dataclasses

from ila_jax.forecast import costs, work
from ila_jax.laboratory import plan
from tests.support import planned

_SETTINGS = {
  "laboratory__arms": {"ours": {"strategy": "ila"}},
  "laboratory__draws": 3,
  "laboratory__budgets": (100,),
  "laboratory__curve": (1.0, 2.0),
  "laboratory__equal": ("tokens",),
}


def test_every_run_is_tuned_and_half_of_the_dev_set_read(monkeypatch):
  asked = {}

  def tuning(self, **what):
    asked.update(what)
    return costs.Cost(10.0)

  monkeypatch.setattr(work.PlannedRun, "tuning", tuning)
  run = planned.run(**_SETTINGS)
  assert plan.cost(run) == costs.Cost(10.0)
  # Of each draw: chance with 100 and 200 tokens, the arm with 100.
  assert (asked["runs"], asked["evaluations"]) == (9, 10)
  assert asked["judged"] == run.config.pool.dev_examples // 2
  assert asked["turns"] == []
  assert asked["examples"] * run.sizes.response * 3 == 100 + 200 + 100
  # Side by side, a group waits for its longest: two draws are in the first.
  some = planned.run(**_SETTINGS, train__runs_a_device=1)
  devices = some.machine.axes.count
  assert devices == 8
  plan.cost(some)
  longest = 200 / some.sizes.response
  assert asked["turns"] == [(1, longest), (1, 100 / some.sizes.response)]
  assert plan.cost(planned.run()) == costs.Cost(0.0)
  some, none = planned.known(**_SETTINGS), planned.known()
  each = plan.need(some).kept - plan.need(none).kept
  assert each - costs.TABLE == 9 * (
    1000 + 4 * (some.config.pool.dev_examples // 2)
  )
  # A dev set of its own judges in place of what the pool holds out.
  own = dataclasses.replace(some, judges=7001)
  more = plan.need(own).kept - plan.need(some).kept
  assert more == 9 * 4 * (3500 - some.judged)
