"""The pilot is a laboratory that its config can hold."""

from ila_jax.advice import line, pilot
from ila_jax.configs import quickstart
from ila_jax.laboratory import runs
from ila_jax.sections import checked, laboratory, selection


def test_its_lines_are_a_config_of_nine_runs():
  plan = pilot.plan({"strategy": "ila"}, mean_tokens=40.2, candidates=900)
  config = quickstart.get_config()
  exec(plan.text(), {"config": config})
  values = config.laboratory.to_dict()
  made = checked.build(laboratory.Laboratory, values, "config.laboratory")
  arms = made.choices(selection.Select())
  planned = runs.planned(arms, made)
  assert len(planned) == 9  # Three of random, and two arms of each draw.
  assert {one.budget for one in planned} == {10050}
  assert arms["chosen"].strategy == "ila"
  found = pilot.told(plan, candidates=900, strategy="ila")
  assert found.detail["config"] == plan.text()


def test_a_pool_may_be_too_small_for_it():
  assert pilot.plan({}, mean_tokens=9.0, candidates=499) is None
  found = pilot.told(None, candidates=499, strategy="ila")
  assert (found.verdict, found.number) == (line.UNKNOWN, None)
  assert "has 499 candidates" in found.sentence


def test_chance_is_not_compared_with_itself():
  plan = pilot.plan({"strategy": "random"}, mean_tokens=40.0, candidates=900)
  found = pilot.told(plan, candidates=900, strategy="random")
  assert (found.verdict, found.number) == (line.UNKNOWN, None)
  assert "selects by chance" in found.sentence
  assert not found.detail
