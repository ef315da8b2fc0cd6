"""The force that pushes points of a t-SNE map apart: sums over all pairs.

With w_ij = 1 / (1 + |y_i - y_j|^2), Student's t kernel, every point feels
sum_j w_ij^2 (y_i - y_j), and Z = sum_ij w_ij over i != j scales them all.
`exact` takes n^2 steps. A grid of g nodes takes n + g log g of them: both
kernels are smooth, so that their values on the nodes tell the rest, and on a
grid the sums are convolutions (Linderman et al. 2019, FIt-SNE).

Linderman interpolates by three nodes of a Lagrange polynomial an interval. Here
cubic B-splines do, which pass through the kernel's values on the nodes since
the transform of the kernel is divided by the splines' own: nodes 1/2 apart err
like Lagrange's 1/3 apart, on a grid less than half as large. The force is one
charge's convolution with the vector kernel y w^2; FIt-SNE's needs four charges.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Complex, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours
from ila_jax.landscape.maps import affinities, splines

# Between two nodes, in units of the map, where the kernels have length 1. The
# force on a fitted map errs by 4 % (root mean square), as in openTSNE.
SPACING = 0.5
# Nodes a side. The transforms are twice as long, so that the ends do not meet.
# Few sizes, for each is a program to compile.
NODES = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
_BLOCK_PAIRS = 2**20
_BLOCK_ROWS = 4096
# Free nodes at either border, which the splines reach into.
_BORDER = 3
# Spacings come in steps, so that the kernels are transformed now and then. They
# are relative to the map, however small: a force is told to 1 / 10^7 of the
# greatest on the grid.
_UNIT = 1 / 16
_TINY = 1e-12
_RATIO = 1.1
_NO_STEP = np.iinfo(np.int32).min  # No map's extent has this step.


class Kernels(NamedTuple):
  """Transforms of both kernels on a grid, for one spacing of its nodes."""

  step: Int[Array, ""]
  spacing: Float[Array, ""]
  potential: Float[Array, "g h"]
  force: tuple[Complex[Array, "g h"], Complex[Array, "g h"]]


def exact(
  own: Float[Array, "p m"],
  rows: Int[Array, " p"],
  xy: Float[Array, "n m"],
  real: Bool[Array, " n"],
) -> tuple[Float[Array, "p m"], Float[Array, " p"]]:
  """Force on some of the points, and sum_j w_ij of each, over all pairs.

  Args:
    own: positions of the points that are asked about.
    rows: their rows among all.
    xy: all positions.
    real: False for rows that only fill up.

  >>> xy = jnp.array([[0.0, 0.0], [1.0, 0.0]])
  >>> force, kernel = exact(xy, jnp.arange(2), xy, jnp.array([True, True]))
  >>> force.tolist(), kernel.tolist()
  ([[-0.25, 0.0], [0.25, 0.0]], [0.5, 0.5])
  """
  columns = jnp.arange(len(xy), dtype=jnp.int32)
  everywhere = affinities.places(xy)

  def one(
    row_and_point: tuple[Int[Array, ""], list[Complex[Array, ""]]],
  ) -> tuple[list[Complex[Array, ""]], Float[Array, ""]]:
    row, point = row_and_point
    away = [own - z for own, z in zip(point, everywhere, strict=True)]
    squared = sum(z.real**2 + z.imag**2 for z in away)
    kernel = jnp.where(real & (columns != row), 1 / (1 + squared), 0.0)
    force = [jnp.sum(kernel * kernel * z) for z in away]
    return force, jnp.sum(kernel)

  block = max(1, _BLOCK_PAIRS // len(xy))
  force, kernel = lax.map(one, (rows, affinities.places(own)), batch_size=block)
  return affinities.coordinates(force, xy.shape[1]), kernel


def nodes_for(extent: float) -> int:
  """Nodes a side for a map whose coordinates reach from -extent to extent.

  The largest grid serves where even its nodes are more than `SPACING` apart.

  >>> nodes_for(10.0), nodes_for(1000.0)
  (64, 2048)
  """
  wanted = 2 * extent / SPACING + 2 * _BORDER
  return next((nodes for nodes in NODES if nodes >= wanted), NODES[-1])


def spacing_for(extent: float) -> float:
  """Spacing of that grid's nodes; above `SPACING` the forces are inexact.

  >>> spacing_for(14.5), round(spacing_for(1000.0), 2)
  (0.5, 0.98)
  """
  return 2 * extent / (nodes_for(extent) - 2 * _BORDER)


def reach(nodes: int) -> float:
  """The extent from which on a map needs a finer grid, if there is one.

  >>> reach(64), reach(2048)
  (18.125, inf)
  """
  # A quarter above SPACING the force errs by 8 %.
  coarsest = 1.25 * SPACING if nodes < NODES[-1] else math.inf
  return coarsest * (nodes / 2 - _BORDER)


def step_for(extent: Float[Array, ""], *, nodes: int) -> Int[Array, ""]:
  """The least spacing at which the grid holds the map: 1.1^step / 16.

  >>> int(step_for(jnp.float32(1.8125), nodes=64))
  0
  """
  least = 2 * extent / (nodes - 2 * _BORDER) / _UNIT
  steps = jnp.log(jnp.maximum(least, _TINY)) / np.log(_RATIO)
  return jnp.ceil(steps - 1e-3).astype(jnp.int32)


def kernels(step: Int[Array, ""], *, nodes: int) -> Kernels:
  """Transforms of w and y w^2, for nodes 1.1^step / 16 apart.

  >>> kernel = kernels(jnp.int32(0), nodes=8)
  >>> float(kernel.spacing), kernel.potential.shape
  (0.0625, (16, 9))
  """
  spacing = _UNIT * jnp.float32(_RATIO) ** step
  size = 2 * nodes
  steps = jnp.fft.fftfreq(size, 1 / size)
  x, y = (spacing * steps)[:, None], (spacing * steps)[None]
  w = 1 / (1 + x * x + y * y)
  # A spline is 2/3 on its node and 1/6 on the next; points are spread by one
  # and read by another.
  spline = (2 + jnp.cos(2 * jnp.pi * steps / size)) / 3
  both = (spline[:, None] * spline[None, : nodes + 1]) ** 2
  return Kernels(
    step,
    spacing,
    jnp.fft.rfft2(w).real / both,
    (jnp.fft.rfft2(x * w * w) / both, jnp.fft.rfft2(y * w * w) / both),
  )


def no_kernels(*, nodes: int) -> Kernels:
  """Kernels of no spacing, from which a loop may start.

  >>> float(no_kernels(nodes=8).spacing)
  0.0
  """
  shapes = jax.eval_shape(lambda: kernels(jnp.int32(0), nodes=nodes))
  zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
  return zeros._replace(step=jnp.int32(_NO_STEP))


def spread(
  own: Float[Array, "p 2"],
  real: Bool[Array, " p"],
  spacing: Float[Array, ""],
  *,
  nodes: int,
  total: int,
) -> Int[Array, "g g"]:
  """Charges of the points on the nodes, in units of total / 2^31.

  They are whole numbers: their sum is the same in every order, on every device.
  On a TPU, where a device multiplies its own points first, it is the same only
  for the same division among devices.

  Args:
    own: positions, within the grid.
    real: False for rows that only fill up.
    spacing: between two nodes.
    nodes: g.
    total: points of all devices.

  >>> grid = spread(jnp.zeros((1, 2)), jnp.array([True]), jnp.float32(1.0),
  ...   nodes=8, total=1)
  >>> np.asarray(grid[3:6, 4] / 2.0**31 * 36).round(3)
  array([ 4., 16.,  4.], dtype=float32)
  """
  if _by_products():
    charge = _spread_by_products(own, real, spacing, nodes)
    return jnp.round(charge * (2.0**31 / total)).astype(jnp.int32)
  node, weight = splines.stencil(own, spacing, nodes)
  # A node bears 4/9 of a point at most: no sum of all exceeds an int32.
  charge = jnp.round(weight * (2.0**31 / total)).astype(jnp.int32)
  charge = jnp.where(real[:, None, None], charge, 0)
  grid = jnp.zeros(nodes * nodes, jnp.int32)
  return (
    grid.at[node].add(charge, mode="promise_in_bounds").reshape(nodes, nodes)
  )


def field(
  charges: Float[Array, "g g"], kernel: Kernels
) -> tuple[Complex[Array, "g g"], Float[Array, ""]]:
  """Force on the nodes, x + iy, and sum_ij w_ij with i = j among them.

  >>> charges = jnp.zeros((8, 8)).at[4, 4].set(1.0)
  >>> grid, total = field(charges, kernels(jnp.int32(29), nodes=8))
  >>> grid.shape
  (8, 8)
  """
  nodes = len(charges)
  size = 2 * nodes
  transform = jnp.fft.rfft2(charges, s=(size, size))
  force = lax.complex(
    *(
      jnp.fft.irfft2(transform * one, s=(size, size))[:nodes, :nodes]
      for one in kernel.force
    )
  )
  # Parseval: sum_ij w_ij is the product of the charges and their potential.
  power = transform.real**2 + transform.imag**2
  twice = jnp.full(nodes + 1, 2.0).at[jnp.array([0, nodes])].set(1.0)
  return force, jnp.sum(power * kernel.potential * twice[None]) / size**2


def potential(
  charges: Float[Array, "g g"], kernel: Kernels
) -> Complex[Array, "g g"]:
  """sum_j w_ij on the nodes, as the real part of what `force_at` takes.

  >>> charges = jnp.zeros((8, 8)).at[4, 4].set(1.0)
  >>> potential(charges, kernels(jnp.int32(29), nodes=8)).shape
  (8, 8)
  """
  nodes = len(charges)
  size = 2 * nodes
  transform = jnp.fft.rfft2(charges, s=(size, size)) * kernel.potential
  there = jnp.fft.irfft2(transform, s=(size, size))[:nodes, :nodes]
  return there + 0j


def force_at(
  grid: Complex[Array, "g g"],
  own: Float[Array, "p 2"],
  spacing: Float[Array, ""],
) -> Float[Array, "p 2"]:
  """The force on points, interpolated from that on the nodes.

  >>> grid = jnp.full((8, 8), 1 + 2j)
  >>> force_at(grid, jnp.zeros((1, 2)), jnp.float32(1.0)).round(5).tolist()
  [[1.0, 2.0]]
  """
  if _by_products():
    return _read_by_products(grid, own, spacing)
  node, weight = splines.stencil(own, spacing, len(grid))
  there = grid.reshape(-1).at[node].get(mode="promise_in_bounds")
  force = jnp.sum(weight * there, axis=(1, 2))
  return jnp.stack([force.real, force.imag], axis=1)


def _by_products() -> bool:
  """Whether points are spread by products: a TPU scatters one by one."""
  return mesh_lib.platform() == "tpu"


def _spread_by_products(
  own: Float[Array, "p 2"],
  real: Bool[Array, " p"],
  spacing: Float[Array, ""],
  nodes: int,
) -> Float[Array, "g g"]:
  """Weights of the points' columns and rows, multiplied, in blocks."""

  def add(
    grid: Float[Array, "g g"],
    block: tuple[Float[Array, "b 2"], Bool[Array, " b"]],
  ) -> tuple[Float[Array, "g g"], None]:
    own, real = block
    x, y = splines.of_axes(own, spacing, nodes)
    x = jnp.where(real[:, None], x, 0.0)
    return grid + jnp.dot(x.T, y, precision=neighbours.EXACT), None

  missing = -len(own) % _BLOCK_ROWS
  own = jnp.pad(own, ((0, missing), (0, 0))).reshape(-1, _BLOCK_ROWS, 2)
  real = jnp.pad(real, (0, missing)).reshape(-1, _BLOCK_ROWS)
  return lax.scan(add, jnp.zeros((nodes, nodes)), (own, real))[0]


def _read_by_products(
  grid: Complex[Array, "g g"],
  own: Float[Array, "p 2"],
  spacing: Float[Array, ""],
) -> Float[Array, "p 2"]:
  """`force_at` by products of the grid and the points' splines."""

  def one(own: Float[Array, " 2"]) -> Float[Array, " 2"]:
    x, y = splines.of_axes(own[None], spacing, len(grid))
    parts = [
      jnp.sum(jnp.dot(x, part, precision=neighbours.EXACT) * y)
      for part in (grid.real, grid.imag)
    ]
    return jnp.stack(parts)

  return lax.map(one, own, batch_size=_BLOCK_ROWS)
