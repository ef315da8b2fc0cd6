"""Two rounds: the reference set is bought, and then the rest by its depth.

ILA tunes a model on a reference set R and throws R away. Here R is the first
part of the selection, a fifth of the budget by rule of thumb
(config.score.reference_examples), so that its cost is no extra cost.

"Diversify and Conquer" (Yu et al., arXiv 2409.11378, read as an abstract)
samples clusters in several iterations: a model is tuned on what was chosen so
far, and clusters in which it does well or badly get more or less of the next
part. Here there are two iterations. The first is R, at random. What the model
that was tuned on it says is a depth for each example and not a weight for each
cluster: in the second, each cell gives its deepest, as in `ila`, and what R has
taken of a cell counts as given.
"""

import numpy as np

from ila_jax import errors
from ila_jax.methods import candidates, method, options

NAME = "ila_two_round"
_HALF = 0.5


def check(strategies: tuple[str, ...], *, exclude_reference: bool) -> None:
  """Refuses to leave out the reference set, of which this method begins.

  Args:
    strategies: the methods of a run.
    exclude_reference: as config.score has it.

  Raises:
    errors.InputError: it is among them, and R is left out.

  >>> check(("ila", "random"), exclude_reference=True)
  """
  if NAME in strategies and exclude_reference:
    raise errors.InputError(
      f"config.score.exclude_reference is True, and {NAME!r} begins with the "
      "reference set; allowed: False. Set "
      "--config.score.exclude_reference=False (a run that has its map needs "
      f"--redo=landscape, too), or choose another method than {NAME!r}."
    )


def rank(
  c: candidates.Candidates, options: options.ByDepth
) -> candidates.Ranking:
  """The reference set by chance, then the deepest of every cell, in rounds.

  A row of R is in round 1. The others are in the round in which their cell
  comes to them: a cell of which R has k rows gives its deepest in round k + 1.
  """
  is_first = np.asarray(c.inputs["reference"], np.bool_) & c.candidate
  depth = candidates.depth(c, options.rank_by)
  key = np.where(is_first, c.uniform, -depth).astype(np.float32)
  place = candidates.place(c, ~is_first, key)
  turn = candidates.turns(c, place)
  turn = np.where(is_first, 0, turn)
  place = np.where(is_first, 0, place)
  order = candidates.ranking(c, (~is_first, turn, key), place)
  taken = int(is_first.sum())
  if c.wanted is None or taken <= _HALF * c.wanted:
    return order
  return candidates.Ranking(
    order.order,
    order.round,
    warning=f"the reference set has {taken:,} examples, and the budget buys "
    f"{c.wanted:,} at most: more than half of the selection is random. Lower "
    "config.score.reference_examples, or name one of "
    "config.score.reference_seeds only.",
  )


METHOD = method.Method(
  name=NAME,
  rank=rank,
  needs=(
    *("cell", "cell_weight", "depth", "relative_depth", "uniform"),
    "reference",
  ),
  options=options.ByDepth,
  colour="#be123c",
)
