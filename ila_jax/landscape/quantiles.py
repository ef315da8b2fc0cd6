"""Quantiles of a pool that is not held: counts by domain, which merge.

Depths are counted by the leading bits of their float32 number, taken as an
integer of the same order: 14 bits first, a bin for all depths that agree in
sign, exponent and 5 bits of the fraction, so that a bin is as wide as 1/32 of
its depths (the relative bins of DDSketch, Masson et al. 2019). Counts add up in
any order to the same bits. What a bin does not tell is the order inside it:
half its share of the domain bounds the error of a quantile, and bins that are
too heavy for the error wanted are split by 9 more bits, in another pass, and by
the last 9 in a third, after which equal depths alone share a bin.

A domain takes 64 KB and more, so that small ones are better sorted:
`pool_quantiles`. The exact ones are those of `depth.relative_depth`.
"""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt

from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape import ordering

# Bits of a depth that each level looks at, the leading first.
_BITS = (14, 9, 9)

# Gives the pool anew at every call: (depth, domain) of shard after shard.
Shards = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]


class Sketch(NamedTuple):
  """Counts of depths, a row of bins for each domain or bin that was split.

  Attributes:
    counts: of each level int32 [r, w]; the last one is being counted.
    child: row of the next level that splits a bin, -1 where none does [r, w],
      of all levels but the last.
  """

  counts: tuple[Int[Array | np.ndarray, "_ _"], ...]
  child: tuple[Int[Array | np.ndarray, "_ _"], ...]


def empty(num_domains: int) -> Sketch:
  """The sketch before any depth is counted.

  >>> empty(3).counts[0].shape
  (3, 16384)
  """
  return Sketch((jnp.zeros((num_domains, 2 ** _BITS[0]), jnp.int32),), ())


def update(
  sketch: Sketch,
  depth: Float[Array | np.ndarray, " n"],
  domain: Int[Array | np.ndarray, " n"],
) -> Sketch:
  """Counts depths on the last level; earlier levels are complete.

  Args:
    sketch: what was counted; its last level is used up.
    depth: float32 without NaN [n]. Rows may be sharded.
    domain: domain of each depth; -1: not counted [n].

  >>> sketch = update(empty(1), np.ones(5), np.zeros(5, int))
  >>> int(sketch.counts[0].sum())
  5
  """
  *before, last = sketch.counts
  last = _count(last, sketch.child, depth, domain)
  return Sketch((*before, last), sketch.child)


def merge(a: Sketch, b: Sketch) -> Sketch:
  """The sketch of two parts of a pool, split alike: that of the whole.

  Raises:
    ValueError: sketches whose bins differ.

  >>> one = update(empty(1), np.ones(5), np.zeros(5, int))
  >>> int(merge(one, one).counts[0].sum())
  10
  """
  alike = len(a.child) == len(b.child) and all(
    np.array_equal(x, y) for x, y in zip(a.child, b.child, strict=True)
  )
  if not alike or a.counts[-1].shape != b.counts[-1].shape:
    raise ValueError("the sketches split their bins differently; merge first")
  return Sketch((*a.counts[:-1], a.counts[-1] + b.counts[-1]), a.child)


def refine(sketch: Sketch, *, tolerance: float) -> Sketch:
  """Splits the bins that are too heavy; the pool must then pass once more.

  At most domains / (2 tolerance) bins are split, so that memory does not depend
  on the pool.

  Args:
    sketch: of the whole pool.
    tolerance: the error of a quantile that is wanted, such as 0.001.

  Returns:
    The sketch with a level to count; the same one if nothing is to be split.

  >>> ten = update(empty(1), np.arange(10.0), np.zeros(10, int))
  >>> refine(ten, tolerance=0.01) is ten
  True
  """
  level = len(sketch.counts)
  heavy = _errors(sketch)[-1] > tolerance
  if level == len(_BITS) or not heavy.any():
    return sketch
  child = np.where(heavy, np.cumsum(heavy).reshape(heavy.shape) - 1, -1)
  counts = jnp.zeros((int(heavy.sum()), 2 ** _BITS[level]), jnp.int32)
  return Sketch(
    (*mesh_lib.fetch(sketch.counts), counts),
    (*sketch.child, child.astype(np.int32)),
  )


def error_bound(sketch: Sketch) -> float:
  """By how much a quantile of `mid_rank` may be wrong, at most.

  Certified by the counts: inside its bin a depth may stand anywhere, so the
  largest (count - 1) / 2 of a bin, over the size of its domain. 0 where each
  bin holds equal depths only.

  >>> error_bound(update(empty(1), np.array([1.0, 1.01]), np.zeros(2, int)))
  0.25
  """
  return float(max(errors.max(initial=0) for errors in _errors(sketch)))


class Ranks(NamedTuple):
  """A sketch made ready for `mid_rank`, on the host, level by level.

  Attributes:
    twice: two times what lies in lower bins, and what lies in the bin itself
      unless it is split, uint32 [r, w].
    child: row of the next level that splits a bin, -1 where none does [r, w].
    size: of each domain.
  """

  twice: tuple[UInt[np.ndarray, "_ _"], ...]
  child: tuple[Int[np.ndarray, "_ _"], ...]
  size: Int[np.ndarray, " _"]


def ranks(sketch: Sketch) -> Ranks:
  """Cumulates the counts of a whole pool, once for all its parts.

  >>> ranks(update(empty(1), np.ones(5), np.zeros(5, int))).size.tolist()
  [5]
  """
  sketch = mesh_lib.fetch(sketch)
  twice, child = [], []
  for level, counts in enumerate(sketch.counts):
    is_last = level == len(sketch.child)
    split = np.full_like(counts, -1) if is_last else sketch.child[level]
    counts = counts.astype(np.uint32)
    below = np.cumsum(counts, axis=1, dtype=np.uint32) - counts
    twice.append(2 * below + counts * (split < 0))
    child.append(split)
  size = sketch.counts[0].sum(axis=1, dtype=np.int64)
  return Ranks(tuple(twice), tuple(child), size)


def mid_rank(
  ranks: Ranks,
  depth: Float[np.ndarray, " n"],
  domain: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
  """RID of depths that were counted: `depth.relative_depth`, but for the error.

  (number in lower bins + half the number in its bin) / size of the domain.

  Args:
    ranks: of the sketch of the whole pool.
    depth: float32 [n].
    domain: domain of each depth [n].

  Returns:
    float32 [n], in (0, 1).

  >>> depth, domain = np.array([-1.0, 3.0, 3.0, 9.0]), np.array([0, 0, 0, 1])
  >>> sketch = update(empty(2), depth, domain)
  >>> mid_rank(ranks(sketch), depth, domain)
  array([0.16666667, 0.6666667 , 0.6666667 , 0.5       ], dtype=float32)
  """
  key = np.asarray(_key(depth))
  node = np.asarray(domain)
  rank = np.zeros(len(key))
  # In a bin that is split, the next level tells what is below.
  for level, (twice, child) in enumerate(
    zip(ranks.twice, ranks.child, strict=True)
  ):
    inside = np.flatnonzero(node >= 0)
    place = node[inside], np.asarray(_digit(key[inside], level))
    rank[inside] += twice[place] / 2
    node = np.full(len(key), -1)
    node[inside] = child[place]
  return (rank / ranks.size[domain]).astype(np.float32)


def fit(
  shards: Shards,
  *,
  num_domains: int,
  shard_rows: int,
  tolerance: float = 1e-3,
  mesh: Mesh | None = None,
) -> Sketch:
  """The sketch of a pool whose quantiles are within an error, in 1-3 passes.

  Args:
    shards: gives the pool anew at every call; the order plays no part.
    num_domains: domains are numbered below it.
    shard_rows: rows counted at once; shards are cut and filled up to it.
    tolerance: the error wanted. It is reached always: after three passes the
      quantiles of what is split are exact.
    mesh: devices to spread the rows over; None: one.

  Raises:
    ValueError: a depth that is NaN.

  >>> pool = [(np.arange(100.0), np.zeros(100, int))]
  >>> sketch = fit(lambda: pool, num_domains=1, shard_rows=64)
  >>> mid_rank(ranks(sketch), *pool[0])[[0, 99]]
  array([0.005, 0.995], dtype=float32)
  """
  put = jnp.asarray
  if mesh is not None:
    shard_rows += -shard_rows % mesh_lib.batch_multiple(mesh)
    put = functools.partial(mesh_lib.put, mesh=mesh)
  before, sketch = None, empty(num_domains)
  while before is not sketch:
    for depth, domain in shards():
      if np.isnan(depth).any():
        raise ValueError("NaN cannot be ranked; reject such examples first")
      for start in range(0, len(depth), shard_rows):
        part = slice(start, start + shard_rows)
        missing = (0, shard_rows - len(depth[part]))
        row = np.pad(depth[part].astype(np.float32), missing)
        of = np.pad(domain[part].astype(np.int32), missing, constant_values=-1)
        sketch = update(sketch, put(row), put(of))
    before, sketch = sketch, refine(sketch, tolerance=tolerance)
  return sketch


@functools.partial(jax.jit, donate_argnums=0)
def _count(counts, child, depth, domain):
  key, node = _key(depth), domain.astype(jnp.int32)
  for level, split in enumerate(child):
    found = split[jnp.maximum(node, 0), _digit(key, level)]
    node = jnp.where(node < 0, -1, found)
  rows = jnp.where(node < 0, len(counts), node)
  return counts.at[rows, _digit(key, len(child))].add(1, mode="drop")


@jax.jit
def _key(depth):
  """Numbers without sign, in the order of the depths."""
  signed = ordering.sortable(depth)
  return lax.bitcast_convert_type(signed, jnp.uint32) ^ jnp.uint32(2**31)


def _digit(key, level):
  """The bits of a key that a level looks at."""
  left = sum(_BITS[level + 1 :])
  return ((key >> left) & (2 ** _BITS[level] - 1)).astype(np.int32)


def _errors(sketch):
  """Error of the quantiles of each bin, by level; 0 where it is split."""
  sketch = mesh_lib.fetch(sketch)
  size = np.maximum(sketch.counts[0].sum(axis=1, dtype=np.int64), 1)
  found = []
  for level, count in enumerate(sketch.counts):
    errors = (np.maximum(count, 1) - 1) / 2 / size[:, None]
    if level < len(sketch.child):
      is_split = sketch.child[level] >= 0
      errors = np.where(is_split, 0, errors)
      size = size[np.nonzero(is_split)[0]]
    if level == len(_BITS) - 1:
      errors = np.zeros(errors.shape)
    found.append(errors)
  return found
