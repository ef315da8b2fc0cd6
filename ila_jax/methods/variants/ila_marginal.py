"""Marginal depth: more of the domains in which tuning still teaches.

Depth says what the whole of R has taught. What the last part of R has taught is
nearer to what the next examples will teach (Slice Tuner, Tae and Whang, arXiv
2003.04549, allots data by learning curves likewise):

    M_d = (nll(θ of R / 4) - nll(θ of R)) / T

in nats a token over a sample of domain d, shrunk by 300 tokens of the mean of
all. A cell of n_c candidates weighs n_c^α max(M_c, f · M)^γ, where M_c is the
mean of M_d over its candidates, M that of the whole sample, f `least`, γ
`power`, and n_c^α the weight that config.select.cell_weight gives it
(docs/method.md 18).

Domains are those of the run: texts of the records (config.pool.fields.domain),
or blocks of the map (config.landscape.domain_blocks) where there are none or
fewer than 50 examples have one.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from ila_jax.landscape import ordering
from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib

# Response tokens of the mean of all that are added to each domain.
PSEUDO_TOKENS = 300
CHANCE, DEPTH = "chance", "depth"
_GAIN = "early_gain"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """How much marginal depth counts."""

  power: float = options_lib.field(
    1.0, "of the marginal depth in the weight of a cell", low=0, high=4
  )
  least: float = options_lib.field(
    0.3,
    "marginal depth of a cell at least, as a share of that of the whole pool",
    low=0,
    high=1,
  )
  inside: str = options_lib.field(
    CHANCE, "what comes first inside a cell", choices=(CHANCE, DEPTH)
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """Coverage by chance, or by depth, of cells that weigh by marginal depth.

  Cells of weight 0, which there are where `least` is 0, come last.
  """
  marginal, mean = _of_rows(c)
  by_chance = options.inside == CHANCE
  key = c.uniform if by_chance else -c.depth
  across = c.uniform_across if by_chance else key
  place = candidates.place(c, key)
  if not mean > 0:
    turn = candidates.turns(c, place)
    order = candidates.ranking(c, (turn, across), place)
    return candidates.Ranking(
      order.order,
      order.round,
      warning="the last part of the reference set has taught nothing "
      f"({mean:.3g} nats a token): all cells weigh as in `coverage_only`. "
      "Raise config.score.reference_examples or "
      "config.signals.early_examples.",
    )
  factor = np.maximum(marginal / mean, options.least) ** options.power
  has_none = factor <= 0
  weight = np.where(has_none, 1, factor)
  if c.cell_weight is not None:
    weight = weight * c.cell_weight
  turn = ordering.turns(place, weight)
  return candidates.ranking(c, (has_none, turn, across), place)


def _of_rows(
  c: candidates.Candidates,
) -> tuple[Float[np.ndarray, " n"], float]:
  """The marginal depth of each row's cell, and that of the whole sample."""
  gain = np.asarray(c.inputs[_GAIN], np.float64)
  known = np.isfinite(gain)
  by_id = np.argsort(c.id_rank)  # Sums have the same bits in any order of rows.
  if not known.any():
    return np.zeros(len(gain)), np.nan
  gain = np.where(known, gain, 0)
  tokens = np.where(known, c.n_tokens, 0).astype(np.float64)
  mean = float(gain[by_id].sum() / tokens.sum())
  total, held = (_sums(c.domain, v, by_id) for v in (gain, tokens))
  of_domain = (total + PSEUDO_TOKENS * mean) / (held + PSEUDO_TOKENS)
  return candidates.mean_within(c, c.cell, of_domain), mean


def _sums(
  group: Int[np.ndarray, " n"],
  values: Float[np.ndarray, " n"],
  by_id: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
  """The sum of each row's group."""
  _, number = np.unique(group, return_inverse=True)
  return np.bincount(number[by_id], weights=values[by_id])[number]


METHOD = method.Method(
  name="ila_marginal",
  rank=rank,
  needs=(
    *("cell", "cell_weight", "domain", "n_tokens", _GAIN),
    *("depth", "uniform", "uniform_across"),
  ),
  options=Options,
  cell_factor="by what the last part of the reference set has taught in them",
  colour="#a16207",
)
