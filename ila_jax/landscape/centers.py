"""Centres of clusters, and the cell of a row: its nearest centre."""

from typing import NamedTuple

import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from ila_jax.compute import neighbours, row_blocks

# Centres in one matrix product: 8 MB with row_blocks.ROWS rows.
_CENTERS = 2048


class Assigned(NamedTuple):
  """The nearest centre of every row, and the squared distance to it."""

  cell: Int[Array, " n"]
  squared: Float[Array, " n"]


def assign(
  x: Float[Array | np.ndarray, "n d"],
  centers: Float[Array | np.ndarray, "c d"],
) -> Assigned:
  """The cell of every row: its nearest centre, the first of equals.

  A row gets the same bits in a shard and in the whole pool, so that new records
  can join.

  Args:
    x: embeddings, float32. Rows may be sharded; then so is the answer.
    centers: from `clusters.kmeans`.

  Returns:
    Cells (int32) and squared distances (float32).

  >>> near = assign(np.array([[0.0], [4.0]]), np.array([[1.0], [3.0], [3.0]]))
  >>> near.cell.tolist(), near.squared.tolist()
  ([0, 1], [1.0, 1.0])
  """
  x = jnp.asarray(x, jnp.float32)
  centers = jnp.asarray(centers, jnp.float32)
  return row_blocks.apply(_assign_rows, x, centers)


def _assign_rows(
  rows: Float[Array, "b d"], centers: Float[Array, "c d"]
) -> Assigned:
  """`assign` for the rows of one block."""
  cell = nearest(rows, centers)
  differences = rows - centers[cell]
  return Assigned(cell, jnp.sum(differences * differences, axis=1))


def nearest(
  rows: Float[Array, "b d"], centers: Float[Array, "c d"]
) -> Int[Array, " b"]:
  """The nearest centre m of each row, argmax x.m - |m|^2 / 2.

  It goes through the centres block by block, so that any number fits.

  >>> nearest(jnp.array([[0.0], [4.0]]), jnp.array([[1.0], [3.0]])).tolist()
  [0, 1]
  """
  clusters, width = centers.shape
  size = min(clusters, _CENTERS)
  missing = -clusters % size
  half_norms = jnp.sum(centers * centers, axis=1) / 2
  half_norms = jnp.pad(half_norms, (0, missing), constant_values=jnp.inf)
  blocks = jnp.pad(centers, ((0, missing), (0, 0))).reshape(-1, size, width)

  def better(
    best: tuple[Int[Array, " b"], Float[Array, " b"]],
    block: tuple[Int[Array, ""], Float[Array, "s d"], Float[Array, " s"]],
  ) -> tuple[tuple[Int[Array, " b"], Float[Array, " b"]], None]:
    index, centers, half_norms = block
    # Centres first, and no argmax: on a CPU both are faster so. That the
    # greatest is found again rests on products being taken once.
    closeness = jnp.dot(centers, rows.T, precision=neighbours.EXACT)
    closeness = closeness - half_norms[:, None]
    most = jnp.max(closeness, axis=0)
    place = jnp.where(closeness == most[None], places[:, None], size)
    place = jnp.min(place, axis=0)
    is_better = most > best[1]
    cell = jnp.where(is_better, index * size + place, best[0])
    return (cell, jnp.maximum(most, best[1])), None

  places = jnp.arange(size, dtype=jnp.int32)
  n = len(rows)
  start = jnp.zeros(n, jnp.int32), jnp.full(n, -jnp.inf)
  index = jnp.arange(len(blocks), dtype=jnp.int32)
  blocks = index, blocks, half_norms.reshape(-1, size)
  return lax.scan(better, start, blocks)[0][0]
