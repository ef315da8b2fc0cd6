"""SemDeDup: in each cluster, what is not too like an example further out.

Abbas et al., "SemDeDup", arXiv 2303.09540: spherical k-means of the embeddings;
in a cluster, examples are visited by falling distance from its centre ("keep
hard"), and one is dropped where its cosine to an earlier one is at least
1 - eps. In the published code any earlier one counts, also one that is itself
dropped, so a chain of small steps leaves its first alone; in the paper's words
a group keeps one. `rule` names which.

The method gives a set. What is kept comes in a random order, so that a budget
below it is a fair draw of the set, and depth has no part in it.

What differs: embeddings are those of prompts, as the run has them; the number
of clusters follows from the pool, where the paper has 11,000 and 50,000 for
millions; the centres are fitted on at most 262,144 examples, drawn by id.

The clusters of n examples cost at most 100 passes of 2 n (n / s) d operations
for s examples a cluster, and the pairs n s d, in tiles of 1,024 rows and more.
Embeddings are read in parts.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape import centers as centers_lib
from ila_jax.landscape import clusters
from ila_jax.landscape.duplicates import pair_search, pairs
from ila_jax.methods import candidates, method
from ila_jax.methods import effort as effort_lib
from ila_jax.methods import options as options_lib
from ila_jax.methods.diversity import likeness
from ila_jax.run import draws, progress

ANY, KEPT = "any", "kept"
_ITERATIONS = 100
# Examples that the centres are fitted on, and that are assigned at once.
_FITTED, _PART = 262_144, 65_536
# Rows that are compared at once with the rest of their clusters.
_TILE_ROWS = 1024, 16_384


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """How near two may be, what drops, and how large clusters are."""

  eps: float = options_lib.field(
    0.05,
    "an example is dropped whose cosine to an earlier one is 1 - eps or more",
    low=1e-6,
    high=1,
  )
  rule: str = options_lib.field(
    ANY,
    "which earlier one drops: any (published code), or one that is kept",
    choices=(ANY, KEPT),
  )
  cluster_examples: int = options_lib.field(
    1000, "examples of a cluster, on average", low=1, high=10**9
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """What is kept, in a random order. All in round 1."""
  rows = likeness.rows_by_tie(c)
  kept = np.zeros(len(c.ids), np.bool_)
  kept[rows[_kept(c, rows, options)]] = True
  dropped = len(rows) - int(kept.sum())
  rest = (
    f"{dropped:,} are too like an earlier one of their cluster: their cosine "
    f"is {1 - options.eps:g} or more (config.select.options.semdedup.eps is "
    f"{options.eps:g}; a smaller one keeps more)."
  )
  return candidates.ranking(c, (c.uniform,), among=kept, rest=rest)


@dataclasses.dataclass(frozen=True)
class _Part:
  """Embeddings of some rows, read when they are asked for."""

  embeddings: Any
  rows: Int[np.ndarray, " m"]

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, places: Any) -> np.ndarray:
    return np.asarray(self.embeddings[self.rows[places]], np.float32)


def _kept(
  c: candidates.Candidates, rows: Int[np.ndarray, " m"], options: Options
) -> Bool[np.ndarray, " m"]:
  """Which rows are kept; they come in the order that decides ties."""
  if not len(rows):
    return np.zeros(0, np.bool_)
  mesh = mesh_lib.current()
  x = _Part(c.inputs["embeddings"], rows)
  cell, squared = _clusters(c, x, options.cluster_examples, mesh)
  desc = "SemDeDup: pairs"
  with progress.counter(len(rows), desc=desc, unit="examples") as advance:
    if options.rule == ANY:
      return _alone(x, cell, squared, 1 - options.eps, mesh, advance)
    near = pairs.pairs(
      x,
      cell=cell,
      near=np.zeros((0, 2), np.int64),
      threshold=1 - options.eps,
      mesh=mesh,
      on_rows=advance,
      remedy="lower config.select.options.semdedup.eps",
    )
  place = np.empty(len(rows), np.int64)
  place[np.argsort(-squared, kind="stable")] = np.arange(len(rows))
  return pairs.leaders(near, place) == np.arange(len(rows))


def _alone(
  x: _Part,
  cell: Int[np.ndarray, " m"],
  squared: Float[np.ndarray, " m"],
  threshold: float,
  mesh: jax.sharding.Mesh,
  on_rows: Callable[[int], None],
) -> Bool[np.ndarray, " m"]:
  """Which rows are below the threshold with all further out in their cell."""
  # In a cell from its centre outwards; of equally far rows the first comes
  # last, for it is visited first.
  order = np.lexsort((-np.arange(len(cell)), squared, cell))
  ends = np.searchsorted(cell[order], cell[order], side="right")
  alone = np.ones(len(cell), np.bool_)
  for rows in pair_search.with_partner(
    x, _tiles(order, ends), threshold=threshold, mesh=mesh, on_rows=on_rows
  ):
    alone[rows] = False
  return alone


def _tiles(
  order: Int[np.ndarray, " m"], ends: Int[np.ndarray, " m"]
) -> Iterator[pair_search.Tile]:
  """Cells one after the other, whole ones together where they are small."""
  start, starts = 0, np.searchsorted(ends, ends)
  # A tile is small beside a cell: most of its products are then wanted.
  usual = int((ends - starts).mean()) // 8 if len(order) else 0
  size = int(np.clip(1 << usual.bit_length(), *_TILE_ROWS))
  while start < len(order):
    end = min(start + size, len(order))
    # A cell that the tile would cut begins the next, unless it fills this one.
    begins = starts[end - 1]
    if ends[end - 1] > end and begins > start:
      end = begins
    places = np.arange(start, ends[end - 1])
    tile = slice(start, end)
    yield pair_search.Tile(
      order[tile], places[: end - start], ends[tile], order[places], places
    )
    start = end


def _clusters(
  c: candidates.Candidates,
  x: _Part,
  size: int,
  mesh: jax.sharding.Mesh,
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
  """The cluster of every row, and its squared distance from the centre."""
  count = -(-len(x) // size)
  fitted = draws.choose(
    c.ids[x.rows], count=max(_FITTED, count), seed=c.seed, purpose="semdedup"
  )
  if count == 1:
    mean = x[fitted].mean(axis=0, dtype=np.float64, keepdims=True)
    centers = np.float32(mean / max(np.linalg.norm(mean), 1e-30))
  else:
    centers = _centers(c, x[fitted], count, mesh)
  cells, squares = [], []
  for start in range(0, len(x), _PART):
    part = np.arange(start, min(start + _PART, len(x)))
    found = centers_lib.assign(mesh_lib.put_rows(x[part], mesh), centers)
    cell, squared = mesh_lib.fetch(tuple(found))
    cells.append(cell[: len(part)])
    squares.append(squared[: len(part)])
  return np.concatenate(cells), np.concatenate(squares)


def _centers(
  c: candidates.Candidates,
  x: Float[np.ndarray, "f d"],
  count: int,
  mesh: jax.sharding.Mesh,
) -> Float[np.ndarray, "k d"]:
  """Centres of unit norm, by spherical k-means."""
  desc, done = "SemDeDup: k-means", 0
  with progress.counter(None, desc=desc, unit="iterations") as advance:

    def on_progress(iterations: int, _: int) -> None:
      nonlocal done
      advance(iterations - done)
      done = iterations

    found = clusters.kmeans(
      mesh_lib.put_rows(x, mesh),
      clusters=count,
      key=jax.random.key(c.seed),
      count=len(x),
      iterations=_ITERATIONS,
      spherical=True,
      on_progress=on_progress,
    )
  return mesh_lib.fetch(found.centers)


def _effort(size: effort_lib.Size, options: Options) -> effort_lib.Effort:
  count = max(size.candidates / options.cluster_examples, 1)
  fitted = min(size.candidates, _FITTED)
  clusters = effort_lib.against(_ITERATIONS * fitted, count, size.embedding)
  in_cluster = min(options.cluster_examples, size.candidates)
  pairs = effort_lib.against(size.candidates, in_cluster, size.embedding)
  return effort_lib.Effort(flops=clusters.flops + pairs.flops)


METHOD = method.Method(
  name="semdedup",
  rank=rank,
  needs=("embeddings", "uniform"),
  options=Options,
  effort=_effort,
  colour="#66a61e",
)
