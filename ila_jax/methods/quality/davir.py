"""DavIR: the share of its loss that tuning takes from a response.

"DavIR: Data Selection via Implicit Reward", arXiv 2310.13008: 1 − L_tuned /
L_base, so that a response that the base finds hard has no head start. The paper
tunes its model on the whole pool; here it is tuned on the reference set, as
for depth. Short responses have large drops all the same; `like_length` compares
each with those of its length.
"""

import dataclasses

import numpy as np

from ila_jax.methods import candidates, method, strata
from ila_jax.methods import options as options_lib
from ila_jax.methods.quality import scored


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """What a drop is compared with."""

  like_length: bool = options_lib.field(
    False, "compares among responses of like length in a domain only"
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The largest relative drop first. All in round 1."""
  base, tuned = c.inputs["nll_base"], c.inputs["nll_sft"]
  with np.errstate(divide="ignore", invalid="ignore"):
    # An infinite loss of the base is no drop of all of it.
    drop = np.where(np.isfinite(base), 1 - tuned / base, np.nan)
  if options.like_length:
    known = c.candidate & np.isfinite(drop)
    drop = np.where(known, strata.ranked(c, drop, among=known), np.nan)
  return scored.greatest_first(c, drop, name="relative loss drop")


def _also(options: Options) -> tuple[str, ...]:
  return ("domain", "n_tokens") if options.like_length else ()


METHOD = method.Method(
  name="davir",
  rank=rank,
  needs=("nll_base", "nll_sft"),
  also=_also,
  options=Options,
  colour="#117733",
)
