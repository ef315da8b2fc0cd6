"""t-SNE (van der Maaten and Hinton 2008): the map, on one device or a mesh.

The cost is KL(P || Q): P says how likely a point picks another as neighbour
among the embeddings (`affinities`), Q the same on the map, with Student's t
kernel w_ij = 1 / (1 + |y_i - y_j|^2) and Q = w / Z (`repulsion`). On a mesh
every device moves its own points; a step gathers all positions, 8 bytes a
point, and adds up the charges on the grid. All other sums are taken in the same
order whatever the number of devices, so that the map is the same to the bit.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from ila_jax import affinities, errors, neighbours, principal, repulsion
from ila_jax import mesh as mesh_lib

# Below it the sum over all pairs is as fast as a grid.
EXACT_BELOW = 1024
_EXAGGERATION = 12.0
_EXAGGERATION_ITERATIONS = 250
_ITERATIONS_PER_CALL = 50  # Between two of them the host waits and reports.


class Fit(NamedTuple):
  """A fitted map, its cost and the perplexity that was possible."""

  xy: Float[np.ndarray, "n m"]
  kl: float
  perplexity: float


class _State(NamedTuple):
  xy: Array
  velocity: Array
  gain: Array


class _Layout(NamedTuple):
  """What a compiled step is made for; nodes is None where the sum is exact."""

  points: int
  nodes: int | None
  mesh: Mesh | None

  @property
  def axes(self):
    return mesh_lib.BATCH[0]


def fit(
  x: Float[Array | np.ndarray, "n d"],
  *,
  perplexity: float = 30.0,
  iterations: int = 750,
  dimensions: int = 2,
  key: Array,
  mesh: Mesh | None = None,
  on_progress: Callable[[int, float], None] | None = None,
) -> Fit:
  """Fits a t-SNE map: gradient descent on KL(P || Q).

  It starts from the principal components, scaled to a standard deviation of
  1e-4, with a jitter of 1e-6 drawn from `key`. For the first 250 iterations
  (at most a third of them all) P is exaggerated 12 times and the momentum is
  0.5; then 1 and 0.8. The learning rate is n / (4 exaggeration), with gains:
  n / 12 and n for those who leave the gradient's factor 4 to the rate. No floor
  is put under it; it threw small pools about. The same rows in the same order
  give the same bits, on any number of devices.

  Args:
    x: embeddings, float32, equal on every host.
    perplexity: effective number of neighbours, at least 1. A pool of n points
      admits (n - 1) / 3 at most; above that it is lowered, and the answer says
      to what.
    iterations: gradient steps.
    dimensions: of the map. Of more than 2 only the sum over all pairs is
      implemented, which takes time n^2.
    key: a `jax.random.key`.
    mesh: devices that share the work; None: one.
    on_progress: called with (iterations done, KL) after every 50 iterations.

  Returns:
    Positions (float32), KL(P || Q) in nats, and the perplexity used.

  Raises:
    InputError: the perplexity is below 1, or the iterations below 0.

  >>> x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
  >>> found = fit(x, iterations=100, key=jax.random.key(0))
  >>> found.xy.shape, found.perplexity
  ((40, 2), 13.0)
  """
  _check(perplexity, iterations)
  n = len(x)
  perplexity = float(min(perplexity, max((n - 1) / 3, 1.0)))
  if n < 2:
    return Fit(np.zeros((n, dimensions), np.float32), 0.0, perplexity)
  joint = affinities.joint_probabilities(x, perplexity=perplexity, mesh=mesh)
  pairs = affinities.cut(joint, mesh=mesh)
  state = _start(x, dimensions, key, mesh)
  gridded = n >= EXACT_BELOW and dimensions == 2
  early = min(_EXAGGERATION_ITERATIONS, iterations // 3)
  done = 0
  while True:
    extent = float(jnp.max(jnp.abs(state.xy)))
    nodes = repulsion.nodes_for(extent) if gridded else None
    layout = _Layout(n, nodes, mesh)
    # The cost is a small difference: a grid twice as fine for it.
    fine = repulsion.nodes_for(2 * extent) if gridded else None
    kl = float(_cost(state.xy, pairs, layout=layout._replace(nodes=fine)))
    if on_progress and done:
      on_progress(done, kl)
    if done == iterations:
      break
    phase_end = early if done < early else iterations
    steps = min(_ITERATIONS_PER_CALL, phase_end - done)
    exaggeration, momentum = (
      (_EXAGGERATION, 0.5) if done < early else (1.0, 0.8)
    )
    rate = n / (4 * exaggeration)
    state = _descend(
      state, pairs, steps, exaggeration, momentum, rate, layout=layout
    )
    done += steps
  return Fit(mesh_lib.fetch(state.xy)[:n], kl, perplexity)


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
  layout = _Layout(n, nodes, None)
  xy = _filled(xy)
  kernels = _kernels(xy, layout)
  return _slope(xy, xy, pairs, exaggeration, kernels, layout)[:n]


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
  return _cost(_filled(xy), pairs, layout=_Layout(len(xy), nodes, None))


def _filled(xy):
  missing = affinities.rows_for(len(xy), None) - len(xy)
  return jnp.pad(xy, ((0, missing), (0, 0)))


def _check(perplexity, iterations):
  if not perplexity >= 1:
    raise errors.InputError(
      f"The perplexity of t-SNE is {perplexity}; allowed: 1 or more. 30 is"
      " usual."
    )
  if iterations < 0:
    raise errors.InputError(
      f"The iterations of t-SNE are {iterations}; allowed: 0 or more. 750 is"
      " usual."
    )


def _start(x, dimensions, key, mesh):
  x = jnp.asarray(x, jnp.float32)
  mean, axes = principal.principal_axes(x, dimensions=dimensions)
  xy = jnp.dot(x - mean[None], axes, precision=neighbours.EXACT)
  deviation = jnp.std(xy[:, 0])
  xy = 1e-4 * xy / jnp.where(deviation > 0, deviation, 1.0)
  xy = np.asarray(xy + 1e-6 * jax.random.normal(key, xy.shape))
  # Rows beyond n fill up; they never move.
  missing = affinities.rows_for(len(x), mesh) - len(x)
  xy = np.pad(xy, ((0, missing), (0, 0)))
  state = _State(xy, np.zeros_like(xy), np.ones_like(xy))
  if mesh is None:
    return jax.tree.map(jnp.asarray, state)
  return mesh_lib.put(state, mesh)


def _on_mesh(function, layout, *arguments, out):
  """Calls it on every device, with the rows of that device."""
  if layout.mesh is None:
    return function(*arguments)
  by_row, whole = mesh_lib.BATCH, PartitionSpec()
  in_specs = [
    by_row if isinstance(a, (_State, affinities.Pairs)) else whole
    for a in arguments
  ]
  return jax.shard_map(
    function,
    mesh=layout.mesh,
    in_specs=tuple(in_specs),
    out_specs=by_row if out == "rows" else whole,
    check_vma=False,
  )(*arguments)


@functools.partial(
  jax.jit,
  static_argnames="layout",
  donate_argnames="state",
  compiler_options=repulsion.DETERMINISTIC,
)
def _descend(state, pairs, steps, exaggeration, momentum, rate, *, layout):
  def descend(state, pairs, steps, exaggeration, momentum, rate):
    def step(_, carry):
      state, kernels = carry
      xy = _gather(state.xy, layout)
      kernels = _kernels(xy, layout, kernels)
      slope = _slope(state.xy, xy, pairs, exaggeration, kernels, layout)
      goes_on = jnp.sign(slope) != jnp.sign(state.velocity)
      gain = jnp.where(goes_on, state.gain + 0.2, state.gain * 0.8)
      gain = jnp.maximum(gain, 0.01)
      velocity = momentum * state.velocity - rate * gain * slope
      _, real = _rows(state.xy, layout)
      moved = jnp.where(real[:, None], state.xy + velocity, 0.0)
      total = jnp.sum(_gather(moved, layout), axis=0, keepdims=True)
      moved = jnp.where(real[:, None], moved - total / layout.points, 0.0)
      return _State(moved, velocity, gain), kernels

    first = _kernels(_gather(state.xy, layout), layout)
    return lax.fori_loop(0, steps, step, (state, first))[0]

  arguments = (steps, exaggeration, momentum, rate)
  arguments = [jnp.asarray(a, jnp.float32) for a in arguments]
  arguments[0] = jnp.asarray(steps, jnp.int32)
  return _on_mesh(descend, layout, state, pairs, *arguments, out="rows")


@functools.partial(
  jax.jit,
  static_argnames="layout",
  compiler_options=repulsion.DETERMINISTIC,
)
def _cost(xy, pairs, *, layout):
  def evaluate(own, pairs):
    xy = _gather(own.xy, layout)
    kernels = _kernels(xy, layout)
    _, squared = affinities.differences(xy, pairs)
    p = pairs.probability
    log_p = jnp.log(jnp.where(p > 0, p, 1.0))
    near = jnp.sum(p * (log_p + jnp.log1p(squared)), axis=1)
    _, normaliser = _repulsion(own.xy, xy, kernels, layout)
    return jnp.sum(_gather(near, layout)) + jnp.log(normaliser)

  return _on_mesh(evaluate, layout, _State(xy, xy, xy), pairs, out="whole")


def _slope(own, xy, pairs, exaggeration, kernels, layout):
  push, normaliser = _repulsion(own, xy, kernels, layout)
  first = _rows(own, layout)[0][0]
  pull = affinities.attraction(xy, pairs, first=first, points=len(own))
  return 4 * (exaggeration * pull - push / normaliser)


def _repulsion(own, xy, kernels, layout):
  """sum_j w_ij^2 (y_i - y_j) of a device's own points, and Z."""
  rows, real = _rows(own, layout)
  if layout.nodes is None:
    everywhere = jnp.arange(len(xy)) < layout.points
    push, sums = repulsion.exact(own, rows, xy, everywhere)
    sums = jnp.where(real, sums, 0.0)
    return push, jnp.sum(_gather(sums, layout))
  options = {"nodes": layout.nodes, "total": layout.points}
  charges = repulsion.spread(own, real, kernels.spacing, **options)
  if layout.mesh is not None:
    charges = lax.psum(charges, layout.axes)
  charges = charges * jnp.float32(layout.points / 2.0**31)
  grid, total = repulsion.field(charges, kernels)
  # A point has no force of its own on the grid either; its w_ii is 1.
  push = repulsion.read(grid, own, kernels.spacing)
  return push, total - layout.points


def _kernels(xy, layout, known=None):
  """The kernels for where the points are, which may be the known ones."""
  if layout.nodes is None:
    return None
  extent = jnp.max(jnp.abs(xy))
  step = repulsion.step_for(extent, nodes=layout.nodes)
  make = functools.partial(repulsion.kernels, nodes=layout.nodes)
  if known is None:
    return make(step)
  return lax.cond(step == known.step, lambda _: known, make, step)


def _gather(own, layout):
  if layout.mesh is None:
    return own
  return lax.all_gather(own, layout.axes, tiled=True)


def _rows(own, layout):
  """Numbers of a device's own rows, and which are no filling."""
  first = 0
  if layout.mesh is not None:
    first = lax.axis_index(layout.axes) * len(own)
  rows = first + jnp.arange(len(own), dtype=jnp.int32)
  return rows, rows < layout.points
