"""T-SHIRT: what tells most, and as much when its embeddings are shaken.

Fu et al., "T-SHIRT: Token-Selective Hierarchical Data Selection for Instruction
Tuning", arXiv 2506.01317: IFD over the tokens whose loss the prompt changes
most (S-IFD), in the mean of noisy neighbours; of the examples with the highest
mean those that vary least (docs/method.md 13). Theirs scores with GPT-2; here
it is the base of the run, on its prompts, and without the prompt an answer
follows one token that begins a text.
"""

import dataclasses

import numpy as np

from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib
from ila_jax.run import progress
from ila_jax.score.signals import noisy_ifd


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options, noisy_ifd.Options):
  """How the copies of an example are made, and which tokens count."""

  token_ratio: float = options_lib.field(
    0.5, "share of the tokens that count", low=0, high=1, above=True
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The steadiest first of the highest means, twice as many as are wanted.

  A smaller budget gets other examples, and not the head of this order: twice
  its number are a smaller set, of which others vary least. Where the budget
  counts tokens, as many are wanted as it may buy at most. Left out are examples
  whose mean IFD is 1 or more. All in round 1.
  """
  values = c.inputs["noisy_ifd"]
  shape = len(noisy_ifd.THRESHOLDS), noisy_ifd.COLUMNS
  values = values.reshape(len(values), *shape)
  known = c.candidate & np.isfinite(values).all(axis=(1, 2))
  at = _threshold(values[known, :, 2], options.token_ratio)
  helped = known & (values[:, 0, 0] < 1)
  mean, deviation = values[:, at, 0], values[:, at, 1]
  rows = np.flatnonzero(helped)
  count = len(rows) if c.wanted is None else min(c.wanted, len(rows))
  rows = rows[np.lexsort((c.id_rank[rows], -mean[rows]))][: 2 * count]
  rows = rows[np.lexsort((c.id_rank[rows], deviation[rows]))][:count]
  left_out = (
    (int((known & ~helped).sum()), "a mean IFD of 1 or more"),
    (int((c.candidate & ~known).sum()), "no finite IFD"),
  )
  rest = [f"{lost:,} have {why}." for lost, why in left_out if lost]
  if count < helped.sum():
    rest.append(f"T-SHIRT orders {count:,}, as many as the budget may buy.")
  return candidates.Ranking(rows, np.ones(len(rows), np.int32), " ".join(rest))


def _threshold(counts: np.ndarray, ratio: float) -> int:
  """The threshold that lets about a share of all tokens in, and says which.

  Args:
    counts: of the tokens of each example above each threshold [n, thresholds].
    ratio: the share.
  """
  totals = counts.sum(axis=0, dtype=np.float64)
  if not totals.any():
    return 0
  share = totals / totals[0]
  at = int(np.argmin(np.abs(share - ratio)))
  progress.say(
    f"  tshirt: {share[at]:.1%} of the tokens count (wanted: {ratio:.1%}), "
    f"those whose loss changes by more than {noisy_ifd.THRESHOLDS[at]:.3g} nats"
  )
  return at


METHOD = method.Method(
  name="tshirt",
  rank=rank,
  needs=("noisy_ifd",),
  options=Options,
  is_nested=False,
  colour="#7570b3",
)
