"""New points on a fitted map, by the fitted points that are nearest."""

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from ila_jax import neighbours

_NEIGHBOURS = 3


def place(
  x: Float[Array | np.ndarray, "n d"],
  points: Float[Array | np.ndarray, "f d"],
  positions: Float[Array | np.ndarray, "f 2"],
) -> Float[Array, "n 2"]:
  """Mean position of the 3 nearest fitted points, weighted by 1 / d^2.

  The interpolation of Shepard (1968): a fitted point lands on itself, and
  what equals several of them on their mean.

  Args:
    x: embeddings, float32. Rows may be sharded; then so is the answer.
    points: embeddings of the fitted points.
    positions: where these lie on the map.

  >>> points, positions = np.array([[0.0], [3.0]]), np.array([[0.0, 0], [4, 0]])
  >>> place(np.array([[3.0], [1.0]]), points, positions).round(3).tolist()
  [[4.0, 0.0], [0.800000011920929, 0.0]]
  """
  k = min(_NEIGHBOURS, len(points))
  found = neighbours.nearest(x, points, k=k)
  return _interpolate(found, jnp.asarray(positions, jnp.float32))


@jax.jit
def _interpolate(found, positions):
  squared = found.squared[..., None]
  least = jnp.min(squared, axis=1, keepdims=True)
  # 1 / d^2, times the least of them: no division by 0 on a fitted point.
  weight = jnp.where(squared > 0, least / squared, 1.0)
  total = jnp.sum(weight * positions[found.index], axis=1)
  return total / jnp.sum(weight, axis=1)
