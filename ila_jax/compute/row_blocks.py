"""Rows in blocks of one size: little memory, and bits that stay the same.

A matrix product rounds by its shape. In blocks of one size a row has the same
answer whatever rows stand around it: in a shard, alone, on one device or many.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int, PyTree

from ila_jax.compute import mesh as mesh_lib

ROWS = 1024  # Of a block.
# A number of blocks that the compiler does not know. Of a loop of one round it
# would keep no more than the rows that are wanted, and these round otherwise.
_ONE = np.int32(1)


def apply(function: Callable, x: PyTree[Any], *whole: PyTree[Any]) -> PyTree:
  """function(block of rows, *whole), for all rows, on any mesh.

  Args:
    function: of rows [ROWS, ...] and what else it needs, to an answer a row.
      Give the same function each time: it is compiled once.
    x: arrays of as many rows. If these are sharded over a mesh, so is the
      answer.
    whole: needed whole on every device.

  >>> apply(jnp.dot, jnp.eye(3), jnp.array([1.0, 2.0, 3.0])).tolist()
  [1.0, 2.0, 3.0]
  """
  mesh, axes = mesh_lib.row_sharding(jax.tree.leaves(x)[0])
  x, whole = jax.tree.map(jnp.asarray, (x, whole))
  if mesh is not None:
    everywhere = jax.sharding.NamedSharding(mesh, PartitionSpec())
    whole = jax.device_put(whole, everywhere)
  return _apply(x, whole, _ONE, function=function, mesh=mesh, axes=axes)


def walk(
  function: Callable[[PyTree, Array, PyTree], tuple[PyTree, PyTree]],
  x: PyTree[Any],
  state: PyTree[Any] = (),
  *,
  one: Int[Array, ""] | int = 1,
) -> tuple[PyTree, PyTree]:
  """Goes through the rows of one device, block by block.

  The last block ends with the last row, so it may start with rows that were
  seen before; `fresh` is False for these, and they must not count again.

  Args:
    function: of (rows, fresh [ROWS] bool, state), to an answer a row and to the
      next state.
    x: arrays of as many rows, on one device.
    state: before the first block.
    one: 1; as an argument of the compiled program it keeps the blocks whole.

  Returns:
    The answers of all rows, and the last state.

  >>> count = lambda rows, fresh, state: (2 * rows, state + fresh.sum())
  >>> doubled, rows = walk(count, jnp.arange(1500.0), jnp.int32(0))
  >>> doubled[-1].item(), rows.item()
  (2998.0, 1500)
  """
  count = len(jax.tree.leaves(x)[0])
  n = max(count, ROWS)
  x = jax.tree.map(
    lambda a: jnp.pad(a, [(0, n - count), *[(0, 0)] * (a.ndim - 1)]), x
  )

  def block(
    i: Int[Array, ""], state: PyTree[Any]
  ) -> tuple[Array, PyTree[Any], PyTree[Any]]:
    start = jnp.minimum(i * ROWS, n - ROWS)
    rows = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, start, ROWS), x)
    place = start + jnp.arange(ROWS)
    fresh = (place >= i * ROWS) & (place < count)
    return start, *function(rows, fresh, state)

  def step(
    i: Int[Array, ""], carry: tuple[PyTree[Any], PyTree[Any]]
  ) -> tuple[PyTree[Any], PyTree[Any]]:
    answers, state = carry
    start, more, state = block(i, state)
    answers = jax.tree.map(
      lambda a, new: lax.dynamic_update_slice_in_dim(a, new, start, 0),
      answers,
      more,
    )
    return answers, state

  answers = jax.tree.map(
    lambda a: jnp.zeros((n, *a.shape[1:]), a.dtype),
    jax.eval_shape(block, 0, state)[1],
  )
  blocks = one * -(-n // ROWS)
  answers, state = lax.fori_loop(0, blocks, step, (answers, state))
  return jax.tree.map(lambda a: a[:count], answers), state


@functools.partial(jax.jit, static_argnames=("function", "mesh", "axes"))
def _apply(
  x: PyTree[Any],
  whole: tuple[PyTree[Any], ...],
  one: Int[Array, ""],
  *,
  function: Callable,
  mesh: Mesh | None,
  axes: Any,
) -> PyTree[Any]:
  """`apply`, compiled: on each device of the mesh, or without one."""

  def on_device(
    x: PyTree[Any], whole: tuple[PyTree[Any], ...], one: Int[Array, ""]
  ) -> PyTree[Any]:
    def answer(rows: PyTree[Any], *_: Any) -> tuple[PyTree[Any], tuple[()]]:
      return function(rows, *whole), ()

    return walk(answer, x, one=one)[0]

  if mesh is not None:
    by_row = PartitionSpec(axes)
    on_device = jax.shard_map(
      on_device,
      mesh=mesh,
      in_specs=(by_row, PartitionSpec(), PartitionSpec()),
      out_specs=by_row,
      check_vma=False,
    )
  return on_device(x, whole, one)
