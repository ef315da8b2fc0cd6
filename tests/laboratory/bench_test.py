"""How a run of the laboratory is trained."""

import types

import pytest

from ila_jax import errors
from ila_jax.laboratory import bench, runs
from tests.support import tiny


def _recipe(planned, done=None, **overrides):
  run = types.SimpleNamespace(config=tiny.config("none", **overrides))
  some = types.SimpleNamespace(run=run)
  return bench.Bench._recipe(some, planned, done or {})


def test_each_draw_is_trained_with_a_seed_of_its_own():
  for seed, draw in ((0, 0), (0, 1), (7, 2)):
    recipe = _recipe(runs.Planned("ours", "tokens", 300, draw), seed=seed)
    assert recipe.seed == seed + draw
    assert (recipe.epochs, recipe.total_steps) == (1.0, None)


def test_equal_steps_are_those_of_the_random_subset_of_the_draw():
  planned = runs.Planned("ours", "steps", 300, 2)
  done = {f"random-tokens-300-{n}": {"steps": 7 + n} for n in range(3)}
  recipe = _recipe(planned, done, seed=5)
  assert (recipe.epochs, recipe.total_steps, recipe.seed) == (None, 9, 7)
  with pytest.raises(errors.NotFiniteError, match="random subset failed"):
    _recipe(planned, {"random-tokens-300-2": {"failed": "nan"}})
