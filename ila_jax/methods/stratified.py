"""Stratified: more from the deepest cells, fewer from the others."""

import dataclasses

import numpy as np

from ila_jax import errors
from ila_jax.landscape import segment_max
from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.ByDepth):
  """How many rows the cells give, from the deepest cell on.

  Raises:
    errors.InputError: a tier of fewer than one cell or row.
  """

  tiers: tuple[tuple[int, int], ...] = options_lib.field(
    ((1000, 5), (1000, 3)), "(cells, rows from each), from the deepest cells on"
  )
  rest: int = options_lib.field(1, "rows from each cell beyond", low=1)

  def __post_init__(self) -> None:
    super().__post_init__()
    if any(min(tier) < 1 for tier in self.tiers):
      raise errors.InputError(
        f"tiers is {self.tiers!r}; allowed: pairs (cells, rows from each), of "
        "1 and more, such as ((1000, 5), (1000, 3))."
      )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The authors' depth-aware stratified sampling, extended to a total order.

  Cells are ranked by their deepest candidate. Each of the first 1000 gives
  its 5 deepest, each of the next 1000 its 3 deepest, the others 1: one cycle.
  Inside a cycle the rows come in rounds as in `ila`, so that also a budget
  below the cycle covers the map first; the next cycle takes the next 5, 3
  and 1. Quotas of 1 throughout are `ila`, and so is a budget of no more rows
  than there are cells, which is what `landscape.grid=auto` makes: quotas need
  far fewer cells than the budget. That a cell gives its deepest, and ranks by
  the deepest, is our reading of the description.
  """
  depth = candidates.depth(c, options.rank_by)
  # Empty cells, of which a fine grid has millions, take no memory.
  cells, cell = np.unique(c.cell, return_inverse=True)
  deepest = np.asarray(
    segment_max.deepest(
      cell, depth, c.id_rank, c.candidate, num_cells=len(cells)
    )
  )
  deepest_rows = deepest[deepest >= 0]
  by_depth = np.lexsort((c.id_rank[deepest_rows], -depth[deepest_rows]))
  deepest_rows = deepest_rows[by_depth]
  quotas = [np.full(cells, quota) for cells, quota in options.tiers]
  others = np.full(len(deepest_rows), options.rest)
  by_rank = np.concatenate([*quotas, others])
  quota = np.ones(len(cells), np.int32)
  quota[cell[deepest_rows]] = by_rank[: len(deepest_rows)]
  place = candidates.place(c, -depth)
  cycle, turn = np.divmod(place, quota[cell])
  # A round of a cycle is a level; a cell of weight 2 goes up twice as fast.
  level = candidates.turns(c, cycle * quota.max(initial=1) + turn)
  order = candidates.ranking(c, (level, -depth), place)
  rows = int((c.candidate & (cycle == 0)).sum())
  if c.wanted is None or c.wanted >= rows:
    return order
  most = np.searchsorted(np.cumsum(by_rank), c.wanted, side="right")
  return dataclasses.replace(
    order,
    warning="the budget is spent before all cells have given their quota once: "
    f"{len(deepest_rows):,} cells give {rows:,} examples then. Choose at most "
    f"{max(most, 1):,} cells: --config.landscape.grid=N --redo=landscape, for "
    "N cells a side (of k-means cells --config.landscape.clusters=N).",
  )


METHOD = method.Method(
  name="stratified",
  rank=rank,
  needs=("cell", "cell_weight", "depth", "relative_depth"),
  options=Options,
  cell_factor="by the quotas of select.options.stratified",
  colour="#d55e00",
)
