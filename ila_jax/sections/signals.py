"""Section `signals`: how numbers are made that some methods need."""

import dataclasses

from ila_jax.sections import checked, ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signals(checked.Checked):
  """How the signals are made that have more than one method, or a model."""

  other_prompts: int = checked.field(
    2,
    "other prompts that each response is scored behind, for specific and "
    "ila_contrastive; each costs a pass of the base and of a tuned model",
    low=1,
    high=16,
  )
  early_share: float = checked.field(
    0.25,
    "share of the reference set that the earlier model of ila_marginal is "
    "tuned on",
    **ranges.PART,
  )
  early_examples: int = checked.field(
    2500,
    "examples that the earlier model scores, or all where there are fewer",
    low=1,
    high=10**6,  # Their tokens are held at once.
  )
  token_clip: float = checked.field(
    2.0,
    "nats that the gain of one token counts at most, for rho_token",
    low=0,
    high=1e6,
    above=True,
  )
