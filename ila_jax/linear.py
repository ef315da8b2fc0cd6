"""Linear maps: y = (x - mean) @ axes, along principal axes or random ones."""

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from ila_jax import neighbours, principal, row_blocks


def fit_principal(
  x: Float[Array | np.ndarray, "n d"], *, dimensions: int
) -> tuple[dict[str, Array], dict[str, float]]:
  """Axes that keep most of the variance.

  Args:
    x: embeddings, float32.
    dimensions: of the map.

  Returns:
    Arrays for `place`, and notes: `variance_share`, what is kept of it.

  >>> x = np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]], np.float32)
  >>> fit_principal(x, dimensions=2)[1]
  {'variance_share': 1.0}
  """
  mean, axes = principal.principal_axes(x, dimensions=dimensions)
  arrays = {"mean": mean, "axes": axes}
  captured = jnp.var(place(x, arrays), axis=0).sum()
  total = jnp.var(x, axis=0).sum()
  share = jnp.where(total > 0, captured / total, 1.0)
  return arrays, {"variance_share": float(share)}


def fit_random(
  x: Float[Array | np.ndarray, "n d"], *, dimensions: int, key: Array
) -> tuple[dict[str, Array], dict[str, float]]:
  """Gaussian axes, which keep squared distances on average.

  Args:
    x: embeddings, float32; only their mean counts.
    dimensions: of the map.
    key: a `jax.random.key`.

  Returns:
    Arrays for `place`, and no notes.

  >>> arrays, _ = fit_random(jnp.eye(3), dimensions=2, key=jax.random.key(0))
  >>> arrays["axes"].shape
  (3, 2)
  """
  axes = jax.random.normal(key, (x.shape[1], dimensions))
  axes = axes / jnp.sqrt(jnp.float32(dimensions))
  return {"mean": jnp.mean(x, axis=0), "axes": axes}, {}


def place(
  x: Float[Array | np.ndarray, "n d"], arrays: dict[str, Array]
) -> Float[Array, "n m"]:
  """Positions of embeddings; rows may be sharded over a mesh.

  >>> arrays = {"mean": jnp.array([1.0, 0.0]), "axes": jnp.eye(2)}
  >>> place(np.array([[3.0, 4.0]]), arrays).tolist()
  [[2.0, 4.0]]
  """
  x = jnp.asarray(x, jnp.float32)
  return row_blocks.apply(_place_rows, x, arrays["mean"], arrays["axes"])


def _place_rows(rows, mean, axes):
  return jnp.dot(rows - mean[None], axes, precision=neighbours.EXACT)
