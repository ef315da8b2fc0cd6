"""DavIR: the share of its loss that tuning takes from a response.

"DavIR: Data Selection via Implicit Reward", arXiv 2310.13008: 1 − L_tuned /
L_base, so that a response that the base finds hard has no head start. The paper
tunes its model on the whole pool; here it is tuned on the reference set, as
for depth.
"""

import numpy as np

from ila_jax.methods import candidates, method, options
from ila_jax.methods.quality import scored


def rank(c: candidates.Candidates, _: options.Options) -> candidates.Ranking:
  """The largest relative drop first. All in round 1."""
  base, tuned = c.inputs["nll_base"], c.inputs["nll_sft"]
  with np.errstate(divide="ignore", invalid="ignore"):
    # An infinite loss of the base is no drop of all of it.
    drop = np.where(np.isfinite(base), 1 - tuned / base, np.nan)
  return scored.greatest_first(c, drop, name="relative loss drop")


METHOD = method.Method(
  name="davir", rank=rank, needs=("nll_base", "nll_sft"), colour="#117733"
)
