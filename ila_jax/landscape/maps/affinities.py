"""Neighbours and their probabilities: P of t-SNE, sparse and symmetric."""

import math
from typing import NamedTuple

import jax
import numpy as np
import scipy.sparse
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Complex, Float, Int, Shaped

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours, row_blocks

_MULTIPLE = 64
# Pairs in a row: they add up densely, and only the sums of rows are scattered.
_WIDTH = 32


class Pairs(NamedTuple):
  """P cut into rows of 32 pairs; a point owns as many rows as it needs.

  Attributes:
    point: whose row it is, ascending.
    other: the points that it is paired with.
    probability: p_ij; 0 fills the row up.
  """

  point: Int[Array, " r"]
  other: Int[Array, "r 32"]
  probability: Float[Array, "r 32"]


def conditional_probabilities(
  squared: Float[Array, "n k"], perplexity: Float[Array, ""] | float
) -> Float[Array, "n k"]:
  """Gaussian kernels of a given perplexity: p_j|i = exp(-b_i d_ij^2) / sum.

  b_i solves entropy(p_.|i) = log(perplexity), by bisection of log b_i for all
  rows at once. Where more neighbours than the perplexity tie for the nearest,
  no b_i solves it, and they share the row evenly.

  >>> squared = jnp.array([[1.0, 1.0, 50.0]])
  >>> conditional_probabilities(squared, 2.0).round(3).tolist()
  [[0.5, 0.5, 0.0]]
  """
  excess = squared - jnp.min(squared, axis=1, keepdims=True)
  scale = jnp.mean(excess, axis=1, keepdims=True)
  excess = excess / jnp.where(scale > 0, scale, 1.0)
  target = jnp.log(jnp.asarray(perplexity, jnp.float32))

  def halve(
    _: Int[Array, ""], bounds: tuple[Float[Array, " n"], Float[Array, " n"]]
  ) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    low, high = bounds
    middle = (low + high) / 2
    precision = jnp.exp(middle)
    weight = jnp.exp(-precision[:, None] * excess)
    total = jnp.sum(weight, axis=1)
    # Entropy of p = w / sum w, from one exponential.
    mean = jnp.sum(weight * excess, axis=1) / total
    too_flat = jnp.log(total) + precision * mean > target
    return jnp.where(too_flat, middle, low), jnp.where(too_flat, high, middle)

  n = len(squared)
  bounds = (jnp.full(n, -20.0), jnp.full(n, 20.0))
  low, high = lax.fori_loop(0, 40, halve, bounds)
  return jax.nn.softmax(-jnp.exp((low + high) / 2)[:, None] * excess, axis=1)


def joint_probabilities(
  x: Float[Array | np.ndarray, "n d"],
  *,
  perplexity: float,
  mesh: Mesh | None = None,
) -> scipy.sparse.csr_array:
  """P = (p_j|i + p_i|j) / 2n over the 3 * perplexity nearest neighbours.

  Args:
    x: embeddings, float32, equal on every host.
    perplexity: effective number of neighbours.
    mesh: devices that share the search; None: one.

  >>> x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
  >>> p = joint_probabilities(x, perplexity=2.0)
  >>> p.shape, round(float(p.sum()), 5)
  ((9, 9), 1.0)
  """
  n = len(x)
  k = min(n - 1, int(3 * perplexity) + 1)
  x = np.asarray(x, np.float32)
  # Centred, products lose less of small distances to rounding.
  x = x - x.mean(axis=0, keepdims=True)
  queries = x if mesh is None else mesh_lib.put_rows(x, mesh)
  near = neighbours.nearest(queries, x, k=k, same=True)
  directed = row_blocks.apply(
    conditional_probabilities, near.squared, np.float32(perplexity)
  )
  directed, index = mesh_lib.fetch((directed, near.index))
  ends = np.arange(0, n * k + 1, k)
  ends = ends.astype(scipy.sparse.get_index_dtype(maxval=n * k))
  backwards = scipy.sparse.csr_array(
    (directed[:n].ravel(), index[:n].ravel(), ends), shape=(n, n)
  ).T.tocsr()
  # Transposed twice, the neighbours of a row ascend: rows then add up four
  # times as fast as in the order of their distance.
  forwards = backwards.T.tocsr()
  joint = forwards + backwards
  # This divides in place; SciPy's quotient would be a copy in float64.
  joint.data /= np.float32(2 * n)
  return joint


def kl_of_one_place(joint: scipy.sparse.csr_array) -> float:
  """KL(P || Q) in nats of a map with all points in one place.

  A map that tells nothing costs sum p_ij log p_ij + log(n (n - 1)).

  >>> p = scipy.sparse.csr_array(np.array([[0, 0.5], [0.5, 0]]))
  >>> round(kl_of_one_place(p), 6)
  0.0
  """
  n = joint.shape[0]
  p = joint.data[joint.data > 0].astype(np.float64)
  return float(np.sum(p * np.log(p)) + math.log(n * (n - 1)))


def cut(joint: scipy.sparse.csr_array, *, mesh: Mesh | None = None) -> Pairs:
  """Cuts P into `Pairs`, one part for each batch shard of the mesh.

  All parts have equally many points, `rows_for(n)` together; points beyond n
  have no pairs.

  >>> joint = scipy.sparse.csr_array(np.array([[0.0, 0.5], [0.5, 0.0]]))
  >>> pairs = cut(joint)
  >>> pairs.other[:2, 0].tolist(), pairs.probability[:2, :2].tolist()
  ([1, 0], [[0.5, 0.0], [0.5, 0.0]])
  """
  parts = 1 if mesh is None else mesh_lib.batch_multiple(mesh)
  size = rows_for(joint.shape[0], mesh) // parts
  cuts = [_part(joint, i * size, (i + 1) * size) for i in range(parts)]
  rows = max(len(part.point) for part in cuts)
  whole = jax.tree.map(
    lambda *arrays: np.concatenate([_filled(a, rows) for a in arrays]), *cuts
  )
  if mesh is None:
    return jax.tree.map(jnp.asarray, whole)
  return mesh_lib.put(whole, mesh)


def rows_for(n: int, mesh: Mesh | None) -> int:
  """Rows that n points are filled up to: equally many on most meshes.

  A sum over another number of rows rounds otherwise. On 1, 2, 4 and so on up to
  64 devices the number is the same.

  >>> rows_for(65, None)
  128
  """
  parts = 1 if mesh is None else mesh_lib.batch_multiple(mesh)
  multiple = math.lcm(_MULTIPLE, parts)
  return -(-n // multiple) * multiple


def attraction(
  xy: Float[Array, "n m"],
  pairs: Pairs,
  *,
  first: Int[Array, ""] | int,
  points: int,
) -> Float[Array, "p m"]:
  """The pull on some points: sum_j p_ij w_ij (y_i - y_j).

  Two coordinates are read as one complex number: one access to memory in place
  of two, and one sum, which the compiler does not split (eight times faster on
  a CPU).

  Args:
    xy: positions of all points.
    pairs: rows of the points that are asked about.
    first: number of the first of them.
    points: how many they are.

  >>> joint = scipy.sparse.csr_array(np.array([[0.0, 0.5], [0.5, 0.0]]))
  >>> xy = jnp.array([[0.0, 0.0], [1.0, 0.0]])
  >>> attraction(xy, cut(joint), first=0, points=64)[:2].tolist()
  [[-0.25, 0.0], [0.25, 0.0]]
  """
  away, squared = differences(xy, pairs)
  pull = pairs.probability / (1 + squared)
  rows = coordinates([jnp.sum(pull * z, axis=1) for z in away], xy.shape[1])
  # The rows are real numbers, since a GPU cannot scatter complex ones.
  return jax.ops.segment_sum(
    rows, pairs.point - first, points, indices_are_sorted=True
  )


def differences(
  xy: Float[Array, "n m"], pairs: Pairs
) -> tuple[list[Complex[Array, "r 32"]], Float[Array, "r 32"]]:
  """y_i - y_j as complex numbers of two coordinates each, and |y_i - y_j|^2.

  >>> joint = scipy.sparse.csr_array(np.array([[0.0, 0.5], [0.5, 0.0]]))
  >>> xy = jnp.array([[0.0, 0.0], [3.0, 4.0]])
  >>> float(differences(xy, cut(joint))[1][0, 0])
  25.0
  """
  away = [
    place.at[pairs.point].get(mode="promise_in_bounds")[:, None]
    - place.at[pairs.other].get(mode="promise_in_bounds")
    for place in places(xy)
  ]
  return away, sum(z.real**2 + z.imag**2 for z in away)


def places(xy: Float[Array, "n m"]) -> list[Complex[Array, " n"]]:
  """Coordinates two by two as complex numbers; the last may be real.

  >>> [z.tolist() for z in places(jnp.array([[1.0, 2.0, 3.0]]))]
  [[(1+2j)], [(3+0j)]]
  """
  columns = [xy[:, i] for i in range(xy.shape[1])]
  columns += [jnp.zeros(len(xy))] * (len(columns) % 2)
  return [
    lax.complex(*pair) for pair in zip(columns[::2], columns[1::2], strict=True)
  ]


def coordinates(
  z: list[Complex[Array, " n"]], dimensions: int
) -> Float[Array, "n m"]:
  """The inverse of `places`.

  >>> coordinates([jnp.array([1 + 2j]), jnp.array([3 + 0j])], 3).tolist()
  [[1.0, 2.0, 3.0]]
  """
  columns = [part for one in z for part in (one.real, one.imag)]
  return jnp.stack(columns[:dimensions], axis=1)


def _part(joint: scipy.sparse.csr_array, first: int, last: int) -> Pairs:
  """The `Pairs` of the points from `first` to `last`, in NumPy."""
  n = joint.shape[0]
  ends = joint.indptr[np.minimum(np.arange(first, last + 1), n)]
  count = np.diff(ends)
  rows = np.maximum(-(-count // _WIDTH), 1)
  point = np.repeat(np.arange(first, last, dtype=np.int32), rows)
  within = np.arange(len(point)) - np.repeat(np.cumsum(rows) - rows, rows)
  left = np.repeat(count, rows) - _WIDTH * within
  # The pairs of P stand in the same order as the places that are real.
  real = np.arange(_WIDTH) < left[:, None]
  other = np.repeat(point[:, None], _WIDTH, axis=1)
  other[real] = joint.indices[ends[0] : ends[-1]]
  probability = np.zeros(other.shape, np.float32)
  probability[real] = joint.data[ends[0] : ends[-1]]
  return Pairs(point, other, probability)


def _filled(
  array: Shaped[Array | np.ndarray, "k ..."], rows: int
) -> Shaped[np.ndarray, "r ..."]:
  """Fills up to `rows` rows: added ones repeat the last, and weigh 0."""
  missing = rows - len(array)
  if np.issubdtype(array.dtype, np.floating):
    return np.pad(array, ((0, missing), (0, 0)))
  return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
