"""Coverage without depth."""

from ila_jax.methods import candidates, method, options


def rank(c: candidates.Candidates, _: options.Options) -> candidates.Ranking:
  """Rounds over the cells as in `ila`, with no regard to depth.

  The order inside a cell and the order of cells inside a round come from two
  independent draws: with one alone, crowded cells, whose lowest draw is lower,
  would come first.
  """
  place = candidates.place(c, c.uniform)
  turn = candidates.turns(c, place)
  return candidates.ranking(c, (turn, c.uniform_across), place)


METHOD = method.Method(
  name="coverage_only",
  rank=rank,
  needs=("cell", "cell_weight", "uniform", "uniform_across"),
  colour="#cc79a7",
)
