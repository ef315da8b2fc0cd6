import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import scipy.stats
from jax import numpy as jnp
from sklearn import datasets

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours
from ila_jax.landscape.maps import affinities


def _digits(n):
  return (datasets.load_digits().data[:n] / 16).astype(np.float32)


def _dense(pairs, n):
  p = np.zeros((n, n))
  rows = np.broadcast_to(np.asarray(pairs.point)[:, None], pairs.other.shape)
  np.add.at(p, (rows, pairs.other), np.asarray(pairs.probability, np.float64))
  return p


def test_perplexity_is_met():
  x = _digits(400)
  found = neighbours.nearest(x, x, k=90, same=True)
  p = affinities.conditional_probabilities(found.squared, 30.0)
  entropy = scipy.stats.entropy(np.asarray(p, np.float64), axis=1)
  np.testing.assert_allclose(entropy, np.log(30), atol=1e-4)
  np.testing.assert_allclose(np.sum(p, axis=1), 1, atol=1e-5)


def test_kernel_does_not_depend_on_the_unit_of_distance():
  x = _digits(60)
  squared = neighbours.nearest(x, x, k=30, same=True).squared
  small, large = (
    affinities.conditional_probabilities(squared * scale, 10.0)
    for scale in (2.0**-30, 2.0**30)
  )
  np.testing.assert_allclose(small, large, rtol=1e-5, atol=1e-7)


def test_more_ties_than_perplexity_share_evenly():
  squared = jnp.concatenate([jnp.zeros((1, 8)), jnp.ones((1, 4))], axis=1)
  p = affinities.conditional_probabilities(squared, 3.0)
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
  p = affinities.joint_probabilities(x, perplexity=perplexity).toarray()
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


@pytest.mark.parametrize("axes", [None, {}, {"data": 4, "tensor": 2}])
def test_cut_holds_all_of_p(axes):
  # A hub with 150 neighbours needs five rows, a point without any has one.
  joint = np.zeros((151, 151), np.float32)
  joint[0, 2:] = joint[2:, 0] = np.arange(1, 150)
  mesh = None if axes is None else mesh_lib.make(**axes)
  found = affinities.cut(scipy.sparse.csr_array(joint), mesh=mesh)
  np.testing.assert_array_equal(_dense(found, 192)[:151, :151], joint)
  assert np.asarray(found.point)[:5].tolist() == [0] * 5


def test_attraction_equals_the_dense_sum():
  rng = np.random.default_rng(0)
  joint = rng.random((70, 70)) * (rng.random((70, 70)) < 0.7)
  xy = rng.normal(size=(70, 2)).astype(np.float32)
  pairs = affinities.cut(scipy.sparse.csr_array(joint.astype(np.float32)))
  found = affinities.attraction(jnp.asarray(xy), pairs, first=0, points=70)
  away = xy[:, None].astype(np.float64) - xy
  weight = joint / (1 + (away**2).sum(-1))
  wanted = (weight[..., None] * away).sum(1)
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
