"""Principal components: the axes of greatest variance."""

import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from ila_jax import neighbours


def principal_axes(
  x: Float[Array | np.ndarray, "n d"], *, dimensions: int = 2
) -> tuple[Float[Array, " d"], Float[Array, "d m"]]:
  """The mean of x and its first principal axes, largest variance first.

  An axis has length 1 and points so that its largest loading is positive; one
  that does not exist (m > d) is 0. Project by (x - mean) @ axes.

  >>> mean, axes = principal_axes(np.array([[0.0, 2, 1], [0, -2, 1]]))
  >>> mean.tolist(), jnp.abs(axes[:, 0]).tolist()
  ([0.0, 0.0, 1.0], [0.0, 1.0, 0.0])
  """
  x = jnp.asarray(x, jnp.float32)
  mean = jnp.mean(x, axis=0)
  centred = x - mean[None]
  covariance = jnp.dot(centred.T, centred, precision=neighbours.EXACT)
  axes = jnp.linalg.eigh(covariance)[1][:, ::-1][:, :dimensions]
  loading = jnp.take_along_axis(
    axes, jnp.argmax(jnp.abs(axes), axis=0)[None], axis=0
  )
  axes = axes * jnp.sign(loading)
  return mean, jnp.pad(axes, ((0, 0), (0, dimensions - axes.shape[1])))
