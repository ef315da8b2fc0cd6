"""Loss drop: what tuning on the reference has taught most, or least.

The nats of a token that tuning on the reference set takes from the loss of a
response: Equation 5 without the number of labels. DataFlex orders so while a
model trains; here the two models are the base and the tuned one.
InfinityInstruct (arXiv 2506.11116) looks for the smallest drop, "hard to
follow"; `first=smallest` is that rule, a reconstruction.
"""

import dataclasses

from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib
from ila_jax.methods.quality import scored

LARGEST, SMALLEST = "largest", "smallest"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """Which end comes first."""

  first: str = options_lib.field(
    LARGEST, "loss drops that come first", choices=(LARGEST, SMALLEST)
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The largest drop a token first, or the smallest. All in round 1."""
  drop = (c.inputs["nll_base"] - c.inputs["nll_sft"]) / c.n_tokens
  sign = 1 if options.first == LARGEST else -1
  return scored.greatest_first(c, sign * drop, name="loss drop")


METHOD = method.Method(
  name="delta_loss",
  rank=rank,
  needs=("nll_base", "nll_sft", "n_tokens"),
  options=Options,
  colour="#999933",
)
