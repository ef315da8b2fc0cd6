"""What arms choose from and by, on the pool of the selection's tests."""

import numpy as np

from ila_jax.laboratory import choices, runs
from ila_jax.selection import needs, scored_pool
from tests.selection import stage_test as selected
from tests.support import tiny

workdir = selected.workdir
ARMS = {
  "plain": {"strategy": "ila"},
  "weighed": {"strategy": "ila", "cell_weight": 1.0},
  "relative": {
    "strategy": "ila",
    "options": {"ila": {"rank_by": "relative_depth"}},
  },
}
_SETTINGS = {
  "select__budget": 60.0,
  "select__unit": "examples",
  "laboratory__arms": ARMS,
  "laboratory__draw_share": 0.5,
}


def _choices(workdir, **overrides):
  config = tiny.config("none", **(_SETTINGS | overrides))
  run = tiny.run(config, workdir)
  return choices.Choices(run, needs.laboratory_of(config))


def _selected(workdir, fields):
  """The order of a run whose own selection has these fields."""
  given = {f"select__{field}": value for field, value in fields.items()}
  run = tiny.run(tiny.config("none", **(_SETTINGS | given)), workdir)
  pool = scored_pool.weighed(run, scored_pool.load(run))
  return scored_pool.rank(run.config, pool, "ila").order.tolist()


def test_an_arm_chooses_as_a_selection_with_its_fields(workdir):
  """Where a draw has all candidates."""
  made = _choices(workdir, laboratory__draw_share=1.0)
  orders = {name: _selected(workdir, arm) for name, arm in ARMS.items()}
  heads = {}
  for name, order in orders.items():
    rows = made.of(runs.Planned(name, "examples", 2000, 0)).rows.tolist()
    assert rows == order[: len(rows)], name
    heads[name] = set(rows)
  assert heads["plain"] != heads["weighed"] != heads["relative"]
  assert heads["plain"] != heads["relative"]


def test_each_draw_has_candidates_of_its_own(workdir):
  made = _choices(workdir)
  every = made.pool.candidates.candidate
  first, second = made._drawn(0), made._drawn(1)
  for drawn in (first, second):
    assert not (drawn.candidate & ~every).any()
    assert 0.4 < drawn.candidate.sum() / every.sum() < 0.6
  both = (first.candidate & second.candidate).sum() / first.candidate.sum()
  assert 0.35 < both < 0.65  # Neither knows of the other.
  assert (first.uniform != second.uniform).mean() > 0.99
  # A draw goes by its number and by the seed of the run.
  again = _choices(workdir, seed=1)._drawn(0)
  np.testing.assert_array_equal(again.candidate, second.candidate)
  np.testing.assert_array_equal(again.uniform, second.uniform)
