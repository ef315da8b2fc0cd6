"""Perplexity: the surprising, the ordinary or the easy first.

Marion et al., "When Less is More", arXiv 2309.04564, keep the lowest, the
middle or the highest part of a pool by perplexity, and find the middle best for
pretraining. Here the perplexity is that of a response given its prompt, under
the base; it orders as the mean loss of a token does, its logarithm.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib
from ila_jax.methods.quality import scored

LOW, MIDDLE, HIGH = "low", "middle", "high"
_NAME = "perplexity"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """Which part of the pool comes first."""

  part: str = options_lib.field(
    MIDDLE, "perplexities that come first", choices=(LOW, MIDDLE, HIGH)
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The lowest or highest perplexity first, or those around the median.

  "middle" goes by places and not by nats: a head of the order has as many
  below the median as above it, but for ties. All in round 1.
  """
  loss = (c.inputs["nll_base"] / c.n_tokens).astype(np.float32)
  if options.part == MIDDLE:
    return scored.greatest_first(c, -_from_the_middle(c, loss), name=_NAME)
  sign = 1 if options.part == HIGH else -1
  return scored.greatest_first(c, sign * loss, name=_NAME)


def _from_the_middle(
  c: candidates.Candidates, loss: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
  """How many candidates lie between each and the median, twice; equals tie.

  Exact in float32 up to eight million candidates; of more, neighbours may tie.
  """
  known = c.candidate & np.isfinite(loss)
  ordered = np.sort(loss[known])
  first, last = (
    np.searchsorted(ordered, loss[known], side) for side in ("left", "right")
  )
  distance = np.full(len(loss), np.nan, np.float32)
  distance[known] = np.abs(first + last - len(ordered))
  return distance


METHOD = method.Method(
  name="ppl",
  rank=rank,
  needs=("nll_base", "n_tokens"),
  options=Options,
  colour="#44aa99",
)
