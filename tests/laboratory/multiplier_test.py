"""What a gain is worth in data."""

import numpy as np

from ila_jax.laboratory import multiplier


def test_a_law_is_inverted():
  """On a curve L = a - b log m, a gain of b log 2 is twice the data."""
  multiples = np.array([0.5, 1.0, 2.0, 4.0])
  curve = (3 - 0.2 * np.log(multiples))[None].repeat(3, axis=0)
  loss = 3 - 0.2 * np.log([0.7, 2.0, 3.3])
  found = multiplier.multiplier(loss, curve, multiples)
  np.testing.assert_allclose(found, [0.7, 2.0, 3.3])


def test_ends_and_a_curve_that_rises():
  multiples = np.array([1.0, 2.0, 4.0])
  curve = np.array([[3.0, 3.1, 2.9]] * 3)
  found = multiplier.multiplier(np.array([9.0, 2.95, 1.0]), curve, multiples)
  np.testing.assert_allclose(found, [1.0, 2 * np.sqrt(2), 4.0])
