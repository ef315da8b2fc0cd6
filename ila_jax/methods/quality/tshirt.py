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
from jaxtyping import Int

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
  """The steadiest first of the highest means, twice as many as the budget buys.

  A smaller budget gets other examples, and not the head of this order: twice
  its number are a smaller set, of which others vary least. Where the budget
  counts tokens, the number is the one whose examples it pays for (`_bought`);
  should more be asked for, the other means follow, the highest first. Left out
  are examples whose mean IFD is 1 or more. All in round 1.
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
  rows = rows[np.lexsort((c.id_rank[rows], -mean[rows]))]
  steady = np.lexsort((c.id_rank[rows], deviation[rows]))
  k = _bought(c, rows, steady, count)
  steady = steady[steady < 2 * k]
  rows = np.concatenate([rows[steady], rows[2 * k :]])[:count]
  left_out = (
    (int((known & ~helped).sum()), "a mean IFD of 1 or more"),
    (int((c.candidate & ~known).sum()), "no finite IFD"),
  )
  rest = [f"{lost:,} have {why}." for lost, why in left_out if lost]
  if count < helped.sum():
    rest.append(f"T-SHIRT orders {count:,}, as many as the budget may buy.")
  warning = ""
  if k < helped.sum() <= 2 * k:
    warning = (
      f"twice the {k:,} that the budget buys reach all {helped.sum():,} that "
      "can be chosen: their mean S-IFD decides nothing, and those that vary "
      "least come first. Lower the budget."
    )
  ones = np.ones(len(rows), np.int32)
  return candidates.Ranking(rows, ones, " ".join(rest), warning)


def _bought(
  c: candidates.Candidates,
  rows: Int[np.ndarray, " m"],
  steady: Int[np.ndarray, " m"],
  most: int,
) -> int:
  """The k of T-SHIRT: how many examples the budget buys.

  Of a budget in tokens it is a k whose examples it pays for while it does not
  pay for those of k + 1: their tokens rise with k, but for few exceptions.

  Args:
    c: with the budget.
    rows: the highest mean first.
    steady: places in `rows`, the smallest deviation first.
    most: rows that the budget may buy at most.
  """
  if c.wanted_tokens is None:
    return most
  n_tokens = c.n_tokens[rows[steady]].astype(np.int64)
  low, high = 0, most
  while low < high:
    k = (low + high + 1) // 2
    if n_tokens[steady < 2 * k][:k].sum() <= c.wanted_tokens:
      low = k
    else:
      high = k - 1
  return low


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
  needs=("n_tokens", "noisy_ifd"),
  options=Options,
  is_nested=False,
  colour="#7570b3",
)
