"""Maps: embeddings to the plane, fitted on a sample and applied to the pool."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from ila_jax import errors, neighbours, principal, tsne


@dataclasses.dataclass(frozen=True)
class Options:
  """What a map may be told; those that have no use for a field ignore it.

  Attributes:
    perplexity: of t-SNE, effective neighbours per point.
    iterations: of t-SNE, gradient steps.
    place_neighbours: of t-SNE, fitted points from which another is placed.
    on_progress: of t-SNE, called with (iterations done, KL) now and then.
  """

  perplexity: float = 30.0
  iterations: int = 750
  place_neighbours: int = 3
  on_progress: Callable[[int, float], None] | None = None


class Projection(NamedTuple):
  """The pool on the map, and what the fit has to say (KL and the like)."""

  xy: Float[Array, "n 2"]
  notes: dict[str, float]


class LinearMap(NamedTuple):
  """y = (x - mean) A."""

  mean: Float[Array, " d"]
  axes: Float[Array, "d 2"]

  def place(self, x: Float[Array | np.ndarray, "n d"]) -> Float[Array, "n 2"]:
    """Applies the map; rows that are sharded stay where they are."""
    return _apply_linear(x, self.mean, self.axes)


class NeighbourMap(NamedTuple):
  """Fitted points, between which others are interpolated."""

  points: Float[Array | np.ndarray, "f d"]
  positions: Float[Array, "f 2"]
  k: int

  def place(self, x: Float[Array | np.ndarray, "n d"]) -> Float[Array, "n 2"]:
    """Mean position of the k nearest fitted points, weighted by 1 / d^2.

    The interpolation of Shepard (1968): a fitted point lands on itself, and
    what equals several of them on their mean.

    >>> positions = jnp.array([[0.0, 0.0], [4.0, 0.0]])
    >>> fitted = NeighbourMap(jnp.array([[0.0], [3.0]]), positions, k=2)
    >>> fitted.place(np.array([[3.0], [1.0]])).round(3).tolist()
    [[4.0, 0.0], [0.800000011920929, 0.0]]
    """
    found = neighbours.nearest(x, self.points, k=self.k)
    return _interpolate(found, self.positions)


Map = LinearMap | NeighbourMap
Fitted = tuple[Map, dict[str, float]]


def fit_pca(x: np.ndarray, key: Array, options: Options) -> Fitted:
  """Principal components: the plane that keeps most of the variance."""
  del key, options
  mean, axes = principal.principal_axes(x)
  captured = jnp.var(_apply_linear(x, mean, axes), axis=0).sum()
  total = jnp.var(x, axis=0).sum()
  share = jnp.where(total > 0, captured / total, 1.0)
  return LinearMap(mean, axes), {"variance_share": float(share)}


def fit_random(x: np.ndarray, key: Array, options: Options) -> Fitted:
  """Gaussian random projection: keeps distances on average, learns nothing."""
  del options
  axes = jax.random.normal(key, (x.shape[1], 2)) / jnp.sqrt(2.0)
  return LinearMap(jnp.mean(x, axis=0), axes), {}


def fit_tsne(x: np.ndarray, key: Array, options: Options) -> Fitted:
  """t-SNE of the fitted points; others are placed by their neighbours."""
  found = tsne.fit(
    x,
    perplexity=options.perplexity,
    iterations=options.iterations,
    key=key,
    on_progress=options.on_progress,
  )
  k = min(options.place_neighbours, len(x))
  notes = {"kl": found.kl, "perplexity": found.perplexity}
  return NeighbourMap(x, found.xy, k), notes


PROJECTIONS = {"pca": fit_pca, "random": fit_random, "tsne": fit_tsne}


def project(
  x: Float[Array | np.ndarray, "n d"],
  *,
  name: str,
  fit_rows: Int[Array | np.ndarray, " f"],
  key: Array,
  options: Options | None = None,
) -> Projection:
  """Fits a map on some rows of the pool and places every row (Section 2.4).

  The answer depends on the order of `fit_rows` (float sums do) and on nothing
  else of the reading order: draw them by id and sort them by id.

  Args:
    x: embeddings, float32. Rows may be sharded over a mesh; then so is the map.
    name: one of PROJECTIONS.
    fit_rows: rows on which the map is fitted.
    key: a `jax.random.key`.
    options: what the map may be told.

  Returns:
    Positions (float32) of all rows, and notes for the manifest: `fitted`, and
    `kl` and the `perplexity` in use of t-SNE, `variance_share` of PCA.

  Raises:
    InputError: unknown name, no row to fit on, or an embedding that is not
      finite.

  >>> x = np.array([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]])
  >>> found = project(
  ...     x, name="pca", fit_rows=np.arange(4), key=jax.random.key(0))
  >>> found.xy[:, 0].tolist(), found.notes["variance_share"]
  ([3.0, -3.0, 0.0, 0.0], 1.0)
  """
  if name not in PROJECTIONS:
    raise errors.InputError(
      f"config.landscape.projection is {name!r}; allowed:"
      f" {', '.join(PROJECTIONS)}."
    )
  if not len(x):
    return Projection(jnp.zeros((0, 2)), {"fitted": 0.0})
  if not len(fit_rows):
    raise errors.InputError(
      f"The map of {len(x)} points has no point to be fitted on; allowed: 1 or"
      " more. Set config.landscape.fit_examples above 0."
    )
  if not bool(jnp.all(jnp.isfinite(x))):
    raise errors.InputError(
      "An embedding holds NaN or infinity; a map needs finite numbers. Check"
      " config.encoder.path."
    )
  # On the host: the fit is then the same with and without a mesh.
  fitted = np.asarray(neighbours.take_whole(x, fit_rows))
  found, notes = PROJECTIONS[name](fitted, key, options or Options())
  return Projection(found.place(x), {"fitted": float(len(fitted)), **notes})


@jax.jit
def _apply_linear(x, mean, axes):
  x = jnp.asarray(x, jnp.float32)
  return jnp.dot(x - mean[None], axes, precision=neighbours.EXACT)


@jax.jit
def _interpolate(found, positions):
  squared = found.squared[..., None]
  least = jnp.min(squared, axis=1, keepdims=True)
  # 1 / d^2, times the least of them: no division by 0 on a fitted point.
  weight = jnp.where(squared > 0, least / squared, 1.0)
  total = jnp.sum(weight * positions[found.index], axis=1)
  return total / jnp.sum(weight, axis=1)
