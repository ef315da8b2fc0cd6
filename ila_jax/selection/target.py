"""How a target set lies on the map of a pool, and the weights it gives cells.

See docs/method.md 11.
"""

from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours

# For ten target examples, one more is spread evenly over the pool's cells.
SPREAD = 10
# Rows of the pool that are compared at once.
_BLOCK_ROWS = 65_536


class Nearest(NamedTuple):
  """The most similar row of each query.

  Attributes:
    place: of the row; -1: there is none.
    cosine: to it; -1 likewise.
  """

  place: Int[np.ndarray, " m"]
  cosine: Float[np.ndarray, " m"]


def nearest(
  queries: Float[np.ndarray, "m d"],
  x: Any,
  among: Int[np.ndarray, " k"],
  *,
  mesh: Mesh,
) -> Nearest:
  """The row of a pool that is most similar to each of some vectors.

  Rows are read block by block, and no more of them is held.

  Args:
    queries: unit norm, float32.
    x: of the pool, anything of which x[places] is an array.
    among: places of the rows that count.
    mesh: the devices; queries are split over them.

  >>> x = np.eye(3, dtype=np.float32)
  >>> nearest(x[:2], x, np.array([1, 2]), mesh=mesh_lib.make()).place.tolist()
  [1, 1]
  """
  place = np.full(len(queries), -1, np.int64)
  cosine = np.full(len(queries), -1, np.float32)
  if not len(queries):
    return Nearest(place, cosine)
  spread = mesh_lib.put_rows(queries, mesh)
  wide = queries.astype(np.float64)
  size = min(_BLOCK_ROWS, len(among))
  for start in range(0, len(among), size or 1):
    rows = among[start : start + size]
    block = x[rows]
    # The last block is filled up, so that one program serves all.
    filled = np.pad(block, ((0, size - len(block)), (0, 0)), mode="edge")
    points = mesh_lib.put(filled, mesh, mesh_lib.REPLICATED)
    near = neighbours.nearest(spread, points, k=1)
    own = mesh_lib.fetch(near.index)[: len(queries), 0]
    own = np.minimum(own, len(block) - 1)
    found = np.einsum("md,md->m", wide, block[own]).astype(np.float32)
    found = np.minimum(found, np.float32(1))
    better = (place < 0) | (found > cosine)
    place = np.where(better, rows[own], place)
    cosine = np.where(better, found, cosine)
  return Nearest(place, cosine)


def weights(
  cell: Int[np.ndarray, " n"], of_target: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " n"] | None:
  """The weight of each row's cell, by the target examples in the cells.

  With t_c of the m target examples that lie in K occupied cells in cell c, the
  cell has the weight W_c = t_c + m / (10 K): for ten target examples one more
  is spread evenly, so that no cell of the pool is without weight. Only the
  ratios of weights count; they are given times 10 K, as whole numbers.

  Args:
    cell: of each row of the pool, from 0.
    of_target: cell of each target example.

  Returns:
    Weights; None where no target example is in a cell that the pool occupies.

  >>> weights(np.array([0, 0, 5]), np.array([5, 5, 7])).tolist()
  [2.0, 2.0, 42.0]
  """
  occupied, number = np.unique(cell, return_inverse=True)
  inside = of_target[np.isin(of_target, occupied)]
  if not len(inside):
    return None
  counts = np.bincount(
    np.searchsorted(occupied, inside), minlength=len(occupied)
  )
  whole = SPREAD * len(occupied) * counts + len(inside)
  return whole[number].astype(np.float64)


def about(
  cell: Int[np.ndarray, " n"],
  of_target: Int[np.ndarray, " m"],
  cosine: Float[np.ndarray, " m"],
  of_dev: Float[np.ndarray, " v"],
) -> dict[str, Any]:
  """How the target set lies among the pool, as numbers for the report.

  Args:
    cell: of each row of the pool.
    of_target: cell of each target example.
    cosine: of each target example to its nearest candidate.
    of_dev: the same of the dev examples; NaN is told as None.
  """
  is_occupied = np.isin(of_target, cell)
  return {
    "examples": len(of_target),
    "in_occupied_cells": int(is_occupied.sum()),
    "cells": len(np.unique(of_target[is_occupied])),
    "pool_cells": len(np.unique(cell)),
    "cosine": float(cosine.mean()),
    "dev_cosine": float(of_dev.mean()) if len(of_dev) else None,
  }


def sentences(told: dict[str, Any]) -> list[str]:
  """What `about` tells, in sentences.

  >>> print(*sentences({"examples": 8, "in_occupied_cells": 6, "cells": 2,
  ...   "pool_cells": 9, "cosine": 0.5, "dev_cosine": 0.75}), sep="\\n")
  Of 8 target examples 6 lie in 2 of the pool's 9 cells; the pool has nothing \
near the other 2 (25.0 %).
  The nearest candidate has a cosine of 0.500 to a target example, and of \
0.750 to a dev example, in the mean.
  """
  total, inside = told["examples"], told["in_occupied_cells"]
  first = (
    f"Of {total:,} target examples {inside:,} lie in {told['cells']:,} of the "
    f"pool's {told['pool_cells']:,} cells"
  )
  if inside < total:
    first += (
      f"; the pool has nothing near the other {total - inside:,} "
      f"({1 - inside / total:.1%})".replace("%", " %")
    )
  second = (
    f"The nearest candidate has a cosine of {told['cosine']:.3f} to a target "
    "example"
  )
  if told["dev_cosine"] is not None:
    second += f", and of {told['dev_cosine']:.3f} to a dev example"
  return [f"{first}.", f"{second}, in the mean."]
