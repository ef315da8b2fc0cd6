"""The deepest example of every cell, by segment reductions over a mesh.

Nothing is sorted: a pass over the rows for the depth, one for the ties, one for
the row. Each device reduces its own rows, and an all-reduce of one number a
cell joins them after each pass.
"""

import functools

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape import ordering

_NONE = np.iinfo(np.int32).max


def deepest(
  cell: Int[Array | np.ndarray, " n"],
  depth: Float[Array | np.ndarray, " n"],
  id_rank: Int[Array | np.ndarray, " n"],
  candidate: Bool[Array | np.ndarray, " n"],
  *,
  num_cells: int,
) -> Int[Array, " c"]:
  """The row of the greatest depth in every cell; ties go to the lower id.

  These are the rows of round 1 of `ordering.total_order`: what the published
  method selects.

  Args:
    cell: cell of each row, from 0, below `num_cells` [n]. Rows may be sharded.
    depth: float32, finite where `candidate` [n].
    id_rank: distinct; the tie-break [n].
    candidate: rows that may win [n].
    num_cells: c.

  Returns:
    Rows, -1 for a cell without a candidate, int32 [c]; whole on every device.

  Raises:
    ValueError: the depth of a candidate is not finite.

  >>> deepest(np.array([0, 0, 2]), np.array([5.0, 9.0, 1.0]), np.arange(3),
  ...   np.ones(3, bool), num_cells=3).tolist()
  [1, -1, 2]
  """
  ordering.require_finite(depth, candidate)
  mesh, axes = mesh_lib.row_sharding(cell)
  rows = cell, depth, id_rank, candidate
  return _deepest(*rows, num_cells=num_cells, mesh=mesh, axes=axes)


@functools.partial(jax.jit, static_argnames=("num_cells", "mesh", "axes"))
def _deepest(
  *rows: Array,
  num_cells: int,
  mesh: Mesh | None,
  axes: str | tuple[str, ...] | None,
) -> Int[Array, " c"]:
  reduce = functools.partial(_reduce, num_cells=num_cells, axes=axes)
  if mesh is None:
    return reduce(*rows)
  return jax.shard_map(
    reduce,
    mesh=mesh,
    in_specs=PartitionSpec(axes),
    out_specs=PartitionSpec(),
    check_vma=False,
  )(*rows)


def _reduce(
  cell: Int[Array, " n"],
  depth: Float[Array, " n"],
  id_rank: Int[Array, " n"],
  candidate: Bool[Array, " n"],
  *,
  num_cells: int,
  axes: str | tuple[str, ...] | None,
) -> Int[Array, " c"]:
  """Reduces the rows of one device, and joins the devices of `axes`."""
  n = len(cell)
  first_row = 0 if axes is None else n * lax.axis_index(axes)
  row = first_row + jnp.arange(n, dtype=jnp.int32)
  alive, least = candidate, jnp.full(num_cells, _NONE)
  # Ascending: the deeper, then the lower id; the last pass names the row.
  for key in (~ordering.sortable(depth), id_rank.astype(jnp.int32), row):
    least = (
      jnp.full(num_cells, _NONE)
      .at[cell]
      .min(jnp.where(alive, key, _NONE), mode="drop")
    )
    if axes is not None:
      least = lax.pmin(least, axes)
    alive &= key == least[cell]
  return jnp.where(least == _NONE, -1, least)
