"""Contrastive depth: how much tuning has taught a model to use the prompt.

    CD = [(nll1(y | x') - nll1(y | x)) - (nll0(y | x') - nll0(y | x))] / T

in nats a token, in the mean over draws of other prompts x' (docs/method.md 18).
It is depth, by Equation 5 without labels, less the depth of the same response
behind another prompt. What tuning has taught of the style of responses alone is
the same behind both, and goes away.
"""

import dataclasses

import numpy as np

from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib
from ila_jax.methods.variants import rounds
from ila_jax.score.signals.tuned import swapped_prompt

# Below this correlation of two draws the order is told to be chance in part.
_LOW = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """What contrastive depth is compared with."""

  like_length: bool = options_lib.field(True, rounds.LIKE_LENGTH)


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The order of `ila`, by contrastive depth.

  With `like_length` the depth is its mid-rank quantile among the candidates of
  a domain and a quintile of length, so that length decides nothing.
  """
  depth, draws = swapped_prompt.contrast(
    c.inputs[swapped_prompt.NAME], c.n_tokens
  )
  order = rounds.deepest_first(
    c, depth, name="contrastive depth", like_length=options.like_length
  )
  return dataclasses.replace(order, warning=_warning(draws[c.candidate]))


def _warning(draws: np.ndarray) -> str:
  """What is said where two draws of other prompts do not agree."""
  held = swapped_prompt.reliability(draws)
  if held is None or held >= _LOW:
    return ""
  return (
    f"two draws of other prompts agree by a correlation of {held:.2f} only: "
    "the order is chance in part. More draws help: raise "
    "config.signals.other_prompts."
  )


METHOD = method.Method(
  name="ila_contrastive",
  rank=rank,
  needs=("cell", "cell_weight", "domain", "n_tokens", swapped_prompt.NAME),
  options=Options,
  colour="#7c3aed",
)
