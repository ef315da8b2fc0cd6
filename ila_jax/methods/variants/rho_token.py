"""RHO of tokens: depth in which no single token counts for much.

Rho-1 (Lin et al., "Not All Tokens Are What You Need", arXiv 2404.07965) trains
on the tokens whose loss a tuned reference model lowers most. Here the gain of a
response is the mean of those of its tokens, each clipped to plus or minus
config.signals.token_clip nats, without the first token and the one that ends
the turn: these two are learnt from the format, and of a short response they are
much. A reconstruction: Rho-1 selects tokens, and this selects examples.
"""

import dataclasses

from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib
from ila_jax.methods.variants import rounds

_GAIN = "token_gain"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """What the gain is compared with."""

  like_length: bool = options_lib.field(False, rounds.LIKE_LENGTH)


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The order of `ila`, by the mean of clipped gains of tokens."""
  return rounds.deepest_first(
    c,
    c.inputs[_GAIN],
    name="gain of tokens",
    like_length=options.like_length,
  )


METHOD = method.Method(
  name="rho_token",
  rank=rank,
  needs=("cell", "cell_weight", "domain", "n_tokens", _GAIN),
  options=Options,
  colour="#0e7490",
)
