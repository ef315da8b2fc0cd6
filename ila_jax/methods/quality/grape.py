"""GRAPE: of several responses to a prompt, the one nearest to the base.

Zhang et al., "The Best Instruction-Tuning Data are Those That Fit", arXiv
2502.04194: among the responses to one prompt, the one that the base finds most
likely, by the mean log-probability of a token. The paper keeps one response of
each prompt; here the others follow, in rounds, so that any budget is met.
"""

import dataclasses

import numpy as np

from ila_jax.landscape import ordering
from ila_jax.methods import candidates, method, options

# Share of responses that no better one stands before, to be told.
_FEW = 0.9


def rank(c: candidates.Candidates, _: options.Options) -> candidates.Ranking:
  """The likeliest response of each prompt, then each one's second, and so on.

  Within a round the likeliest comes first. The paper does not order prompts:
  in a pool with one response to each, this is `ppl` with `part=low`.
  """
  loss = (c.inputs["nll_base"] / c.n_tokens).astype(np.float32)
  known = c.candidate & np.isfinite(loss)
  _, prompt = np.unique(c.inputs["prompt_id"], return_inverse=True)
  place = np.asarray(
    ordering.place_in_cell(
      prompt.astype(np.int32).reshape(-1), (loss,), c.id_rank, known
    )
  )
  lost = int((c.candidate & ~known).sum())
  rest = f"{lost:,} have no finite loss." if lost else ""
  order = candidates.ranking(c, (place, loss), place, among=known, rest=rest)
  alone = 1 - np.count_nonzero(place[known]) / max(known.sum(), 1)
  if alone < _FEW:
    return order
  return dataclasses.replace(
    order,
    warning=f"{alone:.0%} of the responses are the best or only one to their "
    "prompt: almost nothing is chosen between, and the order is nearly that "
    "of ppl with part=low.",
  )


METHOD = method.Method(
  name="grape",
  rank=rank,
  needs=("nll_base", "n_tokens", "prompt_id"),
  colour="#aa4499",
)
