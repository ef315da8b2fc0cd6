"""Which runs a laboratory has."""

from ila_jax.laboratory import runs
from ila_jax.sections import laboratory


def _planned(**settings):
  given = {"draws": 2, "budgets": (100, 200), "equal": ("tokens", "lengths")}
  return runs.planned(
    ["random", "a", "b"], laboratory.Laboratory(**(given | settings))
  )


def test_each_run_once_and_after_its_chance():
  planned = _planned()
  names = [run.name for run in planned]
  assert len(set(names)) == len(names)
  # Of a draw: five sizes of chance (50 to 800), two budgets of two arms.
  assert len(names) == 2 * (5 + 2 * 2 * 2)
  for place, run in enumerate(planned):
    if run.arm != "random":
      assert run.chance in planned[:place]


def test_fewer_draws_are_a_head_of_more():
  assert _planned(draws=3)[: len(_planned())] == _planned()
