"""ILA whose cells get what the loss can still lose in them.

If the loss of cell c falls as A_c t^-b with the t examples that are trained on
there, and w_c is its weight in the loss that counts, then the shares that leave
the least loss in all are as (w_c A_c)^(1 / (1 + b)), as in Neyman's stratified
samples (docs/method.md 19).
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from ila_jax.landscape import ordering
from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.ByDepth):
  """How the shares of cells follow from their reducible loss."""

  exponent: float = options_lib.field(
    0.5,
    "b of the law: the loss of a cell falls as (its examples)^-b",
    low=0,
    high=10,
  )
  pseudo_tokens: float = options_lib.field(
    300.0,
    "tokens by which a cell's reducible loss is shrunk to that of its domains",
    low=0,
    high=10**9,
  )
  floor: float = options_lib.field(
    0.1,
    "of the pool's reducible loss a token, what every cell has at least",
    low=0,
    high=1,
    above=True,
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """As `ila`, cells sharing the budget by (mass * reducible loss)^(1/(1+b)).

  The mass of a cell is its target examples where config.select.cell_weight is
  'target', and the number of its candidates otherwise.
  """
  reducible, in_pool = reducible_loss(c, pseudo_tokens=options.pseudo_tokens)
  if in_pool > 0:
    reducible = np.maximum(reducible, options.floor * in_pool)
  else:
    reducible = np.ones(len(c.ids))
  mass = c.cell_mass
  if mass is None:
    mass = ordering.counts(c.cell, c.candidate).astype(np.float64)
  weight = (mass * reducible) ** (1 / (1 + options.exponent))
  depth = candidates.depth(c, options.rank_by)
  order = candidates.Ranking(
    *ordering.total_order(c.cell, depth, c.id_rank, c.candidate, weight)
  )
  if in_pool > 0 or not c.candidate.any():
    return order
  return dataclasses.replace(
    order,
    warning="tuning on the reference set has not lowered the loss of the pool "
    f"({in_pool:+.4f} nats a token): no cell has a reducible loss, and cells "
    "share the budget by their mass alone. Change config.score.learning_rate "
    "or config.score.epochs, with --redo=score.",
  )


def reducible_loss(
  c: candidates.Candidates, *, pseudo_tokens: float
) -> tuple[Float[np.ndarray, " n"], float]:
  """What tuning on the reference set took off the loss of each row's cell.

  It is sum of (loss under base - loss under tuned) / sum of response tokens of
  the candidates of the cell. To both sums pseudo-tokens are added that have
  the mean gain of the cell's domains, each by its tokens in the cell.

  Args:
    c: the candidates; the method has named both losses, tokens and domains.
    pseudo_tokens: how many; with 0 each cell stands for itself.

  Returns:
    Nats a token, float64 [n]; the same of all candidates.
  """
  tokens = np.maximum(c.n_tokens, 1).astype(np.float64)
  base, tuned = (np.asarray(c.inputs[k], np.float64) for k in _LOSSES)
  gain = np.where(c.candidate, (base - tuned) / tokens, 0)
  own = candidates.mean_within(c, c.cell, gain, weight=tokens)
  of_domain = candidates.mean_within(c, c.domain, gain, weight=tokens)
  around = candidates.mean_within(c, c.cell, of_domain, weight=tokens)
  every = np.zeros(len(gain), np.int64)
  in_pool = candidates.mean_within(c, every, gain, weight=tokens)
  size = ordering.counts(c.cell, c.candidate)
  in_cell = size * candidates.mean_within(c, c.cell, tokens)
  # A cell without candidates has no tokens, and no row that is ordered.
  total = np.where(in_cell > 0, in_cell + pseudo_tokens, 1)
  shrunk = (in_cell * own + pseudo_tokens * around) / total
  return shrunk, float(in_pool[0]) if len(in_pool) else 0.0


_LOSSES = ("nll_base", "nll_sft")

METHOD = method.Method(
  name="ila_neyman",
  rank=rank,
  needs=(
    *("cell", "cell_mass", "depth", "relative_depth", "n_tokens", "domain"),
    *_LOSSES,
  ),
  options=Options,
  cell_factor="by how much tuning lowers the loss in them",
  colour="#d500f9",
)
