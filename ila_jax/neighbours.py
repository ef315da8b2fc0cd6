"""Exact nearest neighbours by blocked matrix products, on any mesh."""

import functools
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

# 25 MB of float32: on a CPU a product of fewer rows is slow, and temporaries
# above 32 MB are page-faulted anew at every call.
BLOCK_FLOATS = 6 * 2**20
# Rows of a block where the points alone would fill it.
_FEWEST_ROWS = 32
# Points of a group, of which at first only the nearest counts.
_GROUP = 16
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

  The order comes from matrix products, the distances themselves from the
  differences, so that a point is at distance 0 from its duplicate. Equally near
  points come in the order of their index. On a TPU the neighbours are found
  approximately (`jax.lax.approx_max_k`, Chern et al. 2022): each with
  probability 0.98.

  Args:
    queries: float32. Rows may be sharded over a mesh; then so is the answer.
    points: float32, needed whole on every device.
    k: at most m, or m - 1 where `same`.
    same: queries are the points, and no point is its own neighbour.

  Returns:
    Indices (int32) into points, and squared Euclidean distances (float32).

  >>> found = nearest(np.eye(3, dtype=np.float32), np.eye(3)[1:], k=1)
  >>> found.index[:, 0].tolist(), found.squared[:, 0].tolist()
  ([0, 0, 1], [2.0, 0.0, 0.0])
  """
  mesh, axes = row_sharding(queries)
  if mesh is not None:
    points = jax.device_put(points, NamedSharding(mesh, PartitionSpec()))
  queries = jnp.asarray(queries, jnp.float32)
  points = jnp.asarray(points, jnp.float32)
  return _nearest(queries, points, k=k, same=same, mesh=mesh, axes=axes)


def take_whole(
  x: Float[Array | np.ndarray, "n d"], rows: Int[Array | np.ndarray, " k"]
) -> Float[Array, "k d"]:
  """Some rows of x, each on every device of its mesh.

  >>> take_whole(np.eye(3), np.array([2])).tolist()
  [[0.0, 0.0, 1.0]]
  """
  taken = jnp.asarray(x, jnp.float32)[jnp.asarray(rows)]
  mesh, _ = row_sharding(x)
  if mesh is None:
    return taken
  return jax.device_put(taken, NamedSharding(mesh, PartitionSpec()))


def row_sharding(x: Array | np.ndarray):
  """The mesh over which the rows of `x` are sharded, and the axes' names."""
  sharding = getattr(x, "sharding", None)
  if not isinstance(sharding, NamedSharding) or sharding.is_fully_replicated:
    return None, None
  return sharding.mesh, sharding.spec[0]


@functools.partial(jax.jit, static_argnames=("k", "same", "mesh", "axes"))
def _nearest(queries, points, *, k, same, mesh, axes):
  rows = jnp.arange(len(queries), dtype=jnp.int32)
  search = functools.partial(_search, k=k, same=same)
  if mesh is not None:
    by_row, whole = PartitionSpec(axes), PartitionSpec()
    search = jax.shard_map(
      search, mesh=mesh, in_specs=(by_row, by_row, whole), out_specs=by_row
    )
  return search(rows, queries, points)


def _search(rows, queries, points, *, k, same):
  if not len(queries) or not k:
    empty = (len(queries), k)
    return Neighbours(jnp.zeros(empty, jnp.int32), jnp.zeros(empty))
  half_norms = jnp.sum(points * points, axis=1) / 2
  columns = jnp.arange(len(points), dtype=jnp.int32)

  def one(row_and_query):
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
  block = max(_FEWEST_ROWS, BLOCK_FLOATS // floats_per_row)
  return lax.map(one, (rows, queries), batch_size=min(block, len(queries)))


def _greatest(values: Float[Array, " m"], k: int) -> Int[Array, " k"]:
  """Where the k greatest values are; of equal ones the first.

  The k greatest lie in the k groups with the greatest maxima, and a search
  among few is faster than one among all.
  """
  if jax.default_backend() == "tpu":
    return lax.approx_max_k(values, k, recall_target=0.98)[1]
  groups = -(-len(values) // _GROUP)
  if groups < 4 * k:
    return lax.top_k(values, k)[1].astype(jnp.int32)
  missing = groups * _GROUP - len(values)
  values = jnp.pad(values, (0, missing), constant_values=-jnp.inf)
  values = values.reshape(groups, _GROUP)
  # In their order, so that of equal values the first still wins.
  group = jnp.sort(lax.top_k(jnp.max(values, axis=1), k)[1])
  place = lax.top_k(values[group].reshape(-1), k)[1]
  found = group[place // _GROUP] * _GROUP + place % _GROUP
  return found.astype(jnp.int32)
