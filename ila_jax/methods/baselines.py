"""Baselines: random, longest, depth alone, coverage alone."""

from ila_jax.methods import candidates


def random(c: candidates.Candidates) -> candidates.Ranking:
  """Uniformly at random, keyed by seed and id. All in round 1."""
  return candidates.ranking(c, (c.uniform,))


def longest(c: candidates.Candidates) -> candidates.Ranking:
  """The longest response first. All in round 1."""
  return candidates.ranking(c, (-c.n_tokens,))


def depth_only(
  c: candidates.Candidates, *, rank_by: str = "depth"
) -> candidates.Ranking:
  """The deepest first, wherever it lies on the map. All in round 1."""
  return candidates.ranking(c, (-candidates.depth(c, rank_by),))


def coverage_only(c: candidates.Candidates) -> candidates.Ranking:
  """Rounds over the cells as in `ila`, with no regard to depth.

  The order inside a cell and the order of cells inside a round come from two
  independent draws: with one alone, crowded cells, whose lowest draw is lower,
  would come first.
  """
  place = candidates.place(c, c.uniform)
  return candidates.ranking(c, (place, c.uniform_across), place)
