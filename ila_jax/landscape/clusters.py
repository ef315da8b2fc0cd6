"""k-means clusters of the embeddings as cells (docs/method.md 2.4)."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Shaped

from ila_jax import errors
from ila_jax.compute import mesh, neighbours
from ila_jax.landscape import centers as centers_lib
from ila_jax.landscape import cluster_sums

_STEPS_PER_CALL = 10  # Lloyd steps; the host reports between two calls.

# Steps done, centres, the cell of every row, rows that changed theirs, and the
# sums of digits and of rows of every cluster.
_Descent = tuple[
  Int[Array, ""],
  Float[Array, "c d"],
  Int[Array, " n"],
  Int[Array, ""],
  Int[Array, "c w"],
]


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
  count: int | None = None,
  iterations: int = 50,
  start_examples: int = 65_536,
  spherical: bool = False,
  on_progress: Callable[[int, int], None] | None = None,
) -> KMeans:
  """Clusters of the embeddings as cells: Lloyd (1982) from k-means++.

  The start is greedy k-means++ (Arthur and Vassilvitskii 2007): of 2 + log c
  candidates, drawn by their squared distance to the centres so far, the one
  that leaves the least inertia. Lloyd ends when no row changes its cell. The
  first of equally near centres counts. A cluster that loses all its rows keeps
  its centre, so a cell may be empty; a pool with fewer distinct rows than
  clusters has such cells.

  The sums of a cluster are taken in integers, 24 bits of a coordinate's range:
  these add up to the same bits in any order and on any number of devices. The
  start depends on the order of the rows; sort them by id before.

  A pool beyond memory: cluster a sample, then `centers.assign` the shards.

  Args:
    x: embeddings, float32. Rows may be sharded; then so are the cells.
    clusters: 1 to n.
    key: a `jax.random.key`.
    count: rows of the pool; those behind them fill up a mesh. They get a cell,
      and count for nothing. None: all rows.
    iterations: Lloyd steps at most.
    start_examples: the start looks at a sample of so many rows (or clusters, if
      these are more).
    spherical: rows are of unit norm, and so are the centres: the nearest has
      the greatest cosine (Dhillon and Modha 2001).
    on_progress: called with (iterations done, rows that changed their cell) now
      and then.

  Returns:
    Cells (int32), centres, and the sum of squared distances to them.

  Raises:
    InputError: clusters out of range.

  >>> x = np.array([[0.0], [0.2], [9.0]], np.float32)
  >>> made = kmeans(x, clusters=2, key=jax.random.key(0))
  >>> int(made.cell[0] == made.cell[1]), round(made.inertia, 3)
  (1, 0.02)
  """
  n = len(x) if count is None else count
  if not 1 <= clusters <= n:
    raise errors.InputError(
      f"config.landscape.clusters is {clusters}; allowed: 1 to the {n} examples"
      " of the pool."
    )
  x = jnp.asarray(x, jnp.float32)
  sample_key, start_key = jax.random.split(key)
  sample = min(n, max(start_examples, clusters))
  rows = jnp.sort(jax.random.permutation(sample_key, n)[:sample])
  # From the host: the start is then the same with and without a mesh.
  sampled = jnp.asarray(np.asarray(neighbours.take_whole(x, rows)))
  centers = _plus_plus(sampled, start_key, clusters=clusters)
  centers = lloyd(
    x,
    centers,
    count=n,
    iterations=iterations,
    spherical=spherical,
    on_progress=on_progress,
  )
  cell, squared = centers_lib.assign(x, centers)
  inertia = np.sum(mesh.fetch(squared)[:n], dtype=np.float64)
  return KMeans(cell, centers, float(inertia))


def lloyd(
  x: Float[Array | np.ndarray, "n d"],
  centers: Float[Array | np.ndarray, "c d"],
  *,
  count: int | None = None,
  iterations: int = 50,
  spherical: bool = False,
  on_progress: Callable[[int, int], None] | None = None,
) -> Float[Array, "c d"]:
  """Moves centres to the means of their rows until no row changes its cell.

  Every device goes through its own rows; an iteration is one sum over devices.

  Args:
    x: embeddings, float32. Rows may be sharded over a mesh.
    centers: the centres to start from.
    count: as for `kmeans`.
    iterations: Lloyd steps at most.
    spherical: as for `kmeans`.
    on_progress: as for `kmeans`.

  Returns:
    The last centres.

  >>> x = np.array([[0.0], [1.0], [9.0]], np.float32)
  >>> lloyd(x, np.array([[0.0], [1.0]])).tolist()
  [[0.5], [9.0]]
  """
  over, axes = mesh.row_sharding(x)
  x = jnp.asarray(x, jnp.float32)
  n = len(x) if count is None else count
  cell = jnp.full(len(x), -1, jnp.int32)
  if over is not None:
    cell = jax.device_put(cell, NamedSharding(over, PartitionSpec(axes)))
  centers = _everywhere(jnp.asarray(centers, jnp.float32), over)
  # No row is in a cluster yet.
  width = cluster_sums.width(x.shape[1], cluster_sums.digit_bits(len(x)))
  totals = jnp.zeros((len(centers), width), jnp.int32)
  totals = _everywhere(totals, over)
  done, changed = 0, 1
  while done < iterations and changed:
    steps = min(_STEPS_PER_CALL, iterations - done)
    made, centers, cell, changed, totals = _lloyd(
      x, centers, (cell, totals), n, steps, spherical, over=over, axes=axes
    )
    done, changed = done + int(made), int(changed)
    if on_progress:
      on_progress(done, changed)
  return centers


@functools.partial(jax.jit, static_argnames="clusters")
def _plus_plus(
  x: Float[Array, "n d"], key: Array, *, clusters: int
) -> Float[Array, "c d"]:
  """Draws the first centres: greedy k-means++."""
  n = len(x)
  trials = 2 + int(np.log(clusters))
  norms = jnp.sum(x * x, axis=1)

  def squared_to(candidates: Float[Array, "t d"]) -> Float[Array, "t n"]:
    products = jnp.dot(candidates, x.T, precision=neighbours.EXACT)
    norm = jnp.sum(candidates * candidates, axis=1, keepdims=True)
    return jnp.maximum(norm + norms[None] - 2 * products, 0.0)

  def add(
    i: Int[Array, ""], state: tuple[Float[Array, "c d"], Float[Array, " n"]]
  ) -> tuple[Float[Array, "c d"], Float[Array, " n"]]:
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


@functools.partial(jax.jit, static_argnames=("spherical", "over", "axes"))
def _lloyd(
  x: Float[Array, "n d"],
  centers: Float[Array, "c d"],
  known: tuple[Int[Array, " n"], Int[Array, "c w"]],
  count: Int[Array, ""],
  steps: Int[Array, ""],
  spherical: bool,
  *,
  over: Mesh | None,
  axes: str | tuple[str, ...] | None,
) -> _Descent:
  """Takes some Lloyd steps, until no row changes its cell, in one program."""
  cell, totals = known
  real = jnp.arange(len(x)) < count
  rows = jnp.where(real[:, None], x, x[:1])
  low, high = jnp.min(rows, axis=0), jnp.max(rows, axis=0)
  digit_bits = cluster_sums.digit_bits(len(x))

  def descend(
    x: Float[Array, "n d"],
    cell: Int[Array, " n"],
    real: Bool[Array, " n"],
    centers: Float[Array, "c d"],
    low: Float[Array, " d"],
    high: Float[Array, " d"],
    steps: Int[Array, ""],
    totals: Int[Array, "c w"],
  ) -> _Descent:
    def go_on(state: _Descent) -> Bool[Array, ""]:
      step, _, _, changed, _ = state
      return (step < steps) & (changed > 0)

    def step(state: _Descent) -> _Descent:
      step, centers, cell, _, totals = state
      cell, sums = cluster_sums.survey(
        x, cell, real, centers, low, high, digit_bits
      )
      more, changed = sums if axes is None else lax.psum(sums, axes)
      totals = totals + more
      centers = cluster_sums.means(totals, centers, low, high, digit_bits)
      if spherical:
        squared = jnp.sum(centers * centers, axis=1, keepdims=True)
        # A cluster of opposites has no direction: its mean stays as it is.
        centers = centers / jnp.where(squared > 0, jnp.sqrt(squared), 1.0)
      return step + 1, centers, cell, changed, totals

    state = jnp.int32(0), centers, cell, jnp.int32(1), totals
    return lax.while_loop(go_on, step, state)

  if over is not None:
    row, whole = PartitionSpec(axes), PartitionSpec()
    descend = jax.shard_map(
      descend,
      mesh=over,
      in_specs=(row, row, row, *[whole] * 5),
      out_specs=(whole, whole, row, whole, whole),
      check_vma=False,
    )
  return descend(x, cell, real, centers, low, high, steps, totals)


def _everywhere(
  array: Shaped[Array, "c d"], over: Mesh | None
) -> Shaped[Array, "c d"]:
  """Puts an array whole on every device of a mesh."""
  if over is None:
    return array
  return jax.device_put(array, NamedSharding(over, PartitionSpec()))
