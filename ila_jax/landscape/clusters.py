"""k-means clusters of the embeddings as cells (docs/method.md 2.4)."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from ila_jax import errors
from ila_jax.compute import mesh, neighbours, row_blocks
from ila_jax.landscape import centers as centers_lib

_BITS = 24  # Bits of a coordinate in a sum: as many as float32 holds.
_STEPS_PER_CALL = 10  # Lloyd steps; the host reports between two calls.

# Steps done, centres, the cell of every row, and rows that changed theirs.
_Descent = tuple[
  Int[Array, ""], Float[Array, "c d"], Int[Array, " n"], Int[Array, ""]
]
# Sums of digits and of rows of every cluster, and rows that changed their cell.
_Sums = tuple[Int[Array, "c w"], Int[Array, ""]]


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
  centers = _everywhere(centers, over)
  done, changed = 0, 1
  while done < iterations and changed:
    steps = min(_STEPS_PER_CALL, iterations - done)
    made, centers, cell, changed = _lloyd(
      x, centers, cell, n, steps, spherical, over=over, axes=axes
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
  cell: Int[Array, " n"],
  count: Int[Array, ""],
  steps: Int[Array, ""],
  spherical: bool,
  *,
  over: Mesh | None,
  axes: str | tuple[str, ...] | None,
) -> _Descent:
  """Takes some Lloyd steps, until no row changes its cell, in one program."""
  real = jnp.arange(len(x)) < count
  known = jnp.where(real[:, None], x, x[:1])
  low, high = jnp.min(known, axis=0), jnp.max(known, axis=0)
  # Bits of a digit: so few that the digits of all rows add up in int32.
  digit_bits = 31 - len(x).bit_length()

  def descend(
    x: Float[Array, "n d"],
    cell: Int[Array, " n"],
    real: Bool[Array, " n"],
    centers: Float[Array, "c d"],
    low: Float[Array, " d"],
    high: Float[Array, " d"],
    steps: Int[Array, ""],
  ) -> _Descent:
    def go_on(state: _Descent) -> Bool[Array, ""]:
      step, _, _, changed = state
      return (step < steps) & (changed > 0)

    def step(state: _Descent) -> _Descent:
      step, centers, cell, _ = state
      cell, sums = _survey(x, cell, real, centers, low, high, digit_bits)
      totals, changed = sums if axes is None else lax.psum(sums, axes)
      centers = _means(totals, centers, low, high, digit_bits)
      if spherical:
        squared = jnp.sum(centers * centers, axis=1, keepdims=True)
        # A cluster of opposites has no direction: its mean stays as it is.
        centers = centers / jnp.where(squared > 0, jnp.sqrt(squared), 1.0)
      return step + 1, centers, cell, changed

    state = jnp.int32(0), centers, cell, jnp.int32(1)
    return lax.while_loop(go_on, step, state)

  if over is not None:
    row, whole = PartitionSpec(axes), PartitionSpec()
    descend = jax.shard_map(
      descend,
      mesh=over,
      in_specs=(row, row, row, *[whole] * 4),
      out_specs=(whole, whole, row, whole),
      check_vma=False,
    )
  return descend(x, cell, real, centers, low, high, steps)


def _survey(
  x: Float[Array, "n d"],
  cell: Int[Array, " n"],
  real: Bool[Array, " n"],
  centers: Float[Array, "c d"],
  low: Float[Array, " d"],
  high: Float[Array, " d"],
  digit_bits: int,
) -> tuple[Int[Array, " n"], _Sums]:
  """Assigns the rows to centres, and adds up what each centre got."""
  clusters, width = centers.shape
  digits = -(-_BITS // digit_bits)
  most = 2**_BITS - 1
  scale = most / jnp.where(high > low, high - low, 1.0)

  def block(
    arrays: tuple[Float[Array, "b d"], Int[Array, " b"], Bool[Array, " b"]],
    fresh: Bool[Array, " b"],
    state: _Sums,
  ) -> tuple[Int[Array, " b"], _Sums]:
    rows, before, real = arrays
    totals, changed = state
    cell = centers_lib.nearest(rows, centers)
    counts = real & fresh
    number = jnp.round((rows - low[None]) * scale[None])
    number = jnp.clip(number, 0, most).astype(jnp.int32)
    parts = [
      (number >> (digit_bits * place)) & (2**digit_bits - 1)
      for place in range(digits)
    ]
    parts.append(jnp.ones((len(rows), 1), jnp.int32))
    # A row that does not count is added to no cluster.
    target = jnp.where(counts, cell, clusters)
    totals = totals.at[target].add(jnp.concatenate(parts, 1), mode="drop")
    moved = jnp.sum(counts & (cell != before), dtype=jnp.int32)
    return cell, (totals, changed + moved)

  totals = jnp.zeros((clusters, digits * width + 1), jnp.int32)
  arrays = x, cell, real
  return row_blocks.walk(block, arrays, (totals, jnp.int32(0)))


def _means(
  totals: Int[Array, "c w"],
  centers: Float[Array, "c d"],
  low: Float[Array, " d"],
  high: Float[Array, " d"],
  digit_bits: int,
) -> Float[Array, "c d"]:
  """The mean of each cluster, from its sums; an empty one keeps its centre."""
  clusters, width = centers.shape
  counts = totals[:, -1:].astype(jnp.float32)
  digits = totals[:, :-1].reshape(clusters, -1, width).astype(jnp.float32)
  worth = np.ldexp(np.float32(1), digit_bits * np.arange(digits.shape[1]))
  number = jnp.sum(digits * worth[None, :, None], axis=1)
  unit = (high - low) / (2**_BITS - 1)
  means = low[None] + number / jnp.maximum(counts, 1.0) * unit[None]
  return jnp.where(counts > 0, means, centers)


def _everywhere(
  array: Float[Array | np.ndarray, "c d"], over: Mesh | None
) -> Float[Array, "c d"]:
  """Puts centres whole on every device of a mesh."""
  array = jnp.asarray(array, jnp.float32)
  if over is None:
    return array
  return jax.device_put(array, NamedSharding(over, PartitionSpec()))
