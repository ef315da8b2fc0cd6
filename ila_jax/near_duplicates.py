"""Near-duplicates: examples whose prompts say nearly the same.

Two examples are near where the cosine of their embeddings reaches a threshold.
Pairs are sought inside cells and their neighbours, or, where all rows are given
one cell, everywhere.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from ila_jax import adjacency, errors, neighbours, pair_search
from ila_jax import mesh as mesh_lib

Pairs = pair_search.Pairs

# 1.2 GB of pairs: a threshold that finds more says nothing of duplicates.
MAX_PAIRS = 100_000_000
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
) -> Pairs:
  """All pairs with x_a · x_b >= threshold in a cell or in neighbouring cells.

  Rows are sorted by cell and cut into tiles; a tile is multiplied with the rows
  of its cells and their neighbours that come after it, in blocks of few sizes,
  so a cell may hold any number of rows. Of x no more than a tile and a few
  blocks are in memory.

  Args:
    x: float32 [n, d] of unit norm; anything of which x[rows] is an array.
    cell: cell of every row; all 0 to compare everything with everything.
    near: pairs of cells that are neighbours, in any order.
    threshold: cosine.
    mesh: the devices; the rows of a tile are split over them.
    on_rows: called with the number of rows that are done, tile by tile.

  Returns:
    int64 rows a < b, sorted, and float32 cosines.

  Raises:
    errors.InputError: more than 100 million pairs.

  >>> x = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], np.float32)
  >>> one, near = np.zeros(3, int), np.zeros((0, 2), int)
  >>> found = pairs(x, cell=one, near=near, threshold=0.7, mesh=mesh_lib.make())
  >>> found.a.tolist(), found.b.tolist(), found.cosine.round(2).tolist()
  ([1], [2], [0.800000011920929])
  """
  touches = adjacency.Adjacency(cell, near)
  parts, total = [Pairs(*(np.zeros(0, t) for t in "qqf"))], 0
  tiles = _tiles(touches)
  for found in pair_search.sweep(
    x, tiles, threshold=threshold, mesh=mesh, on_rows=on_rows
  ):
    there = touches(found.a, found.b)
    part = Pairs(*(column[there] for column in found))
    parts.append(part)
    total += len(part.a)
    if total > MAX_PAIRS:
      raise errors.InputError(
        f"config.landscape.duplicate_cosine is {threshold}, and more than "
        f"{MAX_PAIRS:,} pairs reach it; raise it, or set it to None."
      )
  a, b, cosine = map(np.concatenate, zip(*parts, strict=True))
  a, b = np.minimum(a, b), np.maximum(a, b)
  order = np.lexsort((b, a))
  return Pairs(a[order], b[order], cosine[order])


def recall(
  x: Any,
  rows: Int[np.ndarray, " k"],
  *,
  cell: Int[np.ndarray, " n"],
  near: Int[np.ndarray, "m 2"],
  threshold: float,
  mesh: Mesh,
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

  Returns:
    (pairs of the rows, those of them that cells and neighbours hold). A pair of
    two sampled rows counts twice in both.

  >>> x = np.array([[1.0, 0.0]] * 3, np.float32)
  >>> cell, near = np.array([0, 0, 5]), np.zeros((0, 2), int)
  >>> recall(x, np.array([0]), cell=cell, near=near, threshold=0.9,
  ...        mesh=mesh_lib.make())
  (2, 1)
  """
  everything = np.arange(len(cell))
  touches, total, there = adjacency.Adjacency(cell, near), 0, 0
  tile_rows = _TILE_ROWS[0]
  tiles = (
    pair_search.Tile(part, np.full(len(part), -1), everything, everything)
    for part in np.split(rows, range(tile_rows, len(rows), tile_rows))
    if len(part)
  )
  for found in pair_search.sweep(x, tiles, threshold=threshold, mesh=mesh):
    other = found.a != found.b
    total += int(other.sum())
    there += int(touches(found.a[other], found.b[other]).sum())
  return total, there


def closest(
  x: Any, points: Float[np.ndarray, "k d"], *, rows: int, mesh: Mesh
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
  """The point of the greatest cosine to every row, and that cosine.

  Args:
    x: as for `pairs`.
    points: float32 of unit norm, at least one.
    rows: n.
    mesh: the devices.

  >>> x = np.eye(3, dtype=np.float32)
  >>> index, cosine = closest(x, x[1:], rows=3, mesh=mesh_lib.make())
  >>> index.tolist(), cosine.tolist()
  ([0, 0, 1], [0.0, 1.0, 1.0])
  """
  index, cosine = np.empty(rows, np.int64), np.empty(rows, np.float32)
  for start in range(0, rows, _BLOCK_ROWS):
    part = slice(start, min(start + _BLOCK_ROWS, rows))
    block = np.asarray(x[np.arange(part.start, part.stop)])
    found = neighbours.nearest(mesh_lib.put_rows(block, mesh), points, k=1)
    index[part] = mesh_lib.fetch(found.index)[: len(block), 0]
    both = block.astype(np.float64), points[index[part]]
    cosine[part] = np.minimum(np.einsum("nd,nd->n", *both), 1)
  return index, cosine


def leaders(found: Pairs, rank: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
  """The row that stands for each row when near-duplicates are removed.

  Rows are walked by rank, and a row is kept unless it is near one that is kept
  already. So every row that goes is near one that stays, which groups by
  connected components do not promise: a chain of small steps leads far.

  Args:
    found: the pairs that are near.
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
  ahead = rank[found.a] < rank[found.b]
  first = np.where(ahead, found.a, found.b)
  second = np.where(ahead, found.b, found.a)
  order = np.lexsort((rank[second], rank[first]))
  kept = [True] * len(rank)
  for a, b in zip(first[order].tolist(), second[order].tolist(), strict=True):
    # All pairs in which a comes second were seen: a is decided.
    if kept[a]:
      kept[b] = False
  leader = np.arange(len(rank))
  open_pairs = np.array(kept, bool)[first]
  first, second = first[open_pairs], second[open_pairs]
  nearest = np.lexsort((rank[first], -found.cosine[open_pairs], second))
  rows, at = np.unique(second[nearest], return_index=True)
  leader[rows] = first[nearest][at]
  return leader


def nearest_of(
  found: Pairs, rank: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
  """Each row's nearest near-duplicate and its cosine; -1 and NaN of none.

  >>> trio = Pairs(np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.95]))
  >>> nearest_of(trio, np.arange(4))[0].tolist()
  [1, 2, 1, -1]
  """
  row = np.concatenate([found.a, found.b])
  other = np.concatenate([found.b, found.a])
  cosine = np.concatenate([found.cosine, found.cosine])
  order = np.lexsort((rank[other], -cosine, row))
  rows, at = np.unique(row[order], return_index=True)
  nearest = np.full(len(rank), -1)
  best = np.full(len(rank), np.nan, np.float32)
  nearest[rows], best[rows] = other[order][at], cosine[order][at]
  return nearest, best


def _tiles(touches: adjacency.Adjacency) -> Iterator[pair_search.Tile]:
  """Consecutive rows of the order by cell, with what may be near them."""
  rows, n = touches.rows, len(touches.rows)
  sizes = touches.ends - touches.starts
  # Small beside a cell: most of what a tile is compared with is then wanted.
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
      rows[start:end], np.arange(start, end), rows[places], places
    )
