"""Length alone: many scores turn out to be it."""

from ila_jax.methods import candidates, method, options


def rank(c: candidates.Candidates, _: options.Options) -> candidates.Ranking:
  """The longest response first. All in round 1."""
  return candidates.ranking(c, (-c.n_tokens,))


METHOD = method.Method(
  name="longest", rank=rank, needs=("n_tokens",), colour="#e69f00"
)
