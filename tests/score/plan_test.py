"""What stage `score` takes and writes, by hand."""

import pytest

from ila_jax.forecast import costs, work
from ila_jax.score import losses, plan
from tests.support import planned


def test_tuned_models_are_most_of_it():
  full = plan.need(planned.known())
  assert full.kept == pytest.approx(2e9, rel=0.01)
  assert full.passing == pytest.approx(9e9, rel=0.01)
  adapters = plan.need(planned.known(train__method="lora"))
  assert adapters.kept < 0.1 * full.kept


@pytest.mark.parametrize(
  ("method", "passes", "models"), [("full", 4, 1), ("lora", 1, 4)]
)
def test_every_model_passes_over_the_pool(method, passes, models, monkeypatch):
  asked = []

  def scoring(self, data, *, examples, models=1):
    asked.append((examples, models))
    return costs.Cost(1.0, flops=1.0)

  def training(self, data, recipe, *, examples, runs=1):
    asked.append((examples, recipe.epochs, runs))
    return costs.Cost(100.0)

  monkeypatch.setattr(work.PlannedRun, "scoring", scoring)
  monkeypatch.setattr(work.PlannedRun, "training", training)
  run = planned.run(
    train__method=method, score__reference_seeds=(4, 5, 6), score__epochs=3.0
  )
  assert plan.cost(run) == costs.Cost(100.0 + passes, flops=1.0 * passes)
  assert asked == [(30, 3.0, 3), (1000, models)]
  names, together = losses.passes(run.config)
  assert (len(names), together) == (passes, models)
