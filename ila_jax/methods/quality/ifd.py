"""IFD: how little the prompt helps with its response (Li et al., 2023).

"From Quantity to Quality", arXiv 2308.12032. Published variants differ in the
ratio, the model and what stands before a response without its prompt. This one
takes the base as it is, without a warm-up, prompt and response as the run has
made them into tokens, and a response without its prompt behind one token that
begins a text: both losses are of the same tokens.
"""

import dataclasses

import numpy as np

from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """Which ratio counts, and above which value a prompt is no help."""

  ratio: str = options_lib.field(
    "loss",
    "ratio of mean losses, or of perplexities",
    choices=("loss", "perplexity"),
  )
  most: float = options_lib.field(
    1.0, "examples above it are left out", low=0, high=1e6
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The highest ratio of the losses with and without the prompt first.

  A ratio above 1 says that the response is more likely without its prompt:
  as the authors do, such examples are left out, and so are those whose ratio
  is not a number. All in round 1.
  """
  given, alone = c.inputs["nll_base"], c.inputs["nll_without_prompt"]
  # Both losses are sums over the same tokens.
  with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
    if options.ratio == "loss":
      ratio = given / alone
    else:
      ratio = np.exp((given - alone) / c.n_tokens)
  ratio = ratio.astype(np.float32)
  known = np.isfinite([given, alone, ratio]).all(axis=0)
  helped = known & (ratio <= options.most)
  above, unknown = (
    int((c.candidate & rows).sum()) for rows in (known & ~helped, ~known)
  )
  rest = (
    f"{above:,} have an IFD above config.select.options.ifd.most, "
    f"{options.most:g}."
  )
  if unknown:
    rest += f" Of {unknown:,} it is not finite."
  return candidates.ranking(c, (-ratio,), among=c.candidate & helped, rest=rest)


METHOD = method.Method(
  name="ifd",
  rank=rank,
  needs=("nll_base", "nll_without_prompt", "n_tokens"),
  options=Options,
  colour="#882255",
)
