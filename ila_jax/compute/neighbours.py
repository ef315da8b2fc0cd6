"""Exact nearest neighbours by blocked matrix products, on any mesh."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import row_blocks

# 25 MB of float32: on a CPU a product of fewer rows is slow, and temporaries
# above 32 MB are page-faulted anew at every call.
BLOCK_FLOATS = 6 * 2**20
# Rows of a block where the points alone would fill it.
_FEWEST_ROWS = 32
_APPROXIMATE_FROM = 16  # Neighbours, on a TPU.
# Points of a group at least, of which at first only the nearest counts.
_FEWEST_OF_A_GROUP = 16
# Accelerators round the factors of a product to 10 or 8 bits unless told.
EXACT = lax.Precision.HIGHEST


class Neighbours(NamedTuple):
  """The k nearest points of every query, nearest first."""

  index: Int[Array, "n k"]
  squared: Float[Array, "n k"]


def nearest(
  queries: Float[Array | np.ndarray, "n d"],
  points: Float[Array | np.ndarray, "m d"],
  *,
  k: int,
  same: bool = False,
) -> Neighbours:
  """Finds the k nearest points of every query: argmin_j |q - p_j|^2.

  Matrix products find the neighbours; the distances and their order come from
  the differences, so that a point is at distance 0 from its duplicate. Equally
  near points come in the order of their index. On a TPU the neighbours are
  found approximately from k = 16 on (`jax.lax.approx_max_k`, Chern et al.
  2022): each with probability 0.98.

  Args:
    queries: float32. Rows may be sharded over a mesh; then so is the answer.
    points: float32, needed whole on every device.
    k: at most m, or m - 1 where `same`.
    same: queries are the points, and no point is its own neighbour.

  Returns:
    Indices (int32) into points, and squared Euclidean distances (float32).

  >>> near = nearest(np.eye(3, dtype=np.float32), np.eye(3)[1:], k=1)
  >>> near.index[:, 0].tolist(), near.squared[:, 0].tolist()
  ([0, 0, 1], [2.0, 0.0, 0.0])
  """
  n = len(queries)
  if not n or not k:
    return Neighbours(jnp.zeros((n, k), jnp.int32), jnp.zeros((n, k)))
  queries = jnp.asarray(queries, jnp.float32)
  points = jnp.asarray(points, jnp.float32)
  rows = jnp.arange(n, dtype=jnp.int32)
  return row_blocks.apply(_search(k, same), (rows, queries), points)


def take_whole(
  x: Float[Array | np.ndarray, "n d"], rows: Int[Array | np.ndarray, " k"]
) -> Float[Array, "k d"]:
  """Some rows of x, each on every device of its mesh.

  >>> take_whole(np.eye(3), np.array([2])).tolist()
  [[0.0, 0.0, 1.0]]
  """
  taken = jnp.asarray(x, jnp.float32)[jnp.asarray(rows)]
  mesh, _ = mesh_lib.row_sharding(x)
  if mesh is None:
    return taken
  return jax.device_put(taken, NamedSharding(mesh, PartitionSpec()))


@functools.lru_cache(maxsize=64)
def _search(k: int, same: bool) -> Callable[..., Neighbours]:
  """The search for a block of rows; the same function each time."""

  def search(
    rows_and_queries: tuple[Int[Array, " b"], Float[Array, "b d"]],
    points: Float[Array, "m d"],
  ) -> Neighbours:
    half_norms = jnp.sum(points * points, axis=1) / 2
    columns = jnp.arange(len(points), dtype=jnp.int32)

    def one(
      row_and_query: tuple[Int[Array, ""], Float[Array, " d"]],
    ) -> Neighbours:
      row, query = row_and_query
      # q.p - |p|^2 / 2 falls as the distance |q - p| grows.
      closeness = jnp.dot(points, query, precision=EXACT) - half_norms
      if same:
        closeness = jnp.where(columns == row, -jnp.inf, closeness)
      index = _greatest(closeness, k)
      differences = points[index] - query[None]
      squared = jnp.sum(differences * differences, axis=1)
      # By the distance itself, which rounds less; a duplicate comes first.
      squared, index = lax.sort((squared, index), num_keys=2)
      return Neighbours(index, squared)

    floats_per_row = max(len(points), k * points.shape[1])
    wanted = max(_FEWEST_ROWS, block_floats() // floats_per_row)
    # A power of two divides the block: the products have one shape.
    rows = 1 << min(wanted, row_blocks.ROWS).bit_length() - 1
    return lax.map(one, rows_and_queries, batch_size=rows)

  return search


def block_floats() -> int:
  """Floats of a block of products, by the memory of the platform.

  >>> block_floats() >= BLOCK_FLOATS
  True
  """
  return BLOCK_FLOATS if mesh_lib.platform() == "cpu" else 128 * BLOCK_FLOATS


def _greatest(values: Float[Array, " m"], k: int) -> Int[Array, " k"]:
  """Where the k greatest values are; of equal ones the first.

  The k greatest lie in the k groups with the greatest maxima, and a search
  among few is faster than one among all.
  """
  if mesh_lib.platform() == "tpu" and k >= _APPROXIMATE_FROM:
    return lax.approx_max_k(values, k, recall_target=0.98)[1]
  size = _group_size(len(values), k)
  groups = -(-len(values) // size)
  if groups < 4 * k:
    return lax.top_k(values, k)[1].astype(jnp.int32)
  missing = groups * size - len(values)
  values = jnp.pad(values, (0, missing), constant_values=-jnp.inf)
  values = values.reshape(groups, size)
  # In their order, so that of equal values the first still wins.
  group = jnp.sort(lax.top_k(jnp.max(values, axis=1), k)[1])
  place = lax.top_k(values[group].reshape(-1), k)[1]
  index = group[place // size] * size + place % size
  return index.astype(jnp.int32)


def _group_size(count: int, k: int) -> int:
  """Points of a group: a power of two near which both searches are as long.

  >>> _group_size(10_000, 90), _group_size(1_000_000, 90)
  (16, 128)
  """
  even = (count / k) ** 0.5
  return max(_FEWEST_OF_A_GROUP, 1 << round(math.log2(even)))
