import numpy as np
import pytest

from ila_jax.compute import mesh, row_blocks
from ila_jax.landscape.maps import linear


@pytest.mark.parametrize("n", [3, 50, 2 * row_blocks.ROWS + 9])
@pytest.mark.parametrize("dimensions", [2, 5])
def test_axes_equal_svd(n, dimensions):
  rng = np.random.default_rng(0)
  # Far from 0, and with variances that are far from each other.
  x = rng.normal(size=(n, 7)) * 3.0 ** np.arange(7) + 20
  x = x.astype(np.float32)
  mean, axes = linear.principal_axes(x, dimensions=dimensions)
  np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-4)
  exact = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
  real = min(dimensions, n - 1)
  wanted = np.linalg.svd(exact, full_matrices=False)[2][:real].T
  largest = wanted[np.abs(wanted).argmax(axis=0), np.arange(real)]
  np.testing.assert_allclose(
    axes[:, :real], wanted * np.sign(largest), atol=2e-3
  )


def test_axes_that_do_not_exist_are_0():
  x = np.random.default_rng(0).normal(size=(40, 1)).astype(np.float32)
  axes = np.asarray(linear.principal_axes(x, dimensions=3)[1])
  np.testing.assert_array_equal(axes, [[1, 0, 0]])


def test_eight_devices_equal_one():
  rng = np.random.default_rng(0)
  x = (rng.normal(size=(8 * 1500, 6)) * np.arange(1, 7)).astype(np.float32)
  one = linear.principal_axes(x, dimensions=3)
  many = linear.principal_axes(mesh.put(x, mesh.make()), dimensions=3)
  for ours, theirs in zip(many, one, strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
