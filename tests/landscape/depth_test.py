"""Depth: Equation 5 by hand, quantiles by SciPy, length by invariance."""

import numpy as np
import pytest
from scipy import stats

from ila_jax import errors
from ila_jax.landscape import depth


def _pool(n, seed=0, domains=3):
  rng = np.random.default_rng(seed)
  n_tokens = rng.integers(1, 400, n)
  return {
    "nll_base": rng.gamma(2.0, 1.0, n) * n_tokens,
    "nll_sft": rng.gamma(2.0, 0.8, n) * n_tokens,
    "n_tokens": n_tokens,
    "n_labels": rng.integers(1, 4, n),
    "domain": rng.integers(0, domains, n),
  }


def test_equation_5_by_hand():
  got = depth.ila(
    nll_base=np.array([30.0, 12.0, 8.0]),
    nll_sft=np.array([20.0, 15.0, 8.0]),
    n_tokens=np.array([4, 6, 1]),
    n_labels=np.array([1, 2, 5]),
    domain=np.array([0, 1, 0]),
  )
  # 10/4*1; -3/6*2: tuning hurt; 0/1*5
  np.testing.assert_array_equal(got, [2.5, -1.0, 0.0])
  assert got.dtype == np.float32


def test_infinity_instruct_by_hand():
  got = depth.infinity_instruct(
    nll_base=np.array([8.0, 6.0, 8.0, np.nan]),
    nll_sft=np.full(4, np.nan),  # Of no use.
    n_tokens=np.array([4, 3, 2, 1]),
    n_labels=np.array([3, 1, 1000, 2]),
    domain=np.zeros(4, int),
  )
  # 2 nats times log 3, then log 1; 4 nats times log 1000; no loss, no depth.
  wanted = [2.1972246, 0.0, 27.631021, np.nan]
  np.testing.assert_allclose(got, wanted, rtol=1e-6)
  assert got.dtype == np.float32


def test_a_depth_of_labels_wants_labels():
  with pytest.raises(errors.InputError, match="no example of the pool has mo"):
    depth.check_labels("infinity_instruct", np.array([1, 1]))
  depth.check_labels("infinity_instruct", np.array([1, 2]))
  assert not depth.is_of_tuned("infinity_instruct")


def test_mean_over_references_is_the_depth_of_the_mean_and_so_the_std():
  pool = _pool(200)
  rng = np.random.default_rng(1)
  nlls = pool["nll_sft"] * rng.uniform(0.9, 1.1, (3, 200))
  each = [depth.ila(**(pool | {"nll_sft": nll})) for nll in nlls]
  together = depth.ila(**(pool | {"nll_sft": nlls.mean(0)}))
  np.testing.assert_allclose(together, np.mean(each, 0), rtol=1e-4, atol=1e-5)
  std = depth.ila_std(nlls.std(0), pool["n_tokens"], pool["n_labels"])
  np.testing.assert_allclose(std, np.std(each, 0), rtol=1e-3, atol=1e-5)


def test_nan_loss_stays_nan_and_is_never_ranked():
  pool = _pool(5)
  pool["nll_sft"][2] = np.nan
  got = depth.ila(**pool)
  np.testing.assert_array_equal(np.isnan(got), [0, 0, 1, 0, 0])
  with pytest.raises(ValueError, match="NaN cannot be ranked"):
    depth.ila_length(**pool)
  with pytest.raises(ValueError, match="NaN cannot be ranked"):
    depth.relative_depth(got, pool["domain"])


@pytest.mark.parametrize("name", sorted(depth.DEPTHS))
def test_no_token_and_no_label_raise(name):
  pool = _pool(4)
  for field, match in [("n_tokens", "response token"), ("n_labels", "label")]:
    bad = pool[field].copy()
    bad[1] = 0
    with pytest.raises(ValueError, match=match):
      depth.DEPTHS[name](**(pool | {field: bad}))


def test_relative_depth_is_scipys_percentile_of_score():
  rng = np.random.default_rng(2)
  for _ in range(100):
    n = int(rng.integers(1, 40))
    values = rng.integers(-3, 4, n) / 2 * rng.choice([-1.0, 1.0], n)  # -0.0
    domain = rng.integers(0, 4, n)
    got = depth.relative_depth(values, domain)
    for i in range(n):
      peers = values[domain == domain[i]]
      percentile = stats.percentileofscore(peers, values[i], kind="mean")
      np.testing.assert_allclose(got[i], percentile / 100, rtol=1e-6)
      ranks = (stats.rankdata(peers) - 0.5) / len(peers)
      np.testing.assert_allclose(got[domain == domain[i]], ranks, rtol=1e-6)
  assert got.dtype == np.float32


def test_relative_depth_edges():
  none = np.zeros(0)
  assert depth.relative_depth(none, none.astype(int)).shape == (0,)
  one = depth.relative_depth(np.array([-7.0]), np.array([3]))
  np.testing.assert_array_equal(one, [0.5])
  tied = depth.relative_depth(np.ones(6), np.array([0, 0, 0, 0, 1, 1]))
  np.testing.assert_array_equal(tied, np.full(6, 0.5))


def _deciles(n_tokens, domain):
  """Length bins by SciPy: the decile of the mid-rank inside the domain."""
  bins = np.zeros(len(domain), int)
  for name in np.unique(domain):
    mine = domain == name
    rank = stats.rankdata(n_tokens[mine]) - 0.5
    bins[mine] = np.floor(10 * rank / mine.sum())
  return bins


def test_ila_length_ranks_inside_deciles_of_the_domain():
  pool = _pool(700, seed=3)
  got = depth.ila_length(**pool)
  raw = depth.ila(**pool)
  bins = _deciles(pool["n_tokens"], pool["domain"])
  assert bins.min() == 0
  assert bins.max() == 9
  for name in range(3):
    for decile in range(10):
      mine = (pool["domain"] == name) & (bins == decile)
      want = (stats.rankdata(raw[mine]) - 0.5) / mine.sum()
      np.testing.assert_allclose(got[mine], want, rtol=1e-6)


def test_ila_length_ignores_monotone_changes_inside_a_bin():
  pool = _pool(500, seed=4)
  pool["n_labels"] = np.ones(500, int)
  bins = _deciles(pool["n_tokens"], pool["domain"])
  raw = depth.ila(**pool).astype(np.float64)
  scale = np.array([1, 7, 3, 0.5, 2, 11, 0.3, 1, 5, 2])[bins]
  bent = scale * np.exp(raw / 4) - 3 * bins
  changed = pool | {
    "nll_base": bent * pool["n_tokens"],
    "nll_sft": np.zeros(500),
  }
  np.testing.assert_array_equal(
    depth.ila_length(**pool), depth.ila_length(**changed)
  )
  assert stats.spearmanr(raw, depth.ila(**changed)).statistic < 0.3


@pytest.mark.parametrize("sign", [-1, 1])
def test_ila_length_unlearns_length(sign):
  """Depth that is length and nothing else leaves 1/10 of rank correlation."""
  n_tokens = np.random.default_rng(5).permutation(2000) + 1
  pool = {
    "nll_base": n_tokens * 1.0 * n_tokens * sign,
    "nll_sft": np.zeros(2000),
    "n_tokens": n_tokens,
    "n_labels": np.ones(2000, int),
    "domain": np.zeros(2000, int),
  }
  raw = stats.spearmanr(depth.ila(**pool), n_tokens).statistic
  adjusted = stats.spearmanr(depth.ila_length(**pool), n_tokens).statistic
  np.testing.assert_allclose(raw, sign)
  np.testing.assert_allclose(adjusted, sign * 0.1, atol=0.005)


def test_ila_length_does_not_see_the_order():
  pool = _pool(300, seed=6)
  mix = np.random.default_rng(7).permutation(300)
  mixed = {name: values[mix] for name, values in pool.items()}
  np.testing.assert_array_equal(
    depth.ila_length(**pool)[mix], depth.ila_length(**mixed)
  )


def test_a_depth_that_most_examples_share_is_told():
  half = np.array([1.0, 1.0, 2.0, 3.0])
  assert not depth.sameness(half)
  assert depth.sameness(np.r_[half, 1.0]).startswith("60.0 % of the examples")
  assert not depth.sameness(np.zeros(0))
