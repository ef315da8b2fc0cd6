"""Chance: what every method must beat."""

from ila_jax.methods import candidates, method, options


def rank(c: candidates.Candidates, _: options.Options) -> candidates.Ranking:
  """Uniformly at random, keyed by seed and id. All in round 1."""
  return candidates.ranking(c, (c.uniform,))


METHOD = method.Method(
  name="random", rank=rank, needs=("uniform",), colour="#8b949e"
)
