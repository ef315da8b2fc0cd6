import jax
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import threadpoolctl
from jax import numpy as jnp
from sklearn import datasets, manifold

from ila_jax import errors, neighbours, tsne

KEY = jax.random.key(0)


def _dense_p(pairs, n):
  """The sparse P as a float64 matrix."""
  p = np.zeros((n, n))
  rows = np.broadcast_to(np.asarray(pairs.point)[:, None], pairs.other.shape)
  np.add.at(p, (rows, pairs.other), np.asarray(pairs.probability, np.float64))
  return p


def _dense_q(xy):
  """Student kernel w and Q = w / Z, straight from the definition."""
  xy = np.asarray(xy, np.float64)
  differences = xy[:, None] - xy[None]
  kernel = 1 / (1 + (differences**2).sum(-1))
  np.fill_diagonal(kernel, 0)
  return differences, kernel, kernel / kernel.sum()


def _dense_kl(xy, p):
  q = _dense_q(xy)[2]
  real = p > 0
  return float(np.sum(p[real] * np.log(p[real] / q[real])))


def _kept_neighbours(x, xy, k=10):
  before = np.asarray(neighbours.nearest(x, x, k=k, same=True).index)
  after = np.asarray(neighbours.nearest(xy, xy, k=k, same=True).index)
  shared = [
    len(np.intersect1d(a, b)) for a, b in zip(before, after, strict=True)
  ]
  return np.mean(shared) / k


def _digits(n):
  return (datasets.load_digits().data[:n] / 16).astype(np.float32)


def test_perplexity_is_met():
  x = _digits(400)
  found = neighbours.nearest(x, x, k=90, same=True)
  p = tsne.conditional_probabilities(found.squared, perplexity=30.0)
  entropy = scipy.stats.entropy(np.asarray(p, np.float64), axis=1)
  np.testing.assert_allclose(entropy, np.log(30), atol=1e-4)
  np.testing.assert_allclose(np.sum(p, axis=1), 1, atol=1e-5)


def test_kernel_does_not_depend_on_the_unit_of_distance():
  x = _digits(60)
  squared = neighbours.nearest(x, x, k=30, same=True).squared
  small, large = (
    tsne.conditional_probabilities(squared * scale, perplexity=10.0)
    for scale in (2.0**-30, 2.0**30)
  )
  np.testing.assert_allclose(small, large, rtol=1e-5, atol=1e-7)


def test_more_ties_than_perplexity_share_evenly():
  squared = jnp.concatenate([jnp.zeros((1, 8)), jnp.ones((1, 4))], axis=1)
  p = tsne.conditional_probabilities(squared, perplexity=3.0)
  np.testing.assert_allclose(p[0], [1 / 8] * 8 + [0] * 4, atol=1e-6)


def _calibrated(squared, perplexity):
  """One row of p_j|i in float64, by SciPy's root finder."""

  def kernel(log_precision):
    weight = np.exp(-np.exp(log_precision) * (squared - squared.min()))
    return weight / weight.sum()

  def excess(log_precision):
    return scipy.stats.entropy(kernel(log_precision)) - np.log(perplexity)

  return kernel(scipy.optimize.brentq(excess, -10, 10))


def test_joint_probabilities_equal_the_formula():
  n, perplexity = 150, 20.0
  x = np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)
  p = _dense_p(tsne.joint_probabilities(x, perplexity=perplexity), n)
  squared = ((x[:, None].astype(np.float64) - x[None]) ** 2).sum(-1)
  np.fill_diagonal(squared, np.inf)
  conditional = np.zeros((n, n))
  for i in range(n):
    near = np.argsort(squared[i])[:61]
    conditional[i, near] = _calibrated(squared[i, near], perplexity)
  wanted = (conditional + conditional.T) / (2 * n)
  np.testing.assert_allclose(p, wanted, atol=1e-4 * wanted.max())
  np.testing.assert_array_equal(p, p.T)
  np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("n", [2, 5, 200])
def test_gradient_and_cost_equal_the_dense_formula(n):
  xy = np.random.default_rng(n).normal(size=(n, 2)).astype(np.float32) * 5
  x = _digits(n)
  pairs = tsne.joint_probabilities(x, perplexity=max(1.0, n / 20))
  p = _dense_p(pairs, n)
  differences, kernel, q = _dense_q(xy)
  for exaggeration in (1.0, 12.0):
    wanted = 4 * np.einsum(
      "ij,ij,ijk->ik", exaggeration * p - q, kernel, differences
    )
    found = tsne.gradient(
      jnp.asarray(xy), pairs, exaggeration=jnp.float32(exaggeration)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
  cost = tsne.cost(jnp.asarray(xy), pairs)
  np.testing.assert_allclose(cost, _dense_kl(xy, p), rtol=1e-5, atol=1e-6)


def test_gradient_is_the_derivative_of_the_cost():
  xy = jnp.asarray(np.random.default_rng(0).normal(size=(80, 2)), jnp.float32)
  pairs = tsne.joint_probabilities(_digits(80), perplexity=8.0)
  found = tsne.gradient(xy, pairs, exaggeration=jnp.float32(1))
  wanted = jax.grad(tsne.cost)(xy, pairs)
  np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_many_blocks_equal_one(monkeypatch):
  xy = jnp.asarray(np.random.default_rng(0).normal(size=(83, 2)), jnp.float32)
  pairs = tsne.joint_probabilities(_digits(83), perplexity=8.0)
  one = tsne.gradient(xy, pairs, exaggeration=jnp.float32(1))
  monkeypatch.setattr(neighbours, "BLOCK_FLOATS", 83 * 10)
  many = tsne.gradient(xy, pairs, exaggeration=jnp.float32(1))
  np.testing.assert_allclose(many, one, atol=1e-7)


def test_map_is_as_good_as_sklearns():
  x = _digits(1000)
  n = len(x)
  ours = tsne.fit(x, perplexity=30.0, key=KEY)
  with threadpoolctl.threadpool_limits(
    1
  ):  # Its threads spin on a busy machine.
    rival = manifold.TSNE(perplexity=30, init="pca", random_state=0)
    theirs = rival.fit_transform(x)
  p = _dense_p(tsne.joint_probabilities(x, perplexity=30.0), n)
  np.testing.assert_allclose(ours.kl, _dense_kl(ours.xy, p), rtol=1e-4)
  assert ours.kl <= 1.01 * _dense_kl(theirs, p)
  assert _kept_neighbours(x, ours.xy) >= _kept_neighbours(x, theirs) - 0.01


def test_same_bits_twice_and_progress_every_fifty():
  x = _digits(100)
  calls = []
  first = tsne.fit(
    x, iterations=170, key=KEY, on_progress=lambda *call: calls.append(call)
  )
  second = tsne.fit(x, iterations=170, key=KEY)
  np.testing.assert_array_equal(first.xy, second.xy)
  assert [done for done, _ in calls] == [50, 56, 106, 156, 170]
  assert calls[-1][1] == first.kl == second.kl
  other = tsne.fit(x, iterations=170, key=jax.random.key(1))
  assert not np.array_equal(first.xy, other.xy)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 50])
def test_small_pools_have_a_map(n):
  found = tsne.fit(_digits(n), perplexity=30.0, iterations=300, key=KEY)
  assert found.xy.shape == (n, 2)
  assert np.all(np.isfinite(found.xy))
  assert np.isfinite(found.kl)
  # What was possible is used, and said.
  assert found.perplexity == pytest.approx(min(30, max((n - 1) / 3, 1)))
  assert len(np.unique(found.xy, axis=0)) == n


@pytest.mark.parametrize("distinct", [1, 3])
def test_duplicates_stay_finite_and_together(distinct):
  x = np.repeat(_digits(distinct), 60 // distinct, axis=0)
  found = tsne.fit(x, perplexity=10.0, iterations=300, key=KEY)
  assert np.all(np.isfinite(found.xy))
  assert np.isfinite(found.kl)
  group = np.repeat(np.arange(distinct), 60 // distinct)
  nearest = np.asarray(
    neighbours.nearest(found.xy, found.xy, k=1, same=True).index
  )
  np.testing.assert_array_equal(group[nearest[:, 0]], group)


def test_no_iterations_is_the_start():
  found = tsne.fit(_digits(200), iterations=0, key=KEY)
  np.testing.assert_allclose(np.std(found.xy[:, 0]), 1e-4, rtol=0.01)


@pytest.mark.parametrize(
  "bad, message",
  [
    ({"perplexity": 0.5}, r"perplexity .* is 0\.5; allowed: 1 or more"),
    ({"perplexity": float("nan")}, "perplexity .* is nan"),
    ({"iterations": -1}, "iterations .* are -1; allowed: 0 or more"),
  ],
)
def test_bad_settings_are_named(bad, message):
  with pytest.raises(errors.InputError, match=message):
    tsne.fit(_digits(10), key=KEY, **bad)
