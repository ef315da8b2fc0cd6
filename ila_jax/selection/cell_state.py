"""The best of every cell while a pool passes: a state that merges.

See docs/method.md 6.

Shards of a pool pass one by one, and only the `keep` best candidates of every
cell are held, so that memory depends on cells × keep and not on the pool. The
best come by depth, descending, then by what breaks ties: the words of the id,
and at last the place in the stream. As that order is total, the state of two
parts merges to the state of the whole, to the same bit, in any order.

Ids are compared by their 64 bits, not by their rank among all ids, which a
stream cannot know. Over a mesh every device holds a state of its own rows, and
one all-to-all joins them at the end, each device a part of the cells.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape import ordering
from ila_jax.selection import cell_lists

# Rows that pass at once: what they need stays in a cache.
_BLOCK_ROWS = 2**18
_ON_MESH = ("mesh", "axes")


class CellState(NamedTuple):
  """The best candidates of every cell, one part for each shard of a mesh.

  Attributes:
    fields: int32 [s, c, k], each: ~(depth as an integer of its order), the
      words of the id, the place in the stream. Entries ascend by them, the
      first decides; all are the largest integer where there is no entry.
    refused: candidates that no cell could take [s].
  """

  fields: tuple[Int[Array, "s c k"], ...]
  refused: Int[Array, " s"]


def empty(
  *, num_cells: int, keep: int, words: int = 0, mesh: Mesh | None = None
) -> CellState:
  """The state before any row has passed.

  Args:
    num_cells: c.
    keep: candidates of a cell that are held, at least 1.
    words: integers that break ties before the place in the stream does.
    mesh: devices to spread over; None: one device, s = 1.

  Raises:
    ValueError: nothing is to be kept.

  >>> empty(num_cells=3, keep=2).fields[0].shape
  (1, 3, 2)
  """
  if keep < 1:
    raise ValueError(f"keep is {keep}; at least 1 of a cell must be kept")
  shards = 1 if mesh is None else mesh_lib.batch_multiple(mesh)
  by_shard = None if mesh is None else NamedSharding(mesh, mesh_lib.BATCH)
  # Each device makes its own part: the whole may be too large for the host.
  make = functools.partial(jnp.full, dtype=jnp.int32, device=by_shard)
  lists = (shards, num_cells, keep), cell_lists.NONE
  fields = tuple(make(*lists) for _ in range(words + 2))
  return CellState(fields, make(shards, 0))


def update(
  state: CellState,
  cell: Int[Array | np.ndarray, " n"],
  depth: Float[Array | np.ndarray, " n"],
  words: tuple[Int[Array | np.ndarray, " n"], ...],
  candidate: Bool[Array | np.ndarray, " n"],
  *,
  first_row: int,
) -> CellState:
  """Adds rows to the state; the old state is used up.

  One cell takes its rows by segment reductions, a field at a time: nothing is
  sorted. Where more than one is kept, the best of every cell goes in, round by
  round, until no row is left that could; after few shards that is soon, as
  most rows lose against the worst that is kept.

  Args:
    state: what has passed.
    cell: cell of each row [n].
    depth: float32 [n].
    words: as many as the state has [n].
    candidate: rows that may win [n].
    first_row: place in the stream of the first of these rows.

  Returns:
    The state with the rows. A row that passes twice counts once.

  Raises:
    ValueError: more than 2³¹ - 1 rows, or rows that the shards of the state
      do not divide.

  >>> state = empty(num_cells=2, keep=1)
  >>> state = update(state, np.array([1, 1]), np.array([5.0, 9.0]), (),
  ...   np.ones(2, bool), first_row=0)
  >>> state.fields[-1].tolist()
  [[[2147483647], [1]]]
  """
  rows, shards = len(cell), len(state.refused)
  if first_row + rows > cell_lists.NONE:
    raise ValueError(
      f"row {first_row + rows - 1} is beyond the {cell_lists.NONE} rows of a "
      "stream; split the pool, and select from what is kept of its parts"
    )
  if rows % shards:
    raise ValueError(f"{rows} rows do not divide over {shards} shards")
  if len(words) != len(state.fields) - 2:
    raise ValueError(f"the state breaks ties by {len(state.fields) - 2} words")
  if not rows:
    return state
  mesh, axes = mesh_lib.row_sharding(state.refused)
  return _update(
    state,
    (cell, depth, tuple(words), candidate),
    np.int32(first_row),
    mesh=mesh,
    axes=axes,
  )


@jax.jit
def merge(a: CellState, b: CellState) -> CellState:
  """The state of two parts of a pool: that of the whole, in any order.

  >>> merge(empty(num_cells=3, keep=2), empty(num_cells=3, keep=2)).refused
  Array([0], dtype=int32)
  """
  fields = jax.vmap(cell_lists.merge)(a.fields, b.fields)
  return CellState(fields, a.refused + b.refused)


def lists(state: CellState) -> Int[np.ndarray, "f c k"]:
  """The entries of each cell, of all shards, on the host: its fields.

  Raises:
    ValueError: a candidate without a finite depth or with a cell out of range
      has passed.

  >>> lists(empty(num_cells=3, keep=2)).shape
  (2, 3, 2)
  """
  mesh, axes = mesh_lib.row_sharding(state.refused)
  joined = _join(state.fields, mesh=mesh, axes=axes)
  num_cells = state.fields[0].shape[1]
  refused = int(mesh_lib.fetch(state.refused).sum())
  if refused:
    raise ValueError(
      f"the depth of {refused} candidates is not finite, or their cell is not "
      f"below {num_cells}; reject them first"
    )
  return mesh_lib.fetch(joined)[:, :num_cells]


@functools.partial(jax.jit, static_argnames=_ON_MESH, donate_argnames="state")
def _update(state, rows, first_row, *, mesh, axes):
  if mesh is None:
    return _update_part(state, rows, first_row)

  def part(state, rows, first_row):
    first_row += lax.axis_index(axes) * len(rows[0])
    return _update_part(state, rows, first_row)

  by_row = PartitionSpec(axes)
  return jax.shard_map(
    part,
    mesh=mesh,
    in_specs=(by_row, by_row, PartitionSpec()),
    out_specs=by_row,
    check_vma=False,
  )(state, rows, first_row)


def _update_part(state, rows, first_row):
  """Adds the rows of one device to its state, block by block."""
  num_rows = len(rows[0])
  _, num_cells, keep = state.fields[0].shape
  block = min(num_rows, max(_BLOCK_ROWS, num_cells * keep))

  def step(i, carry):
    fields, refused = carry
    # The last block begins early, so that it has as many rows.
    start = jnp.minimum(i * block, num_rows - block)
    cell, depth, words, candidate = jax.tree.map(
      lambda row: lax.dynamic_slice_in_dim(row, start, block), rows
    )
    place = start + jnp.arange(block, dtype=jnp.int32)
    new = candidate & (place >= i * block)
    valid = new & jnp.isfinite(depth) & (cell >= 0) & (cell < num_cells)
    fields = cell_lists.take_in(
      fields,
      jnp.where(valid, cell, 0),
      (~ordering.sortable(depth), *words, first_row + place),
      valid,
    )
    return fields, refused + jnp.sum(new & ~valid, dtype=jnp.int32)

  fields, refused = lax.fori_loop(
    0,
    -(-num_rows // block),
    step,
    (tuple(field[0] for field in state.fields), state.refused[0]),
  )
  return CellState(tuple(field[None] for field in fields), refused[None])


@functools.partial(jax.jit, static_argnames=_ON_MESH)
def _join(fields, *, mesh, axes):
  """One list for each cell, fields [f, c, k]; cells are filled up to shards."""
  if mesh is None:
    return jnp.concatenate(fields)
  shards, num_cells, _ = fields[0].shape
  missing = -num_cells % shards

  def part(fields):
    lists = jnp.stack(fields, axis=1)
    lists = jnp.pad(lists, ((0, 0), (0, 0), (0, missing), (0, 0)))
    # Of all devices, the lists of the cells that this one is to join.
    lists = lax.all_to_all(lists, axes, split_axis=2, concat_axis=0, tiled=True)
    joined = lax.fori_loop(
      1,
      shards,
      lambda shard, found: cell_lists.merge(found, tuple(lists[shard])),
      tuple(lists[0]),
    )
    return jnp.stack(joined)

  return jax.shard_map(
    part,
    mesh=mesh,
    in_specs=PartitionSpec(axes),
    out_specs=PartitionSpec(None, axes),
    check_vma=False,
  )(fields)
