"""Pairs of rows with a large product, tile by tile, beyond what memory holds.

Devices only propose, with a little slack; a product that is within rounding of
the threshold is taken again in float64. So neither the size of blocks nor the
number of devices changes the answer.
"""

import collections
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Shaped

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours, prefetch

# Rows that a tile is compared with at once, at least and at most.
_BLOCK_ROWS = 1024, 8192
# A batch holds a 12th of `neighbours.block_floats`: products of which only
# the greatest counts should stay in the cache (2 MB on a CPU).
_SHARE = 12
# More than the error of a float32 product of unit vectors.
_SLACK = 1e-5
# Rows and pairs whose products the host takes at once.
_HOST_ROWS = 256
_HOST_PAIRS = 16_384
# The place after which padded rows look: none is there.
_NEVER = np.iinfo(np.int32).max


class Pairs(NamedTuple):
  """Rows that are near each other, each pair once, and their cosine."""

  a: Int[np.ndarray, " p"]
  b: Int[np.ndarray, " p"]
  cosine: Float[np.ndarray, " p"]


class Tile(NamedTuple):
  """Some rows, and the rows at later places that they are compared with."""

  rows: np.ndarray
  after: np.ndarray  # the candidates' places that count are above these
  before: np.ndarray  # and below these
  candidates: np.ndarray
  places: np.ndarray


def sweep(
  x: Any,
  tiles: Iterator[Tile],
  *,
  threshold: float,
  mesh: Mesh,
  on_rows: Callable[[int], None] = lambda rows: None,
) -> Iterator[Pairs]:
  """Yields pairs (row of a tile, its candidate) with x_a · x_b >= threshold.

  A thread reads ahead, devices take the greatest product of each row, and the
  host looks again at rows where it is great enough. Products come in few
  shapes: tiles of one size, and blocks padded to a power of two.

  Args:
    x: float32 [n, d] of unit norm; anything of which x[rows] is an array.
    tiles: rows, each with what it is compared with.
    threshold: of the product.
    mesh: the devices; the rows of a tile are split over them.
    on_rows: called with the share of a tile's rows that each block finishes.

  >>> x, both = np.ones((2, 1), np.float32), np.arange(2)
  >>> tile = Tile(both, both, np.full(2, 2), both, both)
  >>> [near] = sweep(x, iter([tile]), threshold=0.5, mesh=mesh_lib.make())
  >>> near.a.tolist(), near.b.tolist(), near.cosine.tolist()
  ([0], [1], [1.0])
  """
  for work, most in _products(x, tiles, mesh=mesh, on_rows=on_rows):
    yield from _look(work, most >= threshold - _SLACK, threshold)


def with_partner(
  x: Any,
  tiles: Iterator[Tile],
  *,
  threshold: float,
  mesh: Mesh,
  on_rows: Callable[[int], None] = lambda rows: None,
) -> Iterator[Int[np.ndarray, " r"]]:
  """Yields the rows of tiles that are the first of a pair that `sweep` yields.

  No pair is kept, and the host looks only at rows whose greatest product in a
  block is within rounding of the threshold.

  Args:
    x: as for `sweep`.
    tiles: as for `sweep`.
    threshold: of the product. From 1 - 1e-5 on all copies are within rounding,
      and the host looks at each pair of them.
    mesh: as for `sweep`.
    on_rows: as for `sweep`.

  Yields:
    Rows (int64), block by block; one may come more than once.

  >>> x, both = np.ones((2, 1), np.float32), np.arange(2)
  >>> tile = Tile(both, both, np.full(2, 2), both, both)
  >>> found = with_partner(x, iter([tile]), threshold=0.5, mesh=mesh_lib.make())
  >>> [rows.tolist() for rows in found]
  [[0]]
  """
  for work, most in _products(x, tiles, mesh=mesh, on_rows=on_rows):
    sure = most >= threshold + _SLACK
    yield work.tile.rows[sure]
    for near in _look(work, ~sure & (most >= threshold - _SLACK), threshold):
      yield near.a


class _Work(NamedTuple):
  """A tile and one block of its candidates."""

  tile: Tile
  queries: np.ndarray
  rows: np.ndarray
  places: np.ndarray
  points: np.ndarray
  finishes: int  # rows of the tile, in proportion to the candidates read


def _read(x: Any, tiles: Iterator[Tile]) -> Iterator[_Work]:
  """Reads tiles, and their candidates block by block."""
  for tile in tiles:
    queries, done = np.asarray(x[tile.rows]), 0
    for start in range(0, len(tile.candidates), _BLOCK_ROWS[1]):
      part = slice(start, start + _BLOCK_ROWS[1])
      rows = tile.candidates[part]
      before = done
      done = (start + len(rows)) * len(queries) // len(tile.candidates)
      yield _Work(
        tile,
        queries,
        rows,
        tile.places[part],
        np.asarray(x[rows]),
        done - before,
      )


def _products(
  x: Any,
  tiles: Iterator[Tile],
  *,
  mesh: Mesh,
  on_rows: Callable[[int], None],
) -> Iterator[tuple[_Work, Float[np.ndarray, " q"]]]:
  """Each block of each tile, with the greatest product of each query."""
  waiting: collections.deque[tuple[_Work, Array]] = collections.deque()
  tile, placed, width = None, None, 0

  def next_done() -> tuple[_Work, Float[np.ndarray, " q"]]:
    work, most = waiting.popleft()
    return work, mesh_lib.fetch(most)[: len(work.queries)]

  for work in prefetch.ahead(_read(x, tiles)):
    if work.tile is not tile:
      tile = work.tile
      width = max(width, 1 << (len(work.queries) - 1).bit_length())
      places = tile.after.astype(np.int32), tile.before.astype(np.int32)
      rows = (
        _padded(work.queries, width),
        *(_padded(part, width, _NEVER) for part in places),
      )
      placed = tuple(mesh_lib.put_rows(part, mesh) for part in rows)
    block = work.points, work.places.astype(np.int32)
    size = max(_BLOCK_ROWS[0], 1 << (len(work.rows) - 1).bit_length())
    block = _padded(block[0], size), _padded(block[1], size, -1)
    block = mesh_lib.put(block, mesh, mesh_lib.REPLICATED)
    waiting.append((work, _greatest_products(*placed, *block, mesh=mesh)))
    # The devices are one block ahead of the host.
    if len(waiting) > 1:
      yield next_done()
    if work.finishes:
      on_rows(work.finishes)
  while waiting:
    yield next_done()


def _padded(
  array: Shaped[np.ndarray, "k ..."], rows: int, value: int = 0
) -> Shaped[np.ndarray, "r ..."]:
  """Pads an array to so many rows."""
  widths = [(0, rows - len(array))] + [(0, 0)] * (array.ndim - 1)
  return np.pad(array, widths, constant_values=value)


@functools.partial(jax.jit, static_argnames="mesh")
def _greatest_products(
  queries: Float[Array, "q d"],
  after: Int[Array, " q"],
  before: Int[Array, " q"],
  points: Float[Array, "p d"],
  places: Int[Array, " p"],
  *,
  mesh: Mesh,
) -> Float[Array, " q"]:
  """For each query, its greatest product with the points between its places.

  -inf where there is none. On a CPU a maximum costs less than a count.
  """

  def of_device(
    queries: Float[Array, "q d"],
    after: Int[Array, " q"],
    before: Int[Array, " q"],
    points: Float[Array, "p d"],
    places: Int[Array, " p"],
  ) -> Float[Array, " q"]:
    def one(
      query_and_places: tuple[
        Float[Array, " d"], Int[Array, ""], Int[Array, ""]
      ],
    ) -> Float[Array, ""]:
      query, after, before = query_and_places
      product = jnp.dot(points, query, precision=neighbours.EXACT)
      is_between = (places > after) & (places < before)
      return jnp.max(jnp.where(is_between, product, -jnp.inf))

    batch = max(1, neighbours.block_floats() // _SHARE // len(points))
    return lax.map(one, (queries, after, before), batch_size=batch)

  by_row, whole = mesh_lib.BATCH, mesh_lib.REPLICATED
  return jax.shard_map(
    of_device,
    mesh=mesh,
    in_specs=(by_row, by_row, by_row, whole, whole),
    out_specs=by_row,
  )(queries, after, before, points, places)


def _look(
  work: _Work, likely: Bool[np.ndarray, " q"], threshold: float
) -> Iterator[Pairs]:
  """The pairs of the likely rows of a tile, by products in float64."""
  tile, rows = work.tile, np.flatnonzero(likely)
  for start in range(0, len(rows), _HOST_ROWS):
    some = rows[start : start + _HOST_ROWS]
    near = work.queries[some] @ work.points.T >= threshold - 2 * _SLACK
    near &= work.places > tile.after[some, None]
    near &= work.places < tile.before[some, None]
    one, two = np.nonzero(near)
    for at in range(0, len(one), _HOST_PAIRS):
      part = slice(at, at + _HOST_PAIRS)
      a, b = some[one[part]], two[part]
      left = work.queries[a].astype(np.float64)
      cosine = np.einsum("pd,pd->p", left, work.points[b])
      true = cosine >= threshold
      yield Pairs(
        tile.rows[a[true]],
        work.rows[b[true]],
        np.minimum(cosine[true], 1).astype(np.float32),
      )
