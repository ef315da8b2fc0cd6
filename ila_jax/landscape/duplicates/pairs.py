"""Near-duplicates: examples whose prompts say nearly the same.

Two examples are near where the cosine of their embeddings reaches a threshold.
Pairs are sought inside cells and their neighbours, or, where all rows are given
one cell, everywhere.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours, prefetch
from ila_jax.landscape.duplicates import cell_neighbours, pair_search

Pairs = pair_search.Pairs

# The most pairs: 3 GB while they are sorted and grouped, 60 bytes each. A
# threshold that more pairs reach says nothing of duplicates.
MAX_PAIRS = 50_000_000
# Rows of a tile, at least and at most.
_TILE_ROWS = 256, 16_384
# Rows whose nearest points are sought at once.
_BLOCK_ROWS = 8192


def pairs(
  x: Any,
  *,
  cell: Int[np.ndarray, " n"],
  near: Int[np.ndarray, "m 2"],
  threshold: float,
  mesh: Mesh,
  on_rows: Callable[[int], None] = lambda rows: None,
  of: str = "prompts",
  remedy: str = "raise config.landscape.duplicate_cosine, or set it to None",
) -> Pairs:
  """All pairs with x_a · x_b >= threshold in a cell or in neighbouring cells.

  Rows are sorted by cell and cut into tiles; a tile is multiplied with the rows
  of its cells and their neighbours that come after it, in blocks of few sizes,
  so a cell may hold any number of rows. No more of x than a tile and a few
  blocks is in memory.

  Args:
    x: float32 [n, d] of unit norm; anything of which x[rows] is an array.
    cell: cell of every row; all 0 to compare everything with everything.
    near: pairs of cells that are neighbours, in any order.
    threshold: cosine.
    mesh: the devices; the rows of a tile are split over them.
    on_rows: called with the number of rows that are done, tile by tile.
    of: what rows are, in a word.
    remedy: what to do where too many pairs are near.

  Returns:
    int64 rows a < b, sorted, and float32 cosines.

  Raises:
    errors.InputError: more than `MAX_PAIRS` pairs.

  >>> x = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], np.float32)
  >>> one, near = np.zeros(3, int), np.zeros((0, 2), int)
  >>> mesh = mesh_lib.make()
  >>> alike = pairs(x, cell=one, near=near, threshold=0.7, mesh=mesh)
  >>> alike.a.tolist(), alike.b.tolist(), alike.cosine.round(2).tolist()
  ([1], [2], [0.800000011920929])
  """
  touches = cell_neighbours.Adjacency(cell, near)
  # A pair is one integer until all are known and sorted: a * n + b.
  keys, cosines = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
  tiles, total = _tiles(touches), 0
  for near_pairs in pair_search.sweep(
    x, tiles, threshold=threshold, mesh=mesh, on_rows=on_rows
  ):
    there = touches(near_pairs.a, near_pairs.b)
    a, b = near_pairs.a[there], near_pairs.b[there]
    keys.append(np.minimum(a, b) * np.int64(len(cell)) + np.maximum(a, b))
    cosines.append(near_pairs.cosine[there])
    total += len(a)
    if total > MAX_PAIRS:
      raise errors.InputError(
        f"more than {MAX_PAIRS:,} pairs of {of} have a cosine of "
        f"{threshold:g} or more; {remedy}."
      )
  key, cosine = np.concatenate(keys), np.concatenate(cosines)
  del keys, cosines
  order = np.argsort(key)
  a, b = np.divmod(key[order], max(len(cell), 1))
  return Pairs(a, b, cosine[order])


def recall(
  x: Any,
  rows: Int[np.ndarray, " k"],
  *,
  cell: Int[np.ndarray, " n"],
  near: Int[np.ndarray, "m 2"],
  threshold: float,
  mesh: Mesh,
  on_rows: Callable[[int], None] = lambda rows: None,
) -> tuple[int, int]:
  """How many pairs some rows have in the whole pool, and in `pairs`.

  The witness of a search in cells: the rows are multiplied with all others.

  Args:
    x: as for `pairs`.
    rows: a sample, such as some thousand rows drawn by id.
    cell: as for `pairs`.
    near: as for `pairs`.
    threshold: cosine.
    mesh: the devices.
    on_rows: as for `pairs`.

  Returns:
    (pairs of the rows, those of them that cells and neighbours hold). A pair of
    two sampled rows counts twice in both.

  >>> x = np.array([[1.0, 0.0]] * 3, np.float32)
  >>> cell, near = np.array([0, 0, 5]), np.zeros((0, 2), int)
  >>> recall(x, np.array([0]), cell=cell, near=near, threshold=0.9,
  ...        mesh=mesh_lib.make())
  (2, 1)
  """
  everything = np.arange(len(cell), dtype=np.int32)
  touches, total, there = cell_neighbours.Adjacency(cell, near), 0, 0
  # x is read once for each tile.
  tile_rows = _TILE_ROWS[1]
  tiles = (
    pair_search.Tile(
      part,
      np.full(len(part), -1),
      np.full(len(part), len(cell)),
      everything,
      everything,
    )
    for part in np.split(rows, range(tile_rows, len(rows), tile_rows))
    if len(part)
  )
  for near_pairs in pair_search.sweep(
    x, tiles, threshold=threshold, mesh=mesh, on_rows=on_rows
  ):
    other = near_pairs.a != near_pairs.b
    total += int(other.sum())
    there += int(touches(near_pairs.a[other], near_pairs.b[other]).sum())
  return total, there


def closest(
  x: Any,
  sets: Sequence[Float[np.ndarray, "_ d"]],
  *,
  rows: int,
  mesh: Mesh,
  on_rows: Callable[[int], None] = lambda rows: None,
) -> tuple[Int[np.ndarray, "m n"], Float[np.ndarray, "m n"]]:
  """For each row, its most similar point (highest cosine) in each set.

  Args:
    x: as for `pairs`; read once for all sets, by a thread that runs ahead.
    sets: float32 points of unit norm.
    rows: n.
    mesh: the devices.
    on_rows: called with the number of rows that are done, block by block.

  Returns:
    The point's place in its set and the cosine to it; -1 and -1 if the set is
    empty.

  >>> x = np.eye(3, dtype=np.float32)
  >>> index, cosine = closest(x, [x[1:]], rows=3, mesh=mesh_lib.make())
  >>> index.tolist(), cosine.tolist()
  ([[0, 0, 1]], [[0.0, 1.0, 1.0]])
  """
  index = np.full((len(sets), rows), -1, np.int32)
  cosine = np.full((len(sets), rows), -1, np.float32)
  there = [i for i, points in enumerate(sets) if len(points)]
  placed = mesh_lib.put([sets[i] for i in there], mesh, mesh_lib.REPLICATED)
  blocks = (
    (start, np.asarray(x[np.arange(start, min(start + _BLOCK_ROWS, rows))]))
    for start in range(0, rows, _BLOCK_ROWS)
  )
  for start, block in prefetch.ahead(blocks):
    part, wide = slice(start, start + len(block)), block.astype(np.float64)
    queries = mesh_lib.put_rows(block, mesh)
    nearest = [neighbours.nearest(queries, points, k=1) for points in placed]
    for i, near in zip(there, nearest, strict=True):
      index[i, part] = mesh_lib.fetch(near.index)[: len(block), 0]
      points = sets[i][index[i, part]]
      cosine[i, part] = np.minimum(np.einsum("nd,nd->n", wide, points), 1)
    on_rows(len(block))
  return index, cosine


def leaders(
  duplicates: Pairs, rank: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
  """The row that stands for each row when near-duplicates are removed.

  Rows are walked by rank, and a row is kept unless it is near one that is kept
  already. So every row that goes is near one that stays, which groups by
  connected components do not promise: a chain of small steps leads far.

  Args:
    duplicates: the pairs that are near.
    rank: place of every row in the walk; no two are equal.

  Returns:
    The row itself where it is kept; else the nearest kept row, the lower rank
    first of equally near ones. Only pairs and ranks decide, no row number.

  >>> chain = Pairs(np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.9]))
  >>> leaders(chain, np.arange(3)).tolist()
  [0, 0, 2]
  >>> leaders(chain, np.array([1, 0, 2])).tolist()
  [1, 1, 1]
  """
  ahead = rank[duplicates.a] < rank[duplicates.b]
  first = np.where(ahead, duplicates.a, duplicates.b)
  second = np.where(ahead, duplicates.b, duplicates.a)
  kept = _first_apart(first, second, len(rank))
  stays = kept[first]
  side = first[stays], second[stays]
  nearest, _ = _nearest([side[::-1]], duplicates.cosine[stays], rank)
  return np.where(kept, np.arange(len(rank)), nearest)


def _first_apart(
  first: Int[np.ndarray, " p"], second: Int[np.ndarray, " p"], rows: int
) -> Bool[np.ndarray, " n"]:
  """Which rows a walk keeps that meets `first` of each pair before `second`.

  A round takes many steps of the walk: a row that is second in no pair is kept,
  rows near it go, and so do their pairs. Where the order is drawn at random,
  few rounds do it (Blelloch, Fineman and Shun 2012).
  """
  kept = np.ones(rows, np.bool_)
  while len(first):
    waits = np.zeros(rows, np.bool_)
    waits[second] = True
    kept[second[~waits[first]]] = False
    left = waits[first] & kept[first] & kept[second]
    first, second = first[left], second[left]
  return kept


def nearest_of(
  duplicates: Pairs, rank: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
  """For each row, its nearest near-duplicate and the cosine; else -1 and NaN.

  >>> trio = Pairs(np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.95]))
  >>> nearest_of(trio, np.arange(4))[0].tolist()
  [1, 2, 1, -1]
  """
  sides = [(duplicates.a, duplicates.b), (duplicates.b, duplicates.a)]
  return _nearest(sides, duplicates.cosine, rank)


def _nearest(
  sides: Sequence[tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]],
  cosine: Float[np.ndarray, " p"],
  rank: Int[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
  """For each row of the pairs, its most similar partner and the cosine.

  No pairs are sorted, which would take several times their memory.
  """
  best = np.full(len(rank), -np.inf, cosine.dtype)
  for row, _ in sides:
    np.maximum.at(best, row, cosine)
  # The lowest rank counts among equally near partners.
  lowest = np.full(len(rank), np.iinfo(rank.dtype).max, rank.dtype)
  for row, other in sides:
    equal = cosine == best[row]
    np.minimum.at(lowest, row[equal], rank[other[equal]])
  nearest = np.full(len(rank), -1)
  for row, other in sides:
    chosen = (cosine == best[row]) & (rank[other] == lowest[row])
    nearest[row[chosen]] = other[chosen]
  return nearest, np.where(nearest >= 0, best, np.nan)


def _tiles(touches: cell_neighbours.Adjacency) -> Iterator[pair_search.Tile]:
  """Yields rows, cell after cell, with the later rows that may be near them."""
  rows, n = touches.rows, len(touches.rows)
  sizes = touches.ends - touches.starts
  # A tile is small beside a cell: most of its products are then wanted.
  usual = int((sizes.astype(np.float64) ** 2).sum() / max(n, 1)) // 8
  size = int(np.clip(1 << usual.bit_length(), *_TILE_ROWS))
  for start in range(0, n, size):
    end = min(start + size, n)
    first, last = touches.number[rows[[start, end - 1]]]
    around = touches.around(slice(first, last + 1))
    begins = np.maximum(touches.starts[around], start)
    ranges = zip(begins, touches.ends[around], strict=True)
    places = np.concatenate([np.arange(low, high) for low, high in ranges])
    yield pair_search.Tile(
      rows[start:end],
      np.arange(start, end),
      np.full(end - start, n),
      rows[places],
      places,
    )
