"""ILA: in every cell of the map, the examples of the greatest depth."""

from collections.abc import Sequence

import numpy as np

from ila_jax import errors
from ila_jax.landscape import ordering
from ila_jax.methods import candidates


def ila(
  c: candidates.Candidates, *, rank_by: str = "depth"
) -> candidates.Ranking:
  """Information Landscape Approximation: deepest of every cell, in rounds.

  Ranks by depth (docs/method.md 2.6): inside a cell of one domain relative
  depth gives the same order. `rank_by="relative_depth"` changes which cells
  come first inside a round.
  """
  return candidates.Ranking(
    *ordering.total_order(
      c.cell, candidates.depth(c, rank_by), c.id_rank, c.candidate
    )
  )


def trim(
  c: candidates.Candidates, *, quantile: float = 1 / 3, rank_by: str = "depth"
) -> candidates.Ranking:
  """Depth as a filter: coverage at random, after the shallow are set aside.

  In each cell the candidates below the `quantile` of the cell's own depths
  are shallow. The others come first, in the order of `coverage_only`; the
  shallow follow when all of those are used, in rounds again. The quantile is
  taken cell by cell since one of the whole pool would empty the cells of
  domains whose losses are low; so every cell keeps at least its deepest.
  0 is `coverage_only`; 1 keeps the deepest of each cell.

  Raises:
    errors.InputError: the quantile is not in [0, 1].
  """
  if not 0 <= quantile <= 1:
    raise errors.InputError(
      f"config.select.trim_quantile is {quantile}; allowed: 0 to 1. It is the "
      "share of each cell that is set aside; 0.33 drops the lowest third."
    )
  shallow = ~ordering.reaches_quantile(
    c.cell,
    candidates.depth(c, rank_by),
    c.id_rank,
    c.candidate,
    quantile=quantile,
  )
  place = candidates.place(c, shallow, c.uniform)
  return candidates.ranking(c, (shallow, place, c.uniform_across), place)


def stratified(
  c: candidates.Candidates,
  *,
  tiers: Sequence[tuple[int, int]] = ((1000, 5), (1000, 3)),
  rest: int = 1,
  rank_by: str = "depth",
) -> candidates.Ranking:
  """The authors' depth-aware stratified sampling, extended to a total order.

  Cells are ranked by their deepest candidate. Each of the first 1000 gives
  its 5 deepest, each of the next 1000 its 3 deepest, the others 1: one cycle.
  Inside a cycle the rows come in rounds as in `ila`, so that also a budget
  below the cycle covers the map first; the next cycle takes the next 5, 3
  and 1. Quotas of 1 throughout are `ila`. That a cell gives its deepest,
  and ranks by the deepest, is our reading of the description. `tiers` holds
  (cells, rows from each); `rest`, at least 1, is for the cells beyond.
  """
  depth = candidates.depth(c, rank_by)
  first = ila(c, rank_by=rank_by)
  deepest_rows = first.order[first.round == 1]
  quotas = [np.full(cells, quota) for cells, quota in tiers]
  by_rank = np.concatenate([*quotas, np.full(len(deepest_rows), rest)])
  quota = np.ones(c.cell.max(initial=-1) + 1, np.int32)
  quota[c.cell[deepest_rows]] = by_rank[: len(deepest_rows)]
  place = candidates.place(c, -depth)
  cycle, turn = np.divmod(place, quota[c.cell])
  return candidates.ranking(c, (cycle, turn, -depth), place)
