"""Trim: depth as a filter, and coverage by chance among what is left."""

import dataclasses

from ila_jax.landscape import ordering
from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.ByDepth):
  """The share of each cell that counts as shallow."""

  quantile: float = options_lib.field(
    0.5, "share of each cell that is set aside", low=0, high=1
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """Depth as a filter: coverage at random, after the shallow are set aside.

  In each cell the candidates below the `quantile` of the cell's own depths
  are shallow. The others come first, in the order of `coverage_only`; the
  shallow follow when all of those are used, in rounds again. The quantile is
  taken cell by cell since one of the whole pool would empty the cells of
  domains whose losses are low; so every cell keeps at least its deepest.
  0 is `coverage_only`; 1 keeps the deepest of each cell.
  """
  shallow = ~ordering.reaches_quantile(
    c.cell,
    candidates.depth(c, options.rank_by),
    c.id_rank,
    c.candidate,
    quantile=options.quantile,
  )
  place = candidates.place(c, shallow, c.uniform)
  turn = candidates.turns(c, place)
  return candidates.ranking(c, (shallow, turn, c.uniform_across), place)


METHOD = method.Method(
  name="trim",
  rank=rank,
  needs=(
    *("cell", "cell_weight", "depth", "relative_depth"),
    *("uniform", "uniform_across"),
  ),
  options=Options,
  colour="#56b4e9",
)
