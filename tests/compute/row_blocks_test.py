import jax
import numpy as np
import pytest
from jax import numpy as jnp

from ila_jax.compute import mesh, row_blocks

ROWS = row_blocks.ROWS


def _product(rows, weights):
  return jnp.dot(rows, weights, precision="highest")


@pytest.mark.parametrize("n", [0, 1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS - 5])
def test_every_row_is_seen_and_counts_once(n):
  x = np.arange(3.0 * n, dtype=np.float32).reshape(n, 3)
  doubled, total = row_blocks.walk(
    lambda rows, fresh, total: (
      2 * rows,
      total + jnp.sum(rows * fresh[:, None], axis=0),
    ),
    jnp.asarray(x),
    jnp.zeros(3),
  )
  np.testing.assert_array_equal(doubled, 2 * x)
  np.testing.assert_allclose(total, x.sum(axis=0, dtype=np.float64), rtol=1e-6)


def test_a_row_has_the_same_bits_in_any_company():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2200, 96)).astype(np.float32)
  weights = rng.normal(size=(96, 40)).astype(np.float32)
  whole = np.asarray(row_blocks.apply(_product, x, weights))
  np.testing.assert_allclose(whole, x @ weights, atol=1e-4)
  for rows in (slice(0, 1), slice(5, 400), slice(700, 2000)):
    part = row_blocks.apply(_product, x[rows], weights)
    np.testing.assert_array_equal(part, whole[rows])
  order = rng.permutation(len(x))
  mixed = row_blocks.apply(_product, x[order], weights)
  np.testing.assert_array_equal(mixed, whole[order])


@pytest.mark.parametrize("axes", [{}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_eight_devices_equal_one_to_the_bit(axes):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(8 * 1100, 96)).astype(np.float32)
  weights = jax.numpy.asarray(rng.normal(size=(96, 3)), jnp.float32)
  many = row_blocks.apply(_product, mesh.put(x, mesh.make(**axes)), weights)
  one = row_blocks.apply(_product, x, weights)
  np.testing.assert_array_equal(many, one)
  assert not many.sharding.is_fully_replicated
