"""The designed subsets: their sizes, levels, and what they do not depend on."""

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.methods import candidates as candidates_lib
from ila_jax.scaling import design


def _pool(n=2000, cells=60, seed=0):
  rng = np.random.default_rng(seed)
  return {
    "cell": rng.integers(0, cells, n).astype(np.int32),
    "relative_depth": ((rng.permutation(n) + 0.5) / n).astype(np.float32),
    "n_tokens": rng.integers(1, 300, n).astype(np.int32),
    "domain": rng.integers(0, 5, n).astype(np.int32),
    "uniform": rng.random(n),
    "candidate": rng.random(n) < 0.9,
  }


def _candidates(pool):
  """The pool as `design` takes it; ids and depths have no part in it."""
  n = len(pool["cell"])
  columns = {name: v for name, v in pool.items() if name != "uniform"}
  made = candidates_lib.Candidates(
    ids=np.arange(n, dtype=np.uint64),
    depth=pool["relative_depth"],
    seed=0,
    **columns,
  )
  vars(made).update(uniform=pool["uniform"], uniform_across=pool["uniform"])
  return made


def _design(pool, **changes):
  settings = {
    "subsets": 12,
    "held_out": 4,
    "sizes": (300, 100, 200),
    "min_cell_share": 0.25,
    "depth_band": 1 / 3,
    "seed": 3,
  }
  return design.design(_candidates(pool), **(settings | changes))


def _measured(pool, subset):
  return design.measure(_candidates(pool), subset.rows)


def test_every_subset_has_its_size_and_only_candidates():
  pool = _pool()
  made = _design(pool)
  assert len({subset.name for subset in made}) == len(made) == 16
  assert [subset.in_design for subset in made] == [True] * 12 + [False] * 4
  for subset in made:
    assert subset.rows.size == subset.levels["size"]
    assert subset.rows.size in (100, 200, 300)
    assert np.unique(subset.rows).size == subset.rows.size
    assert pool["candidate"][subset.rows].all()


def test_measured_coverage_and_depth_follow_the_levels():
  pool = _pool()
  made = [s for s in _design(pool, subsets=36) if s.in_design]
  coverage = [_measured(pool, s)["coverage"] for s in made]
  depth = [_measured(pool, s)["depth"] for s in made]
  share = [s.levels["cell_share"] for s in made]
  centre = [s.levels["depth_centre"] for s in made]
  assert np.corrcoef(coverage, share)[0, 1] > 0.9
  assert np.corrcoef(depth, centre)[0, 1] > 0.9
  assert abs(np.corrcoef(np.log(coverage), np.log(depth))[0, 1]) < 0.3


def test_restricted_cells_bound_the_coverage():
  pool = _pool(n=6000)
  for subset in _design(pool, held_out=0):
    allowed = np.ceil(subset.levels["cell_share"] * 60) / 60
    assert _measured(pool, subset)["coverage"] <= allowed


def test_order_of_reading_changes_nothing():
  pool = _pool()
  turn = np.random.default_rng(9).permutation(pool["cell"].size)
  turned = {name: values[turn] for name, values in pool.items()}
  for one, other in zip(_design(pool), _design(turned), strict=True):
    np.testing.assert_array_equal(one.rows, np.sort(turn[other.rows]))


def test_seed_decides_and_fewer_subsets_are_a_prefix():
  pool = _pool()
  made = _design(pool)
  for one, other in zip(
    made, _design(pool, subsets=6, held_out=0), strict=False
  ):
    np.testing.assert_array_equal(one.rows, other.rows)
  changed = _design(pool, seed=4)
  assert not np.array_equal(made[0].rows, changed[0].rows)


def test_held_out_kinds_are_what_they_say():
  pool = _pool()
  random, longest, skewed, again = _design(pool, subsets=0)
  assert [s.kind for s in (random, longest, skewed)] == list(
    design.HELD_OUT_KINDS
  )
  assert again.kind == "random" and again.rows.size == 100
  candidates = np.flatnonzero(pool["candidate"])
  rest = np.setdiff1d(candidates, longest.rows)
  assert pool["n_tokens"][longest.rows].min() >= pool["n_tokens"][rest].max()
  shares = np.sort(np.bincount(pool["domain"][skewed.rows], minlength=5)) / 300
  assert shares[-1] > 0.4 and shares[0] < 0.1
  drawn = np.bincount(pool["domain"][random.rows], minlength=5) / 300
  assert np.abs(drawn - 0.2).max() < 0.1


def test_whole_pool_and_single_example():
  pool = _pool(n=40, cells=7)
  everything = int(pool["candidate"].sum())
  whole = _design(pool, sizes=(everything,), subsets=2)
  for subset in whole:
    np.testing.assert_array_equal(
      subset.rows, np.flatnonzero(pool["candidate"])
    )
  for subset in _design(pool, sizes=(1,)):
    assert subset.rows.size == 1


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"sizes": (9, 5000)}, r"config\.scaling\.sizes is \(9, 5000\); .*to 1"),
    ({"sizes": (0, 9)}, r"config\.scaling\.sizes is \(0, 9\); .*from 1 to"),
    ({"sizes": ()}, r"config\.scaling\.sizes is \(\)"),
    ({"subsets": -1}, r"config\.scaling\.subsets is -1"),
    ({"held_out": -1}, r"config\.scaling\.held_out is -1"),
    ({"depth_band": 0.0}, r"config\.scaling\.depth_band is 0\.0"),
    ({"min_cell_share": 1.5}, r"config\.scaling\.min_cell_share is 1\.5"),
  ],
)
def test_bad_settings_are_named(changes, message):
  with pytest.raises(errors.InputError, match=message):
    _design(_pool(), **changes)


def test_sizes_that_nothing_is_designed_by_do_not_count():
  assert _design(_pool(), subsets=0, held_out=0, sizes=(5000,)) == []


def test_empty_pool_is_named():
  pool = {name: values[:0] for name, values in _pool().items()}
  with pytest.raises(errors.InputError, match=r"scaling\.sizes"):
    _design(pool)


def test_measure_against_sets():
  pool = _pool()
  rows = _design(pool)[0].rows
  found = _measured(pool, _design(pool)[0])
  cells = {int(pool["cell"][row]) for row in rows}
  assert found["coverage"] == len(cells) / len(set(pool["cell"].tolist()))
  assert found["tokens"] == sum(int(pool["n_tokens"][row]) for row in rows)
  mean = sum(float(pool["relative_depth"][row]) for row in rows) / len(rows)
  assert found["depth"] == pytest.approx(mean, rel=1e-12)
  empty = design.measure(_candidates(pool), rows[:0])
  assert empty == {"coverage": 0.0, "depth": 0.0, "tokens": 0, "n": 0}
