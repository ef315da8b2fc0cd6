"""The compiled steps of t-SNE, on one device or over a mesh.

Every device moves its own points; a step gathers all positions and adds up the
charges on the grid. All other sums are taken over gathered arrays, in the same
order whatever the number of devices.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape.maps import affinities, repulsion

_AXES = mesh_lib.BATCH[0]
# A point moves slower from so many times the mean point's share of P on.
HUB = 4.0
# Compiler options for these sums. XLA's transforms on a CPU round by the number
# of threads that happen to be free, and sums on a GPU by which comes first.
DETERMINISTIC = {
  "xla_cpu_multi_thread_eigen": False,
  "xla_gpu_deterministic_ops": True,
}


class State(NamedTuple):
  """Points that move; rows beyond the points fill up and stay at 0."""

  xy: Array
  velocity: Array
  gain: Array


class Phase(NamedTuple):
  """How points move for a while.

  Attributes:
    exaggeration: factor of P.
    momentum: factor of the velocity.
    rate: factor of the gradient.
    least: least extent; a step that leaves the map smaller is the last.
    most: greatest extent; a step that leaves the map larger is the last.
  """

  exaggeration: float
  momentum: float
  rate: float
  least: float
  most: float


class Progress(NamedTuple):
  """The outcome of some steps.

  Attributes:
    taken: number of steps.
    kl: KL(P || Q) as the layout sees it.
    extent: how far the map reaches, along either axis.
  """

  taken: Int[Array, ""]
  kl: Float[Array, ""]
  extent: Float[Array, ""]


class Layout(NamedTuple):
  """The shape of a compiled step; nodes is None where the sum is exact."""

  points: int
  nodes: int | None
  mesh: Mesh | None


# The points, the kernels of where they were, steps taken, and the map's extent.
_Carry = tuple[
  State, repulsion.Kernels | None, Int[Array, ""], Float[Array, ""]
]


def _on_mesh(
  function: Callable, layout: Layout, *arguments: Any, out: Any
) -> Any:
  """Calls a function on every device, with the rows of that device."""
  if layout.mesh is None:
    return function(*arguments)
  by_row, whole = mesh_lib.BATCH, PartitionSpec()
  in_specs = [
    by_row if isinstance(a, (State, affinities.Pairs)) else whole
    for a in arguments
  ]
  return jax.shard_map(
    function,
    mesh=layout.mesh,
    in_specs=tuple(in_specs),
    out_specs=out,
    check_vma=False,
  )(*arguments)


@functools.partial(
  jax.jit,
  static_argnames="layout",
  donate_argnames="state",
  compiler_options=DETERMINISTIC,
)
def descend(
  state: State,
  pairs: affinities.Pairs,
  phase: Phase,
  steps: Int[Array, ""] | int,
  begins: Bool[Array, ""] | bool,
  *,
  layout: Layout,
) -> tuple[State, Progress]:
  """Gradient steps with momentum and gains (Jacobs 1988), in one program.

  A point that many others have as a neighbour, a hub, is pulled by all of them.
  A step would throw it far beyond them, where the pull is weak and it stays, so
  that a rate is divided by the point's share of P where this is large.

  Args:
    state: the points; its arrays are used up.
    pairs: P, cut for the layout's mesh.
    phase: how points move.
    steps: how many, unless the map gets smaller or larger than the phase
      allows; one at least.
    begins: whether these are the first steps of the phase: the velocity is
      then 0, and the gains are 1.
    layout: what the program is compiled for.
  """

  def own_rows(
    state: State,
    pairs: affinities.Pairs,
    phase: Phase,
    steps: Int[Array, ""],
    begins: Bool[Array, ""],
  ) -> tuple[State, Progress]:
    _, real = _rows(state.xy, layout)
    slowness = _slowness(pairs, state.xy, layout)

    def goes_on(carry: _Carry) -> Bool[Array, ""]:
      _, _, taken, extent = carry
      within = ~(extent < phase.least) & ~(extent > phase.most)
      return (taken < steps) & ((taken == 0) | within)

    def step(carry: _Carry) -> _Carry:
      state, kernels, taken, _ = carry
      xy = _gather(state.xy, layout)
      kernels = kernels_at(xy, layout, kernels)
      force = gradient(state.xy, xy, pairs, phase.exaggeration, kernels, layout)
      same_way = jnp.sign(force) != jnp.sign(state.velocity)
      gain = jnp.where(same_way, state.gain + 0.2, state.gain * 0.8)
      gain = jnp.maximum(gain, 0.01)
      rate = phase.rate / slowness
      velocity = phase.momentum * state.velocity - rate * gain * force
      moved = jnp.where(real[:, None], state.xy + velocity, 0.0)
      total = jnp.sum(_gather(moved, layout), axis=0, keepdims=True)
      moved = jnp.where(real[:, None], moved - total / layout.points, 0.0)
      extent = jnp.max(jnp.abs(_gather(moved, layout)))
      return State(moved, velocity, gain), kernels, taken + 1, extent

    state = State(
      state.xy,
      jnp.where(begins, 0.0, state.velocity),
      jnp.where(begins, 1.0, state.gain),
    )
    # The kernels are made in the loop alone, so that the program has them once.
    none = layout.nodes and repulsion.no_kernels(nodes=layout.nodes)
    carry = state, none, jnp.int32(0), jnp.float32(jnp.inf)
    state, kernels, taken, extent = lax.while_loop(goes_on, step, carry)
    xy = _gather(state.xy, layout)
    kl = _cost(state.xy, xy, pairs, kernels, layout)
    return state, Progress(taken, kl, extent)

  whole = PartitionSpec()
  return _on_mesh(
    own_rows, layout, state, pairs,
    jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), phase),
    jnp.asarray(steps, jnp.int32), jnp.asarray(begins),
    out=(mesh_lib.BATCH, Progress(whole, whole, whole)),
  )  # fmt: skip


def _slowness(
  pairs: affinities.Pairs, own: Float[Array, "p m"], layout: Layout
) -> Float[Array, "p 1"]:
  """The divisor of the rate, for a device's own points: 1 for most."""
  shares = jax.ops.segment_sum(
    jnp.sum(pairs.probability, axis=1),
    pairs.point - _rows(own, layout)[0][0],
    len(own),
    indices_are_sorted=True,
  )
  return jnp.maximum(1.0, shares * (layout.points / HUB))[:, None]


def cost(
  xy: Float[Array, "n m"], pairs: affinities.Pairs, *, layout: Layout
) -> Float[Array, ""]:
  """KL(P || Q) in nats. xy has `affinities.rows_for` rows."""

  def evaluate(state: State, pairs: affinities.Pairs) -> Float[Array, ""]:
    xy = _gather(state.xy, layout)
    return _cost(state.xy, xy, pairs, kernels_at(xy, layout), layout)

  state = State(xy, xy, xy)
  return _on_mesh(evaluate, layout, state, pairs, out=PartitionSpec())


def _cost(
  own: Float[Array, "p m"],
  xy: Float[Array, "n m"],
  pairs: affinities.Pairs,
  kernels: repulsion.Kernels | None,
  layout: Layout,
) -> Float[Array, ""]:
  """KL(P || Q), where a device has its own rows and sees all positions."""
  _, squared = affinities.differences(xy, pairs)
  p = pairs.probability
  log_p = jnp.log(jnp.where(p > 0, p, 1.0))
  near = jnp.sum(p * (log_p + jnp.log1p(squared)), axis=1)
  _, normaliser = _repulsion(own, xy, kernels, layout)
  return jnp.sum(_gather(near, layout)) + jnp.log(normaliser)


def gradient(
  own: Float[Array, "p m"],
  xy: Float[Array, "n m"],
  pairs: affinities.Pairs,
  exaggeration: Float[Array, ""] | float,
  kernels: repulsion.Kernels | None,
  layout: Layout,
) -> Float[Array, "p m"]:
  """The gradient at one device's own points."""
  push, normaliser = _repulsion(own, xy, kernels, layout)
  first = _rows(own, layout)[0][0]
  pull = affinities.attraction(xy, pairs, first=first, points=len(own))
  return 4 * (exaggeration * pull - push / normaliser)


def _repulsion(
  own: Float[Array, "p m"],
  xy: Float[Array, "n m"],
  kernels: repulsion.Kernels | None,
  layout: Layout,
) -> tuple[Float[Array, "p m"], Float[Array, ""]]:
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
    charges = lax.psum(charges, _AXES)
  charges = charges * jnp.float32(layout.points / 2.0**31)
  grid, total = repulsion.field(charges, kernels)
  # A point has no force of its own on the grid either; its w_ii is 1.
  push = repulsion.force_at(grid, own, kernels.spacing)
  return push, total - layout.points


def kernels_at(
  xy: Float[Array, "n m"],
  layout: Layout,
  known: repulsion.Kernels | None = None,
) -> repulsion.Kernels | None:
  """The kernels for where the points are, which may be the known ones."""
  if layout.nodes is None:
    return None
  extent = jnp.max(jnp.abs(xy))
  step = repulsion.step_for(extent, nodes=layout.nodes)
  make = functools.partial(repulsion.kernels, nodes=layout.nodes)
  if known is None:
    return make(step)
  return lax.cond(step == known.step, lambda _: known, make, step)


def _gather(
  own: Float[Array, "p ..."], layout: Layout
) -> Float[Array, "n ..."]:
  """The rows of all devices."""
  if layout.mesh is None:
    return own
  return lax.all_gather(own, _AXES, tiled=True)


def _rows(
  own: Float[Array, "p m"], layout: Layout
) -> tuple[Int[Array, " p"], Bool[Array, " p"]]:
  """Numbers of a device's own rows, and which of them are points."""
  first = 0
  if layout.mesh is not None:
    first = lax.axis_index(_AXES) * len(own)
  rows = first + jnp.arange(len(own), dtype=jnp.int32)
  return rows, rows < layout.points
