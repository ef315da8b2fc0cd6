"""Ranks among candidates of like length: length decides nothing any more."""

import numpy as np
from jaxtyping import Bool, Float

from ila_jax.compute import quantiles
from ila_jax.methods import candidates

# Strata of length in a domain, unless it is small.
QUINTILES = 5


def ranked(
  c: candidates.Candidates,
  values: Float[np.ndarray, " n"],
  *,
  among: Bool[np.ndarray, " n"] | None = None,
  bins: int = QUINTILES,
) -> Float[np.ndarray, " n"]:
  """The quantile of each value among candidates of its domain and length.

  The method has named `domain` and `n_tokens`.

  Args:
    c: the candidates.
    values: what is ranked, finite `among` these rows [n].
    among: candidates that count, bool [n]; None: all.
    bins: strata of length in a domain, at most; a domain of fewer than ten
      candidates a stratum has fewer.

  Returns:
    Mid-rank quantiles in (0, 1), float32; 0 for other rows.

  >>> n = np.arange(20)
  >>> c = candidates.candidates(n.astype(np.uint64), cell=n, depth=n / 1,
  ...   relative_depth=n / 1, n_tokens=1 + 99 * (n // 10), domain=0 * n,
  ...   candidate=n >= 0, seed=0)
  >>> ranked(c, n / 1.0)[[0, 9, 10, 19]]
  array([0.05, 0.95, 0.05, 0.95], dtype=float32)
  """
  rows = np.flatnonzero(c.candidate if among is None else among)
  found = np.zeros(len(c.ids), np.float32)
  stratum = quantiles.length_strata(c.n_tokens[rows], c.domain[rows], bins=bins)
  found[rows] = quantiles.within(values[rows], stratum)
  return found
