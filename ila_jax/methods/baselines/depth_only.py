"""Depth without coverage."""

from ila_jax.methods import candidates, method, options


def rank(
  c: candidates.Candidates, options: options.ByDepth
) -> candidates.Ranking:
  """The deepest first, wherever it lies on the map. All in round 1."""
  return candidates.ranking(c, (-candidates.depth(c, options.rank_by),))


METHOD = method.Method(
  name="depth_only",
  rank=rank,
  needs=("depth", "relative_depth"),
  options=options.ByDepth,
  colour="#009e73",
)
