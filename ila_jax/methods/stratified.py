"""Stratified: more from the deepest cells, fewer from the others."""

import dataclasses

import numpy as np

from ila_jax import errors
from ila_jax.methods import candidates, ila, method
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
  and 1. Quotas of 1 throughout are `ila`. That a cell gives its deepest,
  and ranks by the deepest, is our reading of the description.
  """
  depth = candidates.depth(c, options.rank_by)
  first = ila.METHOD(c, rank_by=options.rank_by)
  deepest_rows = first.order[first.round == 1]
  quotas = [np.full(cells, quota) for cells, quota in options.tiers]
  others = np.full(len(deepest_rows), options.rest)
  by_rank = np.concatenate([*quotas, others])
  quota = np.ones(c.cell.max(initial=-1) + 1, np.int32)
  quota[c.cell[deepest_rows]] = by_rank[: len(deepest_rows)]
  place = candidates.place(c, -depth)
  cycle, turn = np.divmod(place, quota[c.cell])
  return candidates.ranking(c, (cycle, turn, -depth), place)


METHOD = method.Method(
  name="stratified",
  rank=rank,
  needs=("cell", "depth", "relative_depth"),
  options=Options,
  colour="#d55e00",
)
