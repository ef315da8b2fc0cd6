"""New points on a fitted t-SNE map, which does not move.

A new point looks for the place where its neighbours on the map are those that
it has among the embeddings, as the fitted points did: by the attraction and the
repulsion of t-SNE, the fitted points held. New points do not feel each other,
so that a pool, its shards and a single point land alike.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Complex, Float, Int

from ila_jax.compute import neighbours, row_blocks
from ila_jax.landscape.maps import affinities, descent, repulsion

# A point is a fitted one, embedded again, if it is nearer to it than this share
# of the distance to its k-th neighbour.
_SAME = 1e-3
# Neighbours whose places a point tries before it starts from the best.
_STARTS = 5
_ITERATIONS = 50
_LONGEST_STEP = 2.0


class _Field(NamedTuple):
  """The repulsion of a new point by the fitted ones, on the nodes of a grid."""

  spacing: Float[Array, ""]
  force: Complex[Array, "g g"]
  potential: Complex[Array, "g g"]
  normaliser: Float[Array, ""]  # Z / f
  extent: Float[Array, ""]


def place(
  x: Float[Array | np.ndarray, "n d"],
  points: Float[Array | np.ndarray, "f d"],
  positions: Float[Array | np.ndarray, "f 2"],
  *,
  perplexity: float,
) -> Float[Array, "n 2"]:
  """Places new points between fitted ones.

  A point minimises sum_j p_j|i log(1 + |y - y_j|^2) + (f / Z) sum_j w(y - y_j),
  whose gradient is the force that t-SNE puts on a fitted point, with p_j|i over
  the 3 * perplexity nearest fitted points. It starts from the best of its five
  nearest points' places, and takes 50 steps. A fitted point lands on itself (or
  on the first of those that equal it).

  Args:
    x: embeddings, float32. Rows may be sharded over a mesh; then so is the
      answer.
    points: fitted embeddings, needed whole on every device.
    positions: where these are on the map.
    perplexity: that of the fit.

  Returns:
    Positions, float32.

  >>> points = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
  >>> positions = np.arange(18, dtype=np.float32).reshape(9, 2)
  >>> place(points[4:5], points, positions, perplexity=2.0).tolist()
  [[8.0, 9.0]]
  """
  f = len(points)
  k = min(f, int(3 * perplexity) + 1)
  perplexity = float(min(perplexity, max((f - 1) / 3, 1.0)))
  if not len(x):
    return jnp.zeros((0, 2))
  near = neighbours.nearest(x, points, k=k)
  positions = jnp.asarray(positions, jnp.float32)
  extent = float(jnp.max(jnp.abs(positions), initial=0.0))
  # Twice as fine as for a fit, where errors of the force even out.
  field = _field(positions, nodes=repulsion.nodes_for(2 * extent))
  whole = positions, field, np.float32(perplexity)
  return row_blocks.apply(_settle, near, *whole)


@functools.partial(
  jax.jit,
  static_argnames="nodes",
  compiler_options=descent.DETERMINISTIC,
)
def _field(positions: Float[Array, "f 2"], *, nodes: int) -> _Field:
  """Spreads the fitted points on a grid, and takes the sums there."""
  f = len(positions)
  extent = jnp.max(jnp.abs(positions))
  step = repulsion.step_for(extent, nodes=nodes)
  kernels = repulsion.kernels(step, nodes=nodes)
  real = jnp.ones(f, bool)
  charges = repulsion.spread(
    positions, real, kernels.spacing, nodes=nodes, total=f
  )
  charges = charges * jnp.float32(f / 2.0**31)
  force, total = repulsion.field(charges, kernels)
  potential = repulsion.potential(charges, kernels)
  # With one point Z is 0, and nothing repels.
  normaliser = jnp.maximum((total - f) / f, 1e-6)
  return _Field(kernels.spacing, force, potential, normaliser, extent)


def _settle(
  near: neighbours.Neighbours,
  positions: Float[Array, "f 2"],
  field: _Field,
  perplexity: Float[Array, ""],
) -> Float[Array, "b 2"]:
  """Places some points, given their neighbours."""
  p = affinities.conditional_probabilities(near.squared, perplexity)
  there = lax.complex(positions[:, 0], positions[:, 1])[near.index]
  starts = there[:, :_STARTS]
  squared = _squared(starts[:, :, None] - there[:, None])
  pull = jnp.sum(p[:, None] * jnp.log1p(squared), axis=2)
  push = _read(field.potential, starts, field).real
  best = jnp.argmin(pull + push / field.normaliser, axis=1, keepdims=True)
  start = jnp.take_along_axis(starts, best, axis=1)[:, 0]

  def step(
    _: Int[Array, ""],
    state: tuple[
      Complex[Array, " b"], Complex[Array, " b"], Float[Array, "2 b"]
    ],
  ) -> tuple[Complex[Array, " b"], Complex[Array, " b"], Float[Array, "2 b"]]:
    place, velocity, gain = state
    away = place[:, None] - there
    pull = jnp.sum(p / (1 + _squared(away)) * away, axis=1)
    slope = pull - _read(field.force, place, field) / field.normaliser
    parts = jnp.stack([slope.real, slope.imag])
    goes_on = jnp.sign(parts) != jnp.sign(
      jnp.stack([velocity.real, velocity.imag])
    )
    gain = jnp.maximum(jnp.where(goes_on, gain + 0.2, gain * 0.8), 0.01)
    velocity = 0.8 * velocity - lax.complex(*(gain * parts))
    length = jnp.abs(velocity)
    velocity *= jnp.minimum(1.0, _LONGEST_STEP / jnp.maximum(length, 1e-6))
    # The map ends where its outermost fitted points are.
    moved = _within(place + velocity, field.extent)
    return moved, velocity, gain

  state = start, 0 * start, jnp.ones((2, len(start)))
  place = lax.fori_loop(0, _ITERATIONS, step, state)[0]
  same = near.squared[:, 0] <= _SAME**2 * near.squared[:, -1]
  place = jnp.where(same, there[:, 0], place)
  return jnp.stack([place.real, place.imag], axis=1)


def _squared(z: Complex[Array, "..."]) -> Float[Array, "..."]:
  return z.real**2 + z.imag**2


def _within(
  z: Complex[Array, " b"], extent: Float[Array, ""]
) -> Complex[Array, " b"]:
  """Moves places that lie outside of the map to its border."""
  return lax.complex(
    jnp.clip(z.real, -extent, extent), jnp.clip(z.imag, -extent, extent)
  )


def _read(
  grid: Complex[Array, "g g"], z: Complex[Array, "*b"], field: _Field
) -> Complex[Array, "*b"]:
  """Reads a field at the places z."""
  own = jnp.stack([z.real.ravel(), z.imag.ravel()], axis=1)
  force = repulsion.force_at(grid, own, field.spacing)
  return lax.complex(force[:, 0], force[:, 1]).reshape(z.shape)
