"""Specific: responses that belong to their prompts, then coverage by chance.

The Task-Specificity Score (arXiv 2602.03103, read as an abstract) compares the
loss of a response behind its own prompt with that behind others:

    TS = (nll1(y | x') - nll1(y | x)) / T

under the tuned model, in the mean over draws of x' (docs/method.md 18). A
response that answers another prompt has a TS about 0. Long responses and
creative ones have a low TS, too, so by default TS is compared among responses
of like length in one domain only.
"""

import dataclasses

import numpy as np

from ila_jax.landscape import ordering
from ila_jax.methods import candidates, method, strata
from ila_jax.methods import options as options_lib
from ila_jax.methods.quality import scored
from ila_jax.score.signals.tuned import swapped_prompt

FILTER, ORDER = "filter", "order"
NAME = "task-specificity score"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """What the score decides."""

  use: str = options_lib.field(
    FILTER,
    "the score sets the least specific aside; or it is the order",
    choices=(FILTER, ORDER),
  )
  keep: float = options_lib.field(
    0.69, "share that the filter keeps", low=0, high=1
  )
  like_length: bool = options_lib.field(
    True, "compares among responses of like length in a domain only"
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """Coverage at random of the most specific; the others follow, likewise.

  Kept are those whose mid-rank quantile of TS is above 1 - `keep`, among the
  candidates of their domain and quintile of length, or among all of their
  domain. The rounds are those of `coverage_only`.
  """
  values = c.inputs[swapped_prompt.NAME]
  score, _ = swapped_prompt.specificity(values, c.n_tokens)
  known = c.candidate & np.isfinite(score)
  bins = strata.QUINTILES if options.like_length else 1
  if options.use == ORDER and not options.like_length:
    return scored.greatest_first(c, score, name=NAME)
  quantile = strata.ranked(c, score, among=known, bins=bins)
  if options.use == ORDER:
    quantile = np.where(known, quantile, np.nan)
    return scored.greatest_first(c, quantile, name=NAME)
  aside = quantile <= 1 - options.keep
  place = np.asarray(
    ordering.place_in_cell(c.cell, (aside, c.uniform), c.id_rank, known)
  )
  turn = candidates.turns(c, place)
  lost = int((c.candidate & ~known).sum())
  return candidates.ranking(
    c,
    (aside, turn, c.uniform_across),
    place,
    among=known,
    rest=f"{lost:,} have no finite {NAME}." if lost else "",
  )


METHOD = method.Method(
  name="specific",
  rank=rank,
  needs=(
    *("cell", "cell_weight", "domain", "n_tokens", swapped_prompt.NAME),
    *("uniform", "uniform_across"),
  ),
  options=Options,
  colour="#4d7c0f",
)
