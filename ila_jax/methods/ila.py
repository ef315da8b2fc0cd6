"""ILA: in every cell of the map, the examples of the greatest depth."""

from ila_jax.landscape import ordering
from ila_jax.methods import candidates, method, options


def rank(
  c: candidates.Candidates, options: options.ByDepth
) -> candidates.Ranking:
  """Information Landscape Approximation: deepest of every cell, in rounds.

  Ranks by depth (docs/method.md 2.6): inside a cell of one domain relative
  depth gives the same order. `rank_by="relative_depth"` changes which cells
  come first inside a round.
  """
  return candidates.Ranking(
    *ordering.total_order(
      c.cell,
      candidates.depth(c, options.rank_by),
      c.id_rank,
      c.candidate,
      c.cell_weight,
    )
  )


METHOD = method.Method(
  name="ila",
  rank=rank,
  needs=("cell", "cell_weight", "depth", "relative_depth"),
  options=options.ByDepth,
  colour="#0072b2",
)
