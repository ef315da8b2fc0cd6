"""Selection: brute force on thousands of small pools, and invariances."""

import dataclasses
import itertools

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.methods import candidates, table
from ila_jax.run import draws
from ila_jax.selection import budget as budget_lib
from ila_jax.selection import lengths
from tests.support import reference_selection as reference


def _pairs(ranking):
  return list(zip(ranking.order.tolist(), ranking.round.tolist(), strict=True))


TIERS = ((2, 3), (1, 2))
CASES = {
  "ila": ({}, 800),
  "coverage_only": ({}, 400),
  "random": ({}, 200),
  "longest": ({}, 200),
  "depth_only": ({}, 200),
  "stratified": ({"tiers": TIERS, "rest": 1}, 400),
}


@pytest.mark.parametrize("n", reference.SIZES)
@pytest.mark.parametrize("name", CASES)
def test_strategy_equals_brute_force(name, n):
  params, cases = CASES[name]
  for seed in range(cases // 4):
    pool = reference.pool(n, seed)
    c = reference.tied_candidates(pool)
    got = table.METHODS[name](c, **params)
    want = getattr(reference, name)(reference.rows(pool, c), **params)
    assert _pairs(got) == want, (name, n, seed)


@pytest.mark.parametrize("n", reference.SIZES)
@pytest.mark.parametrize("quantile", [0.0, 0.25, 1 / 3, 0.5, 0.9, 1.0])
def test_trim_equals_brute_force(quantile, n):
  for seed in range(30):
    pool = reference.pool(n, seed)
    c = reference.tied_candidates(pool)
    got = table.METHODS["trim"](c, quantile=quantile)
    want = reference.trim(reference.rows(pool, c), quantile)
    assert _pairs(got) == want, (n, seed)


@pytest.mark.parametrize("n", reference.SIZES)
@pytest.mark.parametrize("name", ["ila", "depth_only", "stratified"])
def test_rank_by_relative_depth(name, n):
  params = CASES[name][0]
  for seed in range(20):
    pool = reference.pool(n, seed)
    c = reference.tied_candidates(pool)
    got = table.METHODS[name](c, rank_by="relative_depth", **params)
    rows = reference.rows(pool, c, c.relative_depth)
    assert _pairs(got) == getattr(reference, name)(rows, **params)


@pytest.mark.parametrize("name", ["random", "coverage_only", "trim"])
def test_random_strategies_follow_their_seed(name):
  pool = reference.pool(24, 6) | {
    "candidate": np.ones(24, bool),
    "depth": np.ones(24),
  }
  orders = {
    tuple(table.METHODS[name](candidates.candidates(**pool, seed=seed)).order)
    for seed in range(5)
  }
  assert len(orders) == 5


def test_prefixes_of_ila_cover_as_many_cells_as_they_can():
  pool = reference.big_pool()
  ranking = table.METHODS["ila"](candidates.candidates(**pool, seed=0))
  cells = pool["cell"][ranking.order]
  occupied = len(np.unique(cells))
  for k in (0, 1, occupied - 1, occupied, occupied + 1, len(cells)):
    assert len(np.unique(cells[:k])) == min(k, occupied)
  assert (np.diff(ranking.round) >= 0).all()


def test_trim_at_the_ends_is_coverage_only_and_the_deepest():
  pool = reference.big_pool()
  c = candidates.candidates(**pool, seed=0)
  whole = table.METHODS["trim"](c, quantile=0.0)
  assert _pairs(whole) == _pairs(table.METHODS["coverage_only"](c))
  top = table.METHODS["trim"](c, quantile=1.0)
  deepest = np.full(60, -np.inf)
  np.maximum.at(deepest, c.cell[c.candidate], c.depth[c.candidate])
  is_deepest = c.candidate & (c.depth == deepest[c.cell].astype(np.float32))
  k = is_deepest.sum()
  assert set(top.order[:k]) == set(np.flatnonzero(is_deepest))


def test_trim_sets_aside_a_share_of_every_cell_until_the_rest_is_used():
  distinct = np.random.default_rng(1).permutation(4000) * 1.0
  pool = reference.big_pool() | {"depth": distinct}
  c = candidates.candidates(**pool, seed=0)
  order = table.METHODS["trim"](c, quantile=1 / 3).order
  size = np.bincount(c.cell[order])
  kept = size - np.ceil((size - 1) / 3).astype(int) * (size > 0)
  deep = order[: kept.sum()]
  np.testing.assert_array_equal(np.bincount(c.cell[deep]), kept)
  for cell in np.flatnonzero(size):
    mine, all_ = deep[c.cell[deep] == cell], order[c.cell[order] == cell]
    left = np.setdiff1d(all_, mine)
    assert c.depth[left].max(initial=-1) < c.depth[mine].min()


def test_coverage_only_does_not_put_crowded_cells_first():
  """Mean place in round 1 of the crowded half of the cells, over 40 seeds."""
  pool = reference.big_pool() | {"candidate": np.ones(4000, bool)}
  crowd = np.argsort(-np.bincount(pool["cell"], minlength=60))[:30]
  places = []
  for seed in range(40):
    got = table.METHODS["coverage_only"](
      candidates.candidates(**pool, seed=seed)
    )
    first = pool["cell"][got.order[got.round == 1]]
    places.append(np.flatnonzero(np.isin(first, crowd)).mean())
  assert abs(np.mean(places) - 29.5) < 1.5


def test_stratified_with_quotas_of_one_is_ila():
  c = candidates.candidates(**reference.big_pool(), seed=0)
  assert _pairs(table.METHODS["stratified"](c, tiers=())) == _pairs(
    table.METHODS["ila"](c)
  )


def test_stratified_first_cycle_is_the_authors_5_3_1():
  n, cells = 18_000, 2500
  rng = np.random.default_rng(3)
  pool = {
    "ids": rng.permutation(n).astype(np.uint64),
    "cell": np.arange(n) % cells,
    "depth": rng.permutation(n) * 1.0,
    "relative_depth": np.full(n, 0.5),
    "n_tokens": np.ones(n, int),
    "domain": np.zeros(n, int),
    "candidate": np.ones(n, bool),
  }
  order = table.METHODS["stratified"](
    candidates.candidates(**pool, seed=0)
  ).order
  got = np.bincount(pool["cell"][order[: 5000 + 3000 + 500]], minlength=cells)
  deepest = np.zeros(cells)
  np.maximum.at(deepest, pool["cell"], pool["depth"])
  by_depth = np.argsort(-deepest)
  np.testing.assert_array_equal(got[by_depth[:1000]], 5)
  np.testing.assert_array_equal(got[by_depth[1000:2000]], 3)
  np.testing.assert_array_equal(got[by_depth[2000:]], 1)
  # Also a smaller budget covers first.
  assert len(np.unique(pool["cell"][order[:cells]])) == cells


def test_ambiguous_pools_raise():
  pool = reference.pool(9, 0)
  twice = pool["ids"].copy()
  twice[3] = twice[4]
  with pytest.raises(ValueError, match="ids repeat"):
    candidates.candidates(**(pool | {"ids": twice}), seed=0)
  c = candidates.candidates(**pool, seed=0)
  with pytest.raises(ValueError, match="ids repeat"):
    dataclasses.replace(c, ids=np.zeros(9, np.uint64))
  with pytest.raises(ValueError, match="negative cell"):
    dataclasses.replace(c, cell=np.full(9, -1, np.int32))


def test_candidates_carry_two_draws_and_the_rank_of_the_id():
  pool = reference.pool(24, 8)
  c = candidates.candidates(**pool, seed=3)
  assert pool["ids"][np.argsort(c.id_rank)].tolist() == sorted(pool["ids"])
  inside = draws.keyed_uniform(pool["ids"], seed=3, purpose="select")
  np.testing.assert_allclose(c.uniform, inside, rtol=1e-6)
  assert not (c.uniform == c.uniform_across).any()


def test_budget_prefix_equals_a_walk():
  rng = np.random.default_rng(4)
  for _ in range(300):
    n = int(rng.integers(1, 20))
    n_tokens = rng.integers(1, 9, n)
    order = rng.permutation(n)[: rng.integers(1, n + 1)]
    total = int(n_tokens[order].sum())
    for budget in {0, 1, total, int(rng.integers(0, total + 1))}:
      spent, want = 0, 0
      for row in order:
        if spent + n_tokens[row] > budget:
          break
        spent, want = spent + n_tokens[row], want + 1
      assert want == budget_lib.budget_prefix(
        order, n_tokens, budget=budget, unit="tokens"
      )


@pytest.mark.parametrize(
  "budget, unit, want",
  [
    (0, "examples", 0),
    (1, "examples", 1),
    (100.0, "examples", 100),
    (0.0, "fraction", 0),
    (0.29, "fraction", 29),  # 0.29 * 100 is 28.999999999999996
    (0.7, "fraction", 70),
    (1, "fraction", 100),
    (0, "tokens", 0),
    (2.9, "tokens", 0),
    (3, "tokens", 1),
    (300, "tokens", 100),
  ],
)
def test_budget_prefix_units(budget, unit, want):
  order, n_tokens = np.arange(100), np.full(150, 3)
  assert want == budget_lib.budget_prefix(
    order, n_tokens, budget=budget, unit=unit
  )


@pytest.mark.parametrize(
  "budget, unit, match",
  [
    (-5, "examples", "config.select.budget is -5 examples; allowed: 0 to 10"),
    (11, "examples", "budget is 11 examples; allowed: 0 to 10, all 10"),
    (2.5, "examples", "a whole number"),
    (1.01, "fraction", "budget is 1.01 fraction; allowed: 0 to 1"),
    (31, "tokens", "budget is 31 tokens; allowed: 0 to 30"),
    (float("nan"), "tokens", "budget is nan"),
    (1, "words", "unit is 'words'; allowed: examples, tokens, fraction"),
  ],
)
def test_budget_prefix_rejects(budget, unit, match):
  with pytest.raises(errors.InputError, match=match):
    budget_lib.budget_prefix(
      np.arange(10), np.full(15, 3), budget=budget, unit=unit
    )


def test_bad_names_and_values_say_what_is_allowed():
  c = candidates.candidates(**reference.pool(9, 0), seed=0)
  with pytest.raises(errors.InputError, match=r"quantile is 1\.5; allowed: 0 "):
    table.METHODS["trim"](c, quantile=1.5)
  with pytest.raises(errors.InputError, match="rank_by is 'loss'; allowed"):
    table.METHODS["ila"](c, rank_by="loss")


def test_the_most_rows_that_tokens_reach_by_brute_force():
  rng = np.random.default_rng(2)
  for _ in range(200):
    n_tokens = rng.integers(1, 9, rng.integers(1, 8))
    budget = int(rng.integers(0, 40))
    below = max(
      len(rows)
      for k in range(len(n_tokens) + 1)
      for rows in itertools.combinations(n_tokens, k)
      if sum(rows) < budget or not rows
    )
    found = budget_lib.most_rows(n_tokens, budget=budget, unit="tokens")
    # All that do not reach it, and the one that does.
    assert found == min(below + 1, len(n_tokens))
    assert budget_lib.most_rows(n_tokens, budget=budget, unit="examples") == (
      min(budget, len(n_tokens))
    )


def test_length_profile_warns_beyond_a_factor_of_one_and_a_half():
  n_tokens = np.array([10, 20, 30, 40, 50, 30])  # mean 30, median 30
  profile = lengths.length_profile(n_tokens, np.array([4, 3]))
  assert profile == {
    "selected_mean": 45.0,
    "selected_median": 45.0,
    "pool_mean": 30.0,
    "pool_median": 30.0,
    "ratio": 1.5,
    "warning": False,  # not more than 1.5
  }
  longer = lengths.length_profile(n_tokens, np.array([4]))
  shorter = lengths.length_profile(n_tokens, np.array([0, 1]))
  alike = lengths.length_profile(n_tokens, np.arange(6))
  assert [longer["warning"], shorter["warning"], alike["warning"]] == [
    True,
    True,
    False,
  ]
  assert shorter["ratio"] == 0.5
  with pytest.raises(ValueError, match="nothing was selected"):
    lengths.length_profile(n_tokens, np.arange(0))


@pytest.mark.parametrize("name", ["ila", "coverage_only", "trim", "stratified"])
def test_cells_share_the_budget_between_alike_and_by_their_sizes(name):
  """The share of the crowded cells in a tenth of the pool grows with alpha."""
  c = candidates.candidates(**reference.big_pool(), seed=0)
  size = np.bincount(c.cell[c.candidate], minlength=60)
  crowded = size >= np.sort(size)[-15]
  tenth = c.candidate.sum() // 10
  shares = [
    crowded[c.cell[table.METHODS[name](weighed).order[:tenth]]].mean()
    for weighed in (
      candidates.with_power(c, alpha) for alpha in (0.0, 0.5, 1.0)
    )
  ]
  assert shares[0] + 0.1 < shares[1] < shares[2] - 0.1
  assert shares[2] == pytest.approx(size[crowded].sum() / size.sum(), abs=0.02)
  assert table.METHODS[name](candidates.with_power(c, 0.0)).order.tolist() == (
    table.METHODS[name](c).order.tolist()
  )
