"""Linear maps: y = (x - mean) @ axes, along principal axes or random ones."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours, row_blocks


def fit_principal(
  x: Float[Array | np.ndarray, "n d"], *, dimensions: int
) -> tuple[dict[str, Array], dict[str, float]]:
  """Fits the axes that keep most of the variance.

  Args:
    x: embeddings, float32.
    dimensions: of the map.

  Returns:
    Arrays for `place`, and notes: `variance_share`, the share that is kept.

  >>> x = np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]], np.float32)
  >>> fit_principal(x, dimensions=2)[1]
  {'variance_share': 1.0}
  """
  mean, axes = principal_axes(x, dimensions=dimensions)
  arrays = {"mean": mean, "axes": axes}
  captured = jnp.var(place(x, arrays), axis=0).sum()
  total = jnp.var(x, axis=0).sum()
  share = jnp.where(total > 0, captured / total, 1.0)
  return arrays, {"variance_share": float(share)}


def fit_random(
  x: Float[Array | np.ndarray, "n d"], *, dimensions: int, key: Array
) -> tuple[dict[str, Array], dict[str, float]]:
  """Draws Gaussian axes, which keep squared distances on average.

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


def _place_rows(
  rows: Float[Array, "b d"], mean: Float[Array, " d"], axes: Float[Array, "d m"]
) -> Float[Array, "b m"]:
  return jnp.dot(rows - mean[None], axes, precision=neighbours.EXACT)


def principal_axes(
  x: Float[Array | np.ndarray, "n d"], *, dimensions: int = 2
) -> tuple[Float[Array, " d"], Float[Array, "d m"]]:
  """The mean of x and its principal axes, largest variance first.

  An axis has length 1 and points so that its largest loading is positive; one
  that does not exist (more dimensions than d) is 0. Project by (x - mean) @
  axes.

  Args:
    x: embeddings, float32. Rows may be sharded over a mesh; sums over many
      devices round in another order than on one.
    dimensions: m, the number of axes.

  >>> mean, axes = principal_axes(np.array([[0.0, 2, 1], [0, -2, 1]]))
  >>> mean.tolist(), jnp.abs(axes[:, 0]).tolist()
  ([0.0, 0.0, 1.0], [0.0, 1.0, 0.0])
  """
  mesh, axes = mesh_lib.row_sharding(x)
  x = jnp.asarray(x, jnp.float32)
  return _principal_axes(x, dimensions=dimensions, mesh=mesh, axes=axes)


@functools.partial(jax.jit, static_argnames=("dimensions", "mesh", "axes"))
def _principal_axes(
  x: Float[Array, "n d"],
  *,
  dimensions: int,
  mesh: Mesh | None,
  axes: str | tuple[str, ...] | None,
) -> tuple[Float[Array, " d"], Float[Array, "d m"]]:
  """`principal_axes`, compiled, over the rows of all devices."""
  count = len(x)

  def moments(
    x: Float[Array, "p d"],
  ) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
    origin = jnp.zeros(x.shape[1])
    mean = _total(lambda rows: jnp.sum(rows, axis=0), x, origin, axes) / count

    def scatter(rows: Float[Array, "b d"]) -> Float[Array, "d d"]:
      return jnp.dot(rows.T, rows, precision=neighbours.EXACT)

    return mean, _total(scatter, x, mean, axes)

  if mesh is not None:
    moments = jax.shard_map(
      moments,
      mesh=mesh,
      in_specs=PartitionSpec(axes),
      out_specs=PartitionSpec(),
      check_vma=False,
    )
  mean, covariance = moments(x)
  axes = jnp.linalg.eigh(covariance)[1][:, ::-1][:, :dimensions]
  loading = jnp.take_along_axis(
    axes, jnp.argmax(jnp.abs(axes), axis=0)[None], axis=0
  )
  axes = axes * jnp.sign(loading)
  return mean, jnp.pad(axes, ((0, 0), (0, dimensions - axes.shape[1])))


def _total(
  function: Callable[[Float[Array, "b d"]], Float[Array, "..."]],
  x: Float[Array, "p d"],
  mean: Float[Array, " d"],
  axes: str | tuple[str, ...] | None,
) -> Float[Array, "..."]:
  """Sum of a function of centred rows, over all rows of all devices."""

  def block(
    rows: Float[Array, "b d"],
    fresh: Bool[Array, " b"],
    total: Float[Array, "..."],
  ) -> tuple[tuple[()], Float[Array, "..."]]:
    centred = jnp.where(fresh[:, None], rows - mean[None], 0.0)
    return (), total + function(centred)

  shape = jax.eval_shape(function, x).shape
  total = row_blocks.walk(block, x, jnp.zeros(shape))[1]
  return total if axes is None else lax.psum(total, axes)
