"""Coverage without depth."""

from collections.abc import Mapping

import numpy as np

from ila_jax.methods import candidates, method, options
from ila_jax.run import draws


def rank(c: candidates.Candidates, _: options.Options) -> candidates.Ranking:
  """Rounds over the cells as in `ila`, with no regard to depth.

  The order inside a cell and the order of cells inside a round come from two
  independent draws: with one alone, crowded cells, whose lowest draw is lower,
  would come first.
  """
  place = candidates.place(c, c.uniform)
  return candidates.ranking(c, (place, c.uniform_across), place)


def streams(
  part: Mapping[str, np.ndarray], _: options.Options, seed: int
) -> np.ndarray:
  """The lowest draws of a cell come first."""
  return -draws.keyed_uniform(part["id"], seed=seed, purpose="select")


METHOD = method.Method(
  name="coverage_only",
  rank=rank,
  needs=("cell", "uniform", "uniform_across"),
  streams=streams,
  colour="#cc79a7",
)
