"""t-SNE (van der Maaten and Hinton 2008): the map, on one device or a mesh.

The cost is KL(P || Q): P says how likely a point picks another as neighbour
among the embeddings (`affinities`), Q the same on the map, with Student's t
kernel w_ij = 1 / (1 + |y_i - y_j|^2) and Q = w / Z (`repulsion`). On a mesh
every device moves its own points; a step gathers all positions, 8 bytes a
point, and adds up the charges on the grid. All other sums are taken in the same
order whatever the number of devices, so that the map is the same to the bit; on
TPUs, only if they are as many.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours
from ila_jax.landscape.maps import affinities, descent, linear, repulsion

# Below it the sum over all pairs is as fast as a grid.
EXACT_BELOW = 1024
_EXAGGERATION = 12.0
_EXAGGERATION_ITERATIONS = 250
# The exaggerated phase ends where the map is smaller than this share of its
# start. Without clusters a map contracts: until only the slowest direction is
# left of it, a line, and until float32 tells its points apart no more.
_LEAST = 1e-3
_ITERATIONS_PER_CALL = 50  # The host waits and reports between two calls.
_compiled_cost = jax.jit(
  descent.cost,
  static_argnames="layout",
  compiler_options=descent.DETERMINISTIC,
)


class Fit(NamedTuple):
  """A fitted map.

  Attributes:
    xy: positions, float32.
    kl: KL(P || Q) in nats.
    kl_of_one_place: the same if all points were in one place.
    perplexity: that was used.
    grid_spacing: between the nodes of the grid at the end; None: no grid. Above
      `repulsion.SPACING` the map is so wide that its forces were inexact.
  """

  xy: Float[np.ndarray, "n m"]
  kl: float
  kl_of_one_place: float
  perplexity: float
  grid_spacing: float | None = None


def fit(
  x: Float[Array | np.ndarray, "n d"],
  *,
  perplexity: float = 30.0,
  iterations: int = 1000,
  dimensions: int = 2,
  key: Array,
  mesh: Mesh | None = None,
  on_progress: Callable[[int, float], None] | None = None,
) -> Fit:
  """Fits a t-SNE map: gradient descent on KL(P || Q).

  It starts from the principal components, scaled to a standard deviation of
  1e-4, with a jitter of 1e-6 drawn from `key`. For the first 250 iterations
  (at most a third of them all) P is exaggerated 12 times and the momentum is
  0.5; then 1 and 0.8. The exaggerated phase is over before that where the map
  has shrunk to a thousandth, as that of structureless points does. Each phase
  starts from rest. The learning rate is n / 48, with gains, until a fifth of
  the other iterations is done: faster, points of long tails are thrown out
  while the map unfolds. Then it is n / 4. (Where the gradient's factor 4
  is left to the rate, that is n / 12 and n.) Points with more than four times
  a mean share of P move slower (`descent`). No floor is put under the rate; it
  threw small pools about. The same rows in the same order give the same bits,
  on any number of devices (on TPUs, on the same number).

  Args:
    x: embeddings, float32, equal on every host.
    perplexity: effective number of neighbours, at least 1. A pool of n points
      admits (n - 1) / 3 at most; above that it is lowered, and the answer says
      to what.
    iterations: gradient steps.
    dimensions: of the map. In more than 2 only the sum over all pairs is
      implemented, which takes time n^2.
    key: a `jax.random.key`.
    mesh: devices that share the work; None: one.
    on_progress: called with (iterations done, KL) after 50 iterations, where a
      phase ends, and when the map outgrows its grid; from a grid the KL is up
      to 1 % low, but for that of the end.

  Returns:
    The map, its cost and the perplexity used.

  Raises:
    InputError: the perplexity is below 1, or the iterations below 0.

  >>> x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
  >>> fitted = fit(x, iterations=100, key=jax.random.key(0))
  >>> fitted.xy.shape, fitted.perplexity
  ((40, 2), 13.0)
  """
  _check(perplexity, iterations)
  n = len(x)
  perplexity = float(min(perplexity, max((n - 1) / 3, 1.0)))
  if n < 2:
    return Fit(np.zeros((n, dimensions), np.float32), 0.0, 0.0, perplexity)
  joint = affinities.joint_probabilities(x, perplexity=perplexity, mesh=mesh)
  pairs = affinities.cut(joint, mesh=mesh)
  state = _start(x, dimensions, key, mesh)
  gridded = n >= EXACT_BELOW and dimensions == 2
  start = float(jnp.max(jnp.abs(state.xy)))
  phases = _phases(n, iterations, least=_LEAST * start)
  done, extent = 0, start
  for phase, most_steps in phases:
    begins, end = True, min(done + most_steps, iterations)
    while done < end:
      steps = min(_ITERATIONS_PER_CALL, end - done)
      nodes = repulsion.nodes_for(extent) if gridded else None
      most = repulsion.reach(nodes) if gridded else math.inf
      state, progress = descent.descend(
        state, pairs, phase._replace(most=most), steps, begins,
        layout=descent.Layout(n, nodes, mesh),
      )  # fmt: skip
      done, extent = done + int(progress.taken), float(progress.extent)
      begins = False
      if on_progress and done < iterations:
        on_progress(done, float(progress.kl))
      if extent < phase.least:
        break
  # The cost is a small difference: a grid twice as fine for it.
  nodes = repulsion.nodes_for(2 * extent) if gridded else None
  kl = float(
    _compiled_cost(state.xy, pairs, layout=descent.Layout(n, nodes, mesh))
  )
  if on_progress and done:
    on_progress(done, kl)
  one_place = affinities.kl_of_one_place(joint)
  xy = mesh_lib.fetch(state.xy)[:n]
  spacing = repulsion.spacing_for(extent) if gridded else None
  return Fit(xy, kl, one_place, perplexity, spacing)


def _phases(
  n: int, iterations: int, *, least: float
) -> tuple[tuple[descent.Phase, int], ...]:
  """The phases in their order, each with its iterations at most."""
  early = min(_EXAGGERATION_ITERATIONS, iterations // 3)
  slow, fast = n / (4 * _EXAGGERATION), n / 4
  none = math.inf
  return (
    (descent.Phase(_EXAGGERATION, 0.5, slow, least, none), early),
    (descent.Phase(1.0, 0.8, slow, 0.0, none), (iterations - early) // 5),
    (descent.Phase(1.0, 0.8, fast, 0.0, none), iterations),
  )


def gradient(
  xy: Float[Array, "n m"],
  pairs: affinities.Pairs,
  *,
  exaggeration: float = 1.0,
  nodes: int | None = None,
) -> Float[Array, "n m"]:
  """dKL/dy_i = 4 sum_j (exaggeration p_ij - q_ij) w_ij (y_i - y_j).

  Args:
    xy: positions; of 2 dimensions where there are nodes.
    pairs: P of the same points.
    exaggeration: of P.
    nodes: of the grid, a side; None: the sum over all pairs.

  >>> joint = affinities.joint_probabilities(np.eye(4), perplexity=1.0)
  >>> force = gradient(jnp.eye(4)[:, :2], affinities.cut(joint))
  >>> bool(jnp.all(jnp.abs(force.sum(axis=0)) < 1e-6))
  True
  """
  n = len(xy)
  layout = descent.Layout(n, nodes, None)
  xy = _filled(xy)
  kernels = descent.kernels_at(xy, layout)
  return descent.gradient(xy, xy, pairs, exaggeration, kernels, layout)[:n]


def cost(
  xy: Float[Array, "n m"],
  pairs: affinities.Pairs,
  *,
  nodes: int | None = None,
) -> Float[Array, ""]:
  """KL(P || Q) = sum p_ij (log p_ij - log w_ij) + log Z, in nats.

  >>> joint = affinities.joint_probabilities(np.eye(2), perplexity=1.0)
  >>> round(float(cost(jnp.eye(2), affinities.cut(joint))), 6)
  0.0
  """
  layout = descent.Layout(len(xy), nodes, None)
  return descent.cost(_filled(xy), pairs, layout=layout)


def _filled(xy: Float[Array, "n m"]) -> Float[Array, "p m"]:
  """Fills positions up to `affinities.rows_for` rows."""
  missing = affinities.rows_for(len(xy), None) - len(xy)
  return jnp.pad(xy, ((0, missing), (0, 0)))


def _check(perplexity: float, iterations: int) -> None:
  if not perplexity >= 1:
    raise errors.InputError(
      f"The perplexity of t-SNE is {perplexity}; allowed: 1 or more. 30 is"
      " usual."
    )
  if iterations < 0:
    raise errors.InputError(
      f"The iterations of t-SNE are {iterations}; allowed: 0 or more. 1000 is"
      " usual."
    )


def _start(
  x: Float[Array | np.ndarray, "n d"],
  dimensions: int,
  key: Array,
  mesh: Mesh | None,
) -> descent.State:
  """Points at rest on their principal components, scaled down, with jitter."""
  x = jnp.asarray(x, jnp.float32)
  mean, axes = linear.principal_axes(x, dimensions=dimensions)
  xy = jnp.dot(x - mean[None], axes, precision=neighbours.EXACT)
  deviation = jnp.std(xy[:, 0])
  xy = 1e-4 * xy / jnp.where(deviation > 0, deviation, 1.0)
  xy = np.asarray(xy + 1e-6 * jax.random.normal(key, xy.shape))
  # Rows beyond n fill up; they never move.
  missing = affinities.rows_for(len(x), mesh) - len(x)
  xy = np.pad(xy, ((0, missing), (0, 0)))
  state = descent.State(xy, np.zeros_like(xy), np.ones_like(xy))
  if mesh is None:
    return jax.tree.map(jnp.asarray, state)
  return mesh_lib.put(state, mesh)
