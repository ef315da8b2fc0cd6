"""Trim: depth as a filter, and coverage by chance among what is left."""

import dataclasses

import numpy as np
from jaxtyping import Float

from ila_jax.compute import quantiles
from ila_jax.landscape import depth as depth_lib
from ila_jax.landscape import ordering
from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib

_RESIDUAL = "residual"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """The depth that counts, and the share of each cell that is shallow by it."""

  rank_by: str = options_lib.field(
    "depth",
    "the depth that counts; 'residual': less the mean depth of its domain and "
    "response length",
    choices=("depth", "relative_depth", _RESIDUAL),
  )
  quantile: float = options_lib.field(
    0.5, "share of each cell that is set aside", low=0, high=1
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """Depth as a filter: coverage at random, after the shallow are set aside.

  In each cell the candidates below the `quantile` of the cell's own depths
  are shallow. The others come first, in the order of `coverage_only`; the
  shallow follow when all of those are used, in rounds again. The quantile is
  taken cell by cell since one of the whole pool would empty the cells of
  domains whose losses are low; so every cell keeps at least its deepest.
  0 is `coverage_only`; 1 keeps the deepest of each cell. By the residual, short
  answers do not count as deep for their length alone (docs/method.md 19).
  """
  if options.rank_by == _RESIDUAL:
    depth = _residual(c)
  else:
    depth = candidates.depth(c, options.rank_by)
  shallow = ~ordering.reaches_quantile(
    c.cell,
    depth,
    c.id_rank,
    c.candidate,
    quantile=options.quantile,
  )
  place = candidates.place(c, shallow, c.uniform)
  turn = candidates.turns(c, place)
  return candidates.ranking(c, (shallow, turn, c.uniform_across), place)


def _residual(c: candidates.Candidates) -> Float[np.ndarray, " n"]:
  """Depth less the mean depth of examples of equal domain and like length.

  That is the residual of a least-squares fit with an own constant for each
  stratum of `quantiles.length_strata` among the candidates. It is 0 for
  an example that is alone in its stratum.

  Args:
    c: the candidates.

  Returns:
    float32 [n]; 0 where a row is no candidate.
  """
  among = c.candidate
  stratum = np.zeros(len(among), np.int64)
  stratum[among] = quantiles.length_strata(
    c.n_tokens[among], c.domain[among], bins=depth_lib.BINS
  )
  deep = np.where(among, c.depth, 0)
  residual = deep - candidates.mean_within(c, stratum, deep)
  return np.where(among, residual, 0).astype(np.float32)


METHOD = method.Method(
  name="trim",
  rank=rank,
  needs=(
    *("cell", "cell_weight", "depth", "relative_depth"),
    *("uniform", "uniform_across"),
  ),
  also=lambda options: (
    ("n_tokens", "domain") if options.rank_by == _RESIDUAL else ()
  ),
  options=Options,
  colour="#56b4e9",
)
