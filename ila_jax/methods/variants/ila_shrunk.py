"""ILA by a depth that several reference sets agree on.

Among many examples the deepest by a noisy depth is often one whose noise is
great, such as a short answer. Here depth is shrunk to the mean of its cell, the
more the less the reference sets agree on it, and what stays uncertain counts
against an example (docs/method.md 19).
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ila_jax import errors
from ila_jax.compute import quantiles
from ila_jax.landscape import depth as depth_lib
from ila_jax.landscape import ordering
from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """How much uncertainty counts, and how noise is estimated."""

  deviations: float = options_lib.field(
    1.0,
    "posterior standard deviations that are taken off the posterior mean",
    low=0,
    high=10,
  )
  noise_weight: float = options_lib.field(
    4.0,
    "degrees of freedom that the noise of other examples of the domain and "
    "length has in an example's own",
    low=0,
    high=10**6,
  )


class Posterior(NamedTuple):
  """What is known of the depth of each example.

  Attributes:
    mean: float64 [n].
    deviation: float64 [n].
    between: variance of depth inside cells, in which noise has no part.
  """

  mean: Float[np.ndarray, " n"]
  deviation: Float[np.ndarray, " n"]
  between: float


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """As `ila`, by the posterior mean of depth less its deviation.

  Depth is Equation 5 by each reference set, whatever config.landscape.depth is.

  Raises:
    errors.InputError: there is one reference set only.
  """
  known = posterior(c, noise_weight=options.noise_weight)
  score = known.mean - options.deviations * known.deviation
  order = candidates.Ranking(
    *ordering.total_order(
      c.cell, score.astype(np.float32), c.id_rank, c.candidate, c.cell_weight
    )
  )
  if known.between > 0 or not c.candidate.any():
    return order
  return dataclasses.replace(
    order,
    warning="the examples of a cell differ in depth no more than the reference "
    "sets disagree: inside a cell the order is that of the ids. Raise "
    "config.score.reference_examples, or name more "
    "config.score.reference_seeds.",
  )


def posterior(c: candidates.Candidates, *, noise_weight: float) -> Posterior:
  """The depth of each example, given its cell and all reference sets.

  The depth by set s is d_is = t_i + e_is, where t_i is normal around the mean
  of the cell with variance `between`, and e_is has the variance of the noise of
  example i. Both variances are estimated by moments.

  Args:
    c: the candidates; the method has named what Equation 5 needs.
    noise_weight: as `Options.noise_weight`.

  Raises:
    errors.InputError: there is one reference set only.
  """
  by_set = _by_set(c)
  sets = by_set.shape[1]
  mean, own = by_set.mean(axis=1), by_set.var(axis=1, ddof=1)
  among, stratum = c.candidate, np.zeros(len(c.ids), np.int64)
  stratum[among] = quantiles.length_strata(
    c.n_tokens[among], c.domain[among], bins=depth_lib.BINS
  )
  alike = candidates.mean_within(c, stratum, own)
  noise = ((sets - 1) * own + noise_weight * alike) / (sets - 1 + noise_weight)
  between = _between(c, mean, own / sets)
  center = candidates.mean_within(c, c.cell, mean)
  total = between + noise / sets
  kept = between / np.where(total > 0, total, 1)
  return Posterior(
    mean=np.where(among, center + kept * (mean - center), 0),
    deviation=np.where(among, np.sqrt(kept * noise / sets), 0),
    between=between,
  )


def _by_set(c: candidates.Candidates) -> Float[np.ndarray, "n s"]:
  """Equation 5 by each reference set, float64; 0 where no candidate is."""
  tuned = np.asarray(c.inputs["nll_by_reference"], np.float64)
  if tuned.ndim < 2 or tuned.shape[1] < 2:
    raise errors.InputError(
      "config.score.reference_seeds names one reference set, and ila_shrunk "
      "asks how far several agree; allowed: two or more. Set "
      '--config.score.reference_seeds="(0,1,2)" --redo=score.'
    )
  gain = np.asarray(c.inputs["nll_base"], np.float64)[:, None] - tuned
  labels = np.asarray(c.inputs["n_labels"], np.float64)
  depth = gain * (labels / c.n_tokens)[:, None]
  return np.where(c.candidate[:, None], depth, 0)


def _between(
  c: candidates.Candidates,
  mean: Float[np.ndarray, " n"],
  noise: Float[np.ndarray, " n"],
) -> float:
  """The variance of depth inside cells, at least 0, without that of noise.

  Cells of the finest grid have few examples: one number serves all. A cell with
  one example tells nothing of it.

  Args:
    c: the candidates.
    mean: of depth over the reference sets [n].
    noise: variance of this mean by the example's own sets [n].
  """
  rows = np.flatnonzero(c.candidate)
  rows = rows[np.argsort(c.id_rank[rows])]
  size = ordering.counts(c.cell, c.candidate)[rows]
  freedom = len(rows) - len(np.unique(c.cell[rows]))
  if not freedom:
    return 0.0
  center = candidates.mean_within(c, c.cell, mean)
  squares = ((mean - center)[rows] ** 2).sum()
  by_noise = (noise[rows] * (size - 1) / size).sum()
  return max(float(squares - by_noise) / freedom, 0.0)


METHOD = method.Method(
  name="ila_shrunk",
  rank=rank,
  needs=(
    *("cell", "cell_weight", "n_tokens", "domain"),
    *("nll_base", "nll_by_reference", "n_labels"),
  ),
  options=Options,
  colour="#3d5afe",
)
