"""Where selections agree, and the examples on which they do not."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt64

from ila_jax.landscape.trust import agreement


def jaccard(
  chosen: Mapping[str, Int[np.ndarray, " _"]],
) -> list[list[float]]:
  """The Jaccard index of each two selections, in the order of the names.

  Args:
    chosen: distinct rows, by method.

  >>> jaccard({"a": np.array([1, 2]), "b": np.array([2, 3, 4])})
  [[1.0, 0.25], [0.25, 1.0]]
  """
  names = list(chosen)
  found = [[1.0] * len(names) for _ in names]
  for i, one in enumerate(names):
    for j in range(i):
      share = agreement.jaccard(chosen[one], chosen[names[j]])
      found[i][j] = found[j][i] = share
  return found


class Disagreement(NamedTuple):
  """Examples on which a strategy and its rivals disagree.

  Attributes:
    missed: rows that most rivals choose and the strategy does not.
    alone: rows that the strategy chooses and the fewest rivals do.
    is_chosen: by row, which of all methods choose it.
    counts: `missed`, how many rows more than half of the rivals choose and the
      strategy does not; `alone`, how many the strategy alone chooses.
  """

  missed: Int[np.ndarray, " a"]
  alone: Int[np.ndarray, " b"]
  is_chosen: dict[int, list[str]]
  counts: dict[str, int]


def disagreement(
  chosen: Mapping[str, Int[np.ndarray, " _"]],
  ids: UInt64[np.ndarray, " n"],
  *,
  count: int,
) -> Disagreement:
  """Finds what the first selection and the others disagree on.

  Args:
    chosen: distinct rows in the order of the choice, by method; the first is
      the strategy, and has a rival or more.
    ids: of all rows; of what equally many choose, the lower goes first in
      `missed`. In `alone` it is what the strategy has chosen earlier.
    count: of the rows that are named on each side, at most.

  >>> chosen = {"ours": np.array([4, 1]), "a": np.array([1, 2]),
  ...   "b": np.array([2, 3])}
  >>> found = disagreement(chosen, np.arange(5, dtype=np.uint64), count=2)
  >>> found.missed.tolist(), found.alone.tolist(), found.is_chosen[2]
  ([2, 3], [4, 1], ['a', 'b'])
  >>> found.counts
  {'missed': 1, 'alone': 1}
  """
  ours, *rivals = chosen.values()
  rows = np.unique(np.concatenate([*chosen.values()]))
  is_ours = np.isin(rows, ours, assume_unique=True)
  votes = np.zeros(len(rows), np.int32)
  for rival in rivals:
    votes[np.searchsorted(rows, rival)] += 1
  # Those of other methods alone, the most chosen first.
  others = np.flatnonzero(~is_ours)
  others = others[np.lexsort((ids[rows[others]], -votes[others]))]
  of_ours = votes[np.searchsorted(rows, ours)]
  alone = ours[np.argsort(of_ours, kind="stable")][:count]
  missed = rows[others[:count]]
  return Disagreement(
    missed=missed,
    alone=alone,
    is_chosen={
      int(row): [name for name, some in chosen.items() if (some == row).any()]
      for row in (*missed, *alone)
    },
    counts={
      "missed": int((votes[others] * 2 > len(rivals)).sum()),
      "alone": int((of_ours == 0).sum()),
    },
  )
