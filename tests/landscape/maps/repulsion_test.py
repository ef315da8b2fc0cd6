import numpy as np
import pytest
import scipy.interpolate
from jax import numpy as jnp

from ila_jax.landscape.maps import descent, repulsion


def _points(n, extent, seed=0):
  xy = np.random.default_rng(seed).uniform(-extent, extent, (n, 2))
  return xy.astype(np.float32)


def _sums(xy):
  """Force and sum_j w_ij of every point, from the definition."""
  away = xy[:, None].astype(np.float64) - xy
  w = 1 / (1 + (away**2).sum(-1))
  np.fill_diagonal(w, 0)
  return (w[..., None] ** 2 * away).sum(1), w.sum(1)


def test_exact_equals_the_definition_and_skips_filling():
  xy = _points(50, 4.0)
  real = np.arange(50) < 43
  force, kernel = repulsion.exact(
    jnp.asarray(xy[10:20]),
    jnp.arange(10, 20, dtype=jnp.int32),
    jnp.asarray(xy),
    jnp.asarray(real),
  )
  wanted = _sums(xy[:43])
  np.testing.assert_allclose(force, wanted[0][10:20], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(kernel, wanted[1][10:20], rtol=1e-5)


def _on_grid(xy, nodes):
  extent = jnp.float32(np.abs(xy).max())
  kernels = repulsion.kernels(
    repulsion.step_for(extent, nodes=nodes), nodes=nodes
  )
  charges = repulsion.spread(
    jnp.asarray(xy),
    jnp.ones(len(xy), bool),
    kernels.spacing,
    nodes=nodes,
    total=len(xy),
  )
  return charges.astype(jnp.float32) * (len(xy) / 2.0**31), kernels


@pytest.mark.parametrize(
  "extent, nodes, tolerance",
  [(1e-8, 64, 1e-3), (1e-3, 64, 1e-3), (2.0, 64, 1e-3), (30.0, 192, 0.02)],
)
def test_a_grid_gives_force_and_kernel_sums(extent, nodes, tolerance):
  xy = _points(400, extent)
  force, sums = _sums(xy)
  charges, kernels = _on_grid(xy, nodes)
  grid, total = repulsion.field(charges, kernels)
  found = repulsion.force_at(grid, jnp.asarray(xy), kernels.spacing)
  error = np.sqrt(np.mean((found - force) ** 2) / np.mean(force**2))
  assert error < tolerance
  np.testing.assert_allclose(total - 400, sums.sum(), rtol=tolerance)
  potential = repulsion.potential(charges, kernels)
  there = repulsion.force_at(potential, jnp.asarray(xy), kernels.spacing)[:, 0]
  np.testing.assert_allclose(there - 1, sums, rtol=tolerance, atol=0.02)


def test_no_point_pushes_itself():
  charges, kernels = _on_grid(np.array([[0.3, -1.1]], np.float32), 64)
  grid, total = repulsion.field(charges, kernels)
  force = repulsion.force_at(grid, jnp.array([[0.3, -1.1]]), kernels.spacing)
  np.testing.assert_allclose(force, 0, atol=1e-6)
  np.testing.assert_allclose(total, 1, rtol=1e-3)


def test_points_are_spread_by_cubic_splines():
  place = np.array([[0.7, -2.35]], np.float32)
  grid = repulsion.spread(
    jnp.asarray(place), jnp.array([True]), jnp.float32(0.5), nodes=16, total=1
  )
  nodes = 0.5 * (np.arange(16) - 8)
  spline = scipy.interpolate.BSpline.basis_element([-2, -1, 0, 1, 2], False)
  weights = [np.nan_to_num(spline((c - nodes) / 0.5)) for c in place[0]]
  wanted = weights[0][:, None] * weights[1]
  np.testing.assert_allclose(grid / 2.0**31, wanted, atol=1e-6)


def test_products_spread_and_read_like_the_stencil(monkeypatch):
  xy = jnp.asarray(_points(5000, 9.0))
  real = jnp.arange(5000) < 4990
  parts = np.random.default_rng(0).normal(size=(2, 64, 64))
  grid = jnp.asarray(parts[0] + 1j * parts[1], jnp.complex64)
  options = {"nodes": 64, "total": 5000}
  spacing = jnp.float32(0.4)
  charges = repulsion.spread(xy, real, spacing, **options)
  there = repulsion.force_at(grid, xy, spacing)
  monkeypatch.setattr(repulsion, "_by_products", lambda: True)
  found = repulsion.spread(xy, real, spacing, **options)
  unit = 5000 / 2.0**31
  np.testing.assert_allclose(found * unit, charges * unit, atol=1e-4)
  read = repulsion.force_at(grid, xy, spacing)
  np.testing.assert_allclose(read, there, rtol=1e-4, atol=1e-5)


def test_charges_are_the_same_in_any_order_and_in_parts():
  xy = jnp.asarray(_points(1000, 5.0))
  real = jnp.ones(1000, bool)
  options = {"nodes": 64, "total": 1000}
  spacing = jnp.float32(0.25)
  whole = repulsion.spread(xy, real, spacing, **options)
  turned = repulsion.spread(xy[::-1], real, spacing, **options)
  parts = [
    repulsion.spread(xy[i : i + 250], real[:250], spacing, **options)
    for i in range(0, 1000, 250)
  ]
  np.testing.assert_array_equal(turned, whole)
  np.testing.assert_array_equal(sum(parts), whole)
  none = repulsion.spread(xy, ~real, spacing, **options)
  assert not np.any(none)


def test_all_points_on_one_node_do_not_overflow():
  n = 100_000
  grid = repulsion.spread(
    jnp.zeros((n, 2)),
    jnp.ones(n, bool),
    jnp.float32(1.0),
    nodes=16,
    total=n,
  )
  np.testing.assert_allclose(grid[8, 8] / 2.0**31, 4 / 9, rtol=1e-4)


@pytest.mark.parametrize("extent", [0.0, 1e-9, 1e-5, 7.7, 100.0, 5000.0])
def test_the_grid_holds_the_map(extent):
  nodes = repulsion.nodes_for(extent)
  step = int(repulsion.step_for(jnp.float32(extent), nodes=nodes))
  spacing = float(repulsion.kernels(jnp.int32(step), nodes=nodes).spacing)
  assert spacing * (nodes / 2 - 2) >= extent
  if nodes < repulsion.NODES[-1]:
    assert spacing <= repulsion.SPACING


@pytest.mark.parametrize("step", [-200, -1, 0, 30])
def test_every_extent_has_kernels_from_the_first(step):
  # What a loop starts from must not pass for the kernels of some extent.
  none = repulsion.no_kernels(nodes=64)
  extent = 58 / 2 / 16 * 1.1**step * 0.999
  xy = jnp.full((1, 2), extent, jnp.float32)
  layout = descent.Layout(1, 64, None)
  found = descent.kernels_at(xy, layout, none)
  assert int(found.step) == step
  wanted = repulsion.kernels(jnp.int32(step), nodes=64)
  atol = 1e-5 * float(jnp.max(wanted.potential))
  np.testing.assert_allclose(found.potential, wanted.potential, atol=atol)
