"""The deepest example of every cell, by segment reductions over a mesh.

Nothing is sorted: a cell takes the rows of a block by their depth, then by what
breaks ties, then by their place. Each device reduces its own rows, and an
all-reduce of three numbers a cell joins them at the end.
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

# No row; every key of a row is below.
_NONE = np.iinfo(np.int32).max
# Rows that are reduced at once: what they need stays in a cache.
_BLOCK_ROWS = 2**18

_Keys = tuple[Int[Array, " c"], ...]
_Rows = tuple[Int[Array, " b"], ...]


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
  mesh, axes = mesh_lib.row_sharding(cell)
  rows = cell, depth, id_rank, candidate
  row, bad = _deepest(*rows, num_cells=num_cells, mesh=mesh, axes=axes)
  if bad:
    ordering.require_finite(depth, candidate)
  return row


@functools.partial(jax.jit, static_argnames=("num_cells", "mesh", "axes"))
def _deepest(
  *rows: Array,
  num_cells: int,
  mesh: Mesh | None,
  axes: str | tuple[str, ...] | None,
) -> tuple[Int[Array, " c"], Bool[Array, ""]]:
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
) -> tuple[Int[Array, " c"], Bool[Array, ""]]:
  """Reduces the rows of one device block by block; joins those of `axes`.

  Returns:
    The rows, and whether the depth of a candidate is not finite.
  """
  n = len(cell)
  first_row = 0 if axes is None else n * lax.axis_index(axes)
  row = first_row + jnp.arange(n, dtype=jnp.int32)
  # Ascending: the deeper, then the lower id; the last names the row.
  keys = ~ordering.sortable(depth), id_rank.astype(jnp.int32), row
  block = min(n, max(_BLOCK_ROWS, num_cells))

  def step(
    i: Int[Array, ""], carry: tuple[_Keys, Bool[Array, ""]]
  ) -> tuple[_Keys, Bool[Array, ""]]:
    best, bad = carry
    # The last block begins early: a row that comes twice changes nothing.
    start = jnp.minimum(i * block, n - block)
    part = [
      lax.dynamic_slice_in_dim(column, start, block)
      for column in (cell, candidate, ~jnp.isfinite(depth), *keys)
    ]
    bad |= jnp.any(part[1] & part[2])
    return _take_in(best, part[0], part[1], tuple(part[3:])), bad

  best = (jnp.full(num_cells, _NONE),) * len(keys)
  blocks = -(-n // block) if n else 0
  best, bad = lax.fori_loop(0, blocks, step, (best, jnp.array(False)))
  if axes is not None:
    best, bad = _join(best, axes), lax.pmax(bad.astype(jnp.int32), axes) > 0
  return jnp.where(best[-1] == _NONE, -1, best[-1]), bad


def _take_in(
  best: _Keys, cell: Int[Array, " b"], alive: Bool[Array, " b"], keys: _Rows
) -> _Keys:
  """Compares the rows of a block with the best of their cells so far."""
  changed = jnp.zeros(best[0].shape, bool)
  taken = []
  for table, key in zip(best, keys, strict=True):
    # Where an earlier key went down, the others of the old best are void.
    table = jnp.where(changed, _NONE, table)
    least = table.at[cell].min(jnp.where(alive, key, _NONE), mode="drop")
    changed |= least < table
    alive &= key == least[cell]
    taken.append(least)
  return tuple(taken)


def _join(best: _Keys, axes: str | tuple[str, ...]) -> _Keys:
  """The best of every cell over all devices, on each of them."""
  alive = jnp.ones(best[0].shape, bool)
  joined = []
  for key in best:
    least = lax.pmin(jnp.where(alive, key, _NONE), axes)
    alive &= key == least
    joined.append(least)
  return tuple(joined)
