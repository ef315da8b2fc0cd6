"""Cubic B-splines: how a point shares its charge among the nodes of a grid.

The middle of the grid, at node g // 2 of either axis, is the origin of the map.
"""

from jax import numpy as jnp
from jaxtyping import Array, Float, Int


def stencil(
  own: Float[Array, "p 2"], spacing: Float[Array, ""], nodes: int
) -> tuple[Int[Array, "p 4 4"], Float[Array, "p 4 4"]]:
  """The 4 x 4 nodes around each point, and their weights.

  Args:
    own: positions, within the grid.
    spacing: between two nodes.
    nodes: g, nodes of either axis.

  Returns:
    Numbers of the nodes, row after row, and weights that add up to 1.

  >>> node, weight = stencil(jnp.zeros((1, 2)), jnp.float32(1.0), 8)
  >>> node[0, 1].tolist(), round(float(weight[0, 1, 1]), 3)
  ([35, 36, 37, 38], 0.444)
  """
  place = own / spacing
  first = jnp.floor(place)
  # Before the middle is added: near it points differ by less than that rounds.
  inside = place - first
  first = first + nodes // 2
  offsets = jnp.arange(-1, 3)[None, None]
  weight = cubic(inside[:, :, None] - offsets)
  # A place that is not a number, or beyond the grid, must not read elsewhere.
  first = jnp.clip(jnp.nan_to_num(first), 1, nodes - 3).astype(jnp.int32)
  line = first[:, :, None] + offsets
  node = line[:, 0, :, None] * nodes + line[:, 1, None, :]
  return node, weight[:, 0, :, None] * weight[:, 1, None, :]


def of_axes(
  own: Float[Array, "p 2"], spacing: Float[Array, ""], nodes: int
) -> tuple[Float[Array, "p g"], Float[Array, "p g"]]:
  """Weights of all nodes of either axis for each point, most of them 0.

  >>> x, _ = of_axes(jnp.zeros((1, 2)), jnp.float32(1.0), 8)
  >>> [round(weight, 3) for weight in x[0, 2:6].tolist()]
  [0.0, 0.167, 0.667, 0.167]
  """
  place = own / spacing
  nodes_at = jnp.arange(nodes) - nodes // 2
  weight = cubic(place[:, :, None] - nodes_at[None, None])
  return weight[:, 0], weight[:, 1]


def cubic(away: Float[Array, "..."]) -> Float[Array, "..."]:
  """The cubic B-spline: the share of a charge that a node so far away takes.

  Args:
    away: from the charge to the node, in spacings.

  >>> [round(w, 3) for w in cubic(jnp.array([0.0, 1.0, 2.0])).tolist()]
  [0.667, 0.167, 0.0]
  """
  distance = jnp.abs(away)
  near = 2 / 3 - distance**2 + distance**3 / 2
  far = jnp.maximum(2 - distance, 0.0) ** 3 / 6
  return jnp.where(distance < 1, near, far)
