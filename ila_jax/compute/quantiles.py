"""Quantiles inside groups, and groups of examples of like length."""

import numpy as np
from jaxtyping import Float, Int, Num

# Rows that are sorted at once, unless one group has more.
_SORTED_ROWS = 2**22
# A stratum of a domain has about so many examples or more.
STRATUM_EXAMPLES = 10


def length_strata(
  n_tokens: Int[np.ndarray, " n"], domain: Int[np.ndarray, " n"], *, bins: int
) -> Int[np.ndarray, " n"]:
  """Numbers the strata of like length and equal domain.

  The strata of a domain are quantiles of length, and equal lengths share one.
  A domain of fewer than `STRATUM_EXAMPLES` examples a stratum has fewer strata.

  Args:
    n_tokens: response tokens [n].
    domain: domain of each example, from 0 [n].
    bins: strata of a domain, at most.

  Returns:
    Equal numbers for one stratum, int64 [n].

  >>> lengths = np.repeat([1, 2, 9], 10)
  >>> length_strata(lengths, np.zeros(30, int), bins=5)[::10].tolist()
  [0, 1, 2]
  >>> length_strata(lengths[::10], np.array([0, 0, 1]), bins=5).tolist()
  [0, 0, 5]
  """
  _, number, size = np.unique(domain, return_inverse=True, return_counts=True)
  own = np.clip(size[number] // STRATUM_EXAMPLES, 1, bins)
  length_bin = np.floor(own * within(n_tokens, domain))
  return domain.astype(np.int64) * bins + length_bin.astype(np.int64)


def within(
  values: Num[np.ndarray, " n"], group: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
  """Mid-rank quantile of each value inside its group.

  Args:
    values: what is ranked [n].
    group: the group of each value [n].

  Returns:
    Quantiles in (0, 1), float64 [n].

  Raises:
    ValueError: a value that is NaN.

  >>> within(np.array([7, 1, 7, 7]), np.array([0, 0, 0, 5]))
  array([0.66666667, 0.16666667, 0.66666667, 0.5       ])
  """
  if np.isnan(values).any():
    raise ValueError("NaN cannot be ranked; reject such examples first")
  quantile = np.empty(len(values))
  order = _stable_order(group)
  ends = np.append(np.flatnonzero(np.diff(group[order])) + 1, len(order))
  begin = 0
  while begin < len(order):
    # Whole groups, as many as fit, so that a sort needs little memory.
    fits = np.searchsorted(ends, begin + _SORTED_ROWS, side="right") - 1
    end = max(ends[max(fits, 0)], ends[np.searchsorted(ends, begin, "right")])
    rows = order[begin:end]
    quantile[rows] = _sorted_quantiles(values[rows], group[rows])
    begin = end
  return quantile


def _stable_order(group: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
  """Sorts rows by group; small numbers of groups by a radix sort."""
  few = len(group) and group.min() >= 0 and group.max() < 2**16
  return np.argsort(group.astype(np.uint16) if few else group, kind="stable")


def _sorted_quantiles(
  values: Num[np.ndarray, " n"], group: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
  """`within` by one sort; rows stand group by group."""
  order = np.lexsort((values, group))
  new_group = _is_first(group[order])
  tie_start = np.flatnonzero(_is_first(values[order]) | new_group)
  group_start = np.flatnonzero(new_group)
  group_size = np.diff(group_start, append=len(order))
  tie_size = np.diff(tie_start, append=len(order))
  of = np.searchsorted(group_start, tie_start, side="right") - 1
  middle = (tie_start - group_start[of] + tie_size / 2) / group_size[of]
  quantile = np.empty(len(order))
  quantile[order] = np.repeat(middle, tie_size)
  return quantile


def _is_first(values: np.ndarray) -> np.ndarray:
  """Whether a value differs from the one before it."""
  differs = values[1:] != values[:-1]
  return np.concatenate([np.ones(min(1, len(values)), bool), differs])
