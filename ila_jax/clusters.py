"""k-means clusters of the embeddings: cells without a projection (2.4)."""

import functools
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from ila_jax import errors, neighbours


class KMeans(NamedTuple):
  """Clusters as cells: the cell of every row, the centres, the inertia."""

  cell: Int[Array, " n"]
  centers: Float[Array, "c d"]
  inertia: float


def kmeans(
  x: Float[Array | np.ndarray, "n d"],
  *,
  clusters: int,
  key: Array,
  iterations: int = 50,
  start_examples: int = 65_536,
) -> KMeans:
  """Clusters of the embeddings as cells: Lloyd (1982) from k-means++.

  The start is greedy k-means++ (Arthur and Vassilvitskii 2007): of 2 + log c
  candidates, drawn by their squared distance to the centres so far, the one
  that leaves the least inertia. Lloyd ends when no row changes its cell. Of
  equally near centres the first counts. A cluster that loses all its rows keeps
  its centre, so a cell may be empty; a pool with fewer distinct rows than
  clusters has such.

  The answer depends on the order of the rows; sort them by id before.

  Args:
    x: embeddings, float32. Rows may be sharded; then so are the cells.
    clusters: 1 to n.
    key: a `jax.random.key`.
    iterations: Lloyd steps at most.
    start_examples: the start looks at a sample of so many rows (or clusters, if
      these are more).

  Returns:
    Cells (int32), centres, and the sum of squared distances to them.

  Raises:
    InputError: clusters out of range.

  >>> x = np.array([[0.0], [0.2], [9.0]], np.float32)
  >>> found = kmeans(x, clusters=2, key=jax.random.key(0))
  >>> int(found.cell[0] == found.cell[1]), round(found.inertia, 3)
  (1, 0.02)
  """
  n = len(x)
  if not 1 <= clusters <= n:
    raise errors.InputError(
      f"config.landscape.clusters is {clusters}; allowed: 1 to the {n} examples"
      " of the pool."
    )
  x = jnp.asarray(x, jnp.float32)
  sample_key, start_key = jax.random.split(key)
  sample = min(n, max(start_examples, clusters))
  rows = jnp.sort(jax.random.permutation(sample_key, n)[:sample])
  sampled = neighbours.take_whole(x, rows)
  centers = _plus_plus(sampled, start_key, clusters=clusters)
  found = neighbours.nearest(x, centers, k=1)
  for _ in range(iterations):
    centers = _means(x, found.index[:, 0], centers)
    before, found = found, neighbours.nearest(x, centers, k=1)
    if not bool(jnp.any(found.index != before.index)):
      break
  return KMeans(found.index[:, 0], centers, float(jnp.sum(found.squared)))


@functools.partial(jax.jit, static_argnames="clusters")
def _plus_plus(x, key, *, clusters):
  n = len(x)
  trials = 2 + int(np.log(clusters))
  norms = jnp.sum(x * x, axis=1)

  def squared_to(candidates):
    products = jnp.dot(candidates, x.T, precision=neighbours.EXACT)
    norm = jnp.sum(candidates * candidates, axis=1, keepdims=True)
    return jnp.maximum(norm + norms[None] - 2 * products, 0.0)

  def add(i, state):
    centers, squared = state
    cumulative = jnp.cumsum(squared)
    draws = jax.random.uniform(jax.random.fold_in(key, i), (trials,))
    rows = jnp.searchsorted(cumulative, draws * cumulative[-1], side="right")
    candidates = x[jnp.minimum(rows, n - 1)]
    left = jnp.minimum(squared[None], squared_to(candidates))
    best = jnp.argmin(jnp.sum(left, axis=1))
    return centers.at[i].set(candidates[best]), left[best]

  first = x[jax.random.randint(key, (), 0, n)]
  centers = jnp.zeros((clusters, x.shape[1])).at[0].set(first)
  state = centers, squared_to(first[None])[0]
  return lax.fori_loop(1, clusters, add, state)[0]


@jax.jit
def _means(x, cell, centers):
  clusters = len(centers)
  totals = jax.ops.segment_sum(x, cell, clusters)
  counts = jax.ops.segment_sum(jnp.ones(len(x)), cell, clusters)[:, None]
  return jnp.where(counts > 0, totals / jnp.maximum(counts, 1.0), centers)
