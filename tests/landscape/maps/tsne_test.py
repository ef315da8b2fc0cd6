import jax
import numpy as np
import pytest
from jax import numpy as jnp
from sklearn import datasets

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours
from ila_jax.landscape.maps import affinities, descent, repulsion, tsne

KEY = jax.random.key(0)


def _pairs(x, perplexity):
  """P as the fit takes it, and as a dense float64 matrix."""
  joint = affinities.joint_probabilities(x, perplexity=perplexity)
  return affinities.cut(joint), joint.toarray().astype(np.float64)


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


def _normal(n):
  """Rows without structure, of one length: their map contracts at first."""
  x = np.random.default_rng(0).normal(size=(n, 64))
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("n, dimensions", [(2, 2), (5, 2), (200, 2), (60, 3)])
def test_gradient_and_cost_equal_the_dense_formula(n, dimensions):
  xy = np.random.default_rng(n).normal(size=(n, dimensions)) * 5
  xy = xy.astype(np.float32)
  pairs, p = _pairs(_digits(n), max(1.0, n / 20))
  differences, kernel, q = _dense_q(xy)
  for exaggeration in (1.0, 12.0):
    wanted = 4 * np.einsum(
      "ij,ij,ijk->ik", exaggeration * p - q, kernel, differences
    )
    found = tsne.gradient(jnp.asarray(xy), pairs, exaggeration=exaggeration)
    atol = 1e-7 + 1e-5 * np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, atol=atol)
  cost = tsne.cost(jnp.asarray(xy), pairs)
  np.testing.assert_allclose(cost, _dense_kl(xy, p), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("extent", [1e-9, 1e-4, 3.0, 40.0])
def test_a_grid_gives_the_gradient_and_the_cost(extent):
  n = 500
  xy = np.random.default_rng(0).normal(size=(n, 2)) * extent / 3
  xy = xy.astype(np.float32)
  pairs, p = _pairs(_digits(n), 10.0)
  differences, kernel, q = _dense_q(xy)
  nodes = repulsion.nodes_for(2 * float(np.abs(xy).max()))
  wanted = -4 * np.einsum("ij,ij,ijk->ik", q, kernel, differences)
  found = tsne.gradient(jnp.asarray(xy), pairs, exaggeration=0.0, nodes=nodes)
  error = np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2))
  assert error < 0.01
  cost = tsne.cost(jnp.asarray(xy), pairs, nodes=nodes)
  np.testing.assert_allclose(cost, _dense_kl(xy, p), rtol=1e-4)


def test_gradient_is_the_derivative_of_the_cost():
  xy = jnp.asarray(np.random.default_rng(0).normal(size=(80, 2)), jnp.float32)
  pairs, _ = _pairs(_digits(80), 8.0)
  found = tsne.gradient(xy, pairs)
  wanted = jax.grad(tsne.cost)(xy, pairs)
  np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("exact_below", [0, 10_000])
@pytest.mark.parametrize("axes", [{}, {"data": 2, "fsdp": 2, "tensor": 2}])
@pytest.mark.parametrize("contracts", [False, True])
def test_the_mesh_changes_no_bit(contracts, axes, exact_below, monkeypatch):
  monkeypatch.setattr(tsne, "EXACT_BELOW", exact_below)
  n = 203  # Which no mesh divides.
  x = _normal(n) if contracts else _digits(n)
  one = tsne.fit(x, perplexity=10.0, iterations=90, key=KEY)
  mesh = mesh_lib.make(**axes)
  many = tsne.fit(x, perplexity=10.0, iterations=90, key=KEY, mesh=mesh)
  np.testing.assert_array_equal(many.xy, one.xy)
  np.testing.assert_allclose(many.kl, one.kl, rtol=1e-5)


def test_grid_and_pairs_make_maps_alike(monkeypatch):
  x = _digits(1000)
  exact = tsne.fit(x, key=KEY)
  monkeypatch.setattr(tsne, "EXACT_BELOW", 0)
  gridded = tsne.fit(x, key=KEY)
  p = _pairs(x, 30.0)[1]
  np.testing.assert_allclose(gridded.kl, _dense_kl(gridded.xy, p), rtol=2e-3)
  assert gridded.kl <= 1.01 * exact.kl
  kept = _kept_neighbours(x, exact.xy)
  assert _kept_neighbours(x, gridded.xy) >= kept - 0.01


def test_three_dimensions_cost_less_than_two():
  x = _digits(300)
  two, three = (
    tsne.fit(x, perplexity=15.0, dimensions=m, iterations=300, key=KEY)
    for m in (2, 3)
  )
  assert three.xy.shape == (300, 3)
  assert three.kl < two.kl


def test_same_bits_twice_and_progress_every_fifty_and_phase():
  x = _digits(400)
  calls = []
  options = {"perplexity": 10.0, "iterations": 170}
  first = tsne.fit(
    x, **options, key=KEY, on_progress=lambda *call: calls.append(call)
  )
  second = tsne.fit(x, **options, key=KEY)
  np.testing.assert_array_equal(first.xy, second.xy)
  assert [done for done, _ in calls] == [50, 56, 78, 128, 170]
  assert calls[-1][1] == first.kl == second.kl
  other = tsne.fit(x, **options, key=jax.random.key(1))
  assert not np.array_equal(first.xy, other.xy)


@pytest.mark.parametrize("exact_below", [0, 10_000])
def test_a_map_that_contracts_is_exaggerated_no_more(exact_below, monkeypatch):
  monkeypatch.setattr(tsne, "EXACT_BELOW", exact_below)
  calls = []
  found = tsne.fit(
    _normal(400),
    perplexity=10.0,
    iterations=300,
    key=KEY,
    on_progress=lambda *call: calls.append(call),
  )
  done = [done for done, _ in calls]
  # Of the 100 iterations with exaggeration few are taken; in all no fewer.
  assert done[0] < 50
  steps = np.diff(done)
  assert steps.max() == 50
  assert exact_below == 0 or np.all(steps[1:-1] == 50)
  assert done[-1] == 300
  # When it ends all points are in one place as yet.
  assert calls[0][1] == pytest.approx(found.kl_of_one_place, rel=1e-3)
  assert found.kl < 0.8 * found.kl_of_one_place
  width = np.std(found.xy, axis=0)
  assert width.min() > 0.5 * width.max() > 1


def _hubs():
  """Round clouds in many dimensions, where few are neighbours of very many."""
  rng = np.random.default_rng(0)
  middle = rng.normal(size=(3, 1, 384))
  x = (middle + 0.5 * rng.normal(size=(3, 1000, 384))).reshape(3000, -1)
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_hubs_are_not_thrown_out_of_the_map():
  x = _hubs()
  joint = affinities.joint_probabilities(x, perplexity=30.0)
  # A hub has 14 times a mean share of P.
  assert joint.sum(axis=1).max() * len(x) > 3 * descent.HUB
  pairs, layout = affinities.cut(joint), descent.Layout(len(x), 192, None)
  state = tsne._start(x, 2, KEY, None)
  for phase, _ in tsne._phases(len(x), 1000, least=0.0):
    for call in range(3):
      state, _ = descent.descend(
        state, pairs, phase, 50, call == 0, layout=layout
      )
      distance = np.linalg.norm(state.xy[: len(x)], axis=1)
      # 23 times as far, if all moved at one rate.
      assert distance.max() < 2 * np.quantile(distance, 0.99)


def test_a_map_that_outgrows_its_grid_stops():
  x = _digits(1100)
  pairs, state = _pairs(x, 30.0)[0], tsne._start(x, 2, KEY, None)
  phase = tsne._phases(len(x), 1000, least=0.0)[-1][0]
  most = repulsion.reach(64)
  layout = descent.Layout(len(x), 64, None)
  state, found = descent.descend(
    state, pairs, phase._replace(most=most), 200, True, layout=layout
  )
  assert 1 < found.taken < 200
  assert most < found.extent < 1.1 * most
  # From there on each call takes a step, so that a fit comes to an end.
  _, found = descent.descend(
    state, pairs, phase._replace(most=most), 200, False, layout=layout
  )
  assert found.taken == 1


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
