"""Which examples an arm gets, so that it can be compared with chance.

More tokens, more examples and more steps each lower the loss, whatever they
hold. A method that likes short answers gets more examples, and more steps, for
the same tokens. So each is held fixed in turn, and all of them at once.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

# What an arm has as much of as the random subset of the same draw and budget:
# response tokens; examples; tokens, and also as many steps of training; or
# examples of each domain and length, and with them about all of these.
TOKENS, EXAMPLES, STEPS, LENGTHS = EQUAL = (
  "tokens",
  "examples",
  "steps",
  "lengths",
)


class Chosen(NamedTuple):
  """What an arm is tuned on.

  Attributes:
    rows: int64 [k], best first.
    missing: examples that it should have and its order does not hold.
    warning: why the method did not do what it is for; "" where it did.
  """

  rows: Int[np.ndarray, " k"]
  missing: int = 0
  warning: str = ""


def choose(
  order: Int[np.ndarray, " m"],
  n_tokens: Int[np.ndarray, " n"],
  *,
  equal: str,
  chance: Int[np.ndarray, " r"],
  stratum: Int[np.ndarray, " n"],
) -> Chosen:
  """The examples of an arm that equal those of chance in one way.

  Args:
    order: rows of the pool, best first [m].
    n_tokens: response tokens of each row [n].
    equal: one of `EQUAL`; steps are equal where the subset is that of tokens.
    chance: rows of the random subset.
    stratum: of domain and like length, from 0 [n]; for `LENGTHS`: of each the
      first of the order are taken, as many as chance has.

  >>> order, n_tokens = np.array([3, 2, 1, 0]), np.array([4, 4, 1, 1])
  >>> chance, stratum = np.array([0, 2]), np.array([0, 0, 1, 1])
  >>> {equal: choose(order, n_tokens, equal=equal, chance=chance,
  ...   stratum=stratum).rows.tolist() for equal in EQUAL}
  ... # doctest: +NORMALIZE_WHITESPACE
  {'tokens': [3, 2, 1], 'examples': [3, 2], 'steps': [3, 2, 1],
   'lengths': [3, 1]}
  """
  if equal in (TOKENS, STEPS):
    wanted = int(n_tokens[chance].sum(dtype=np.int64))
    spent = np.cumsum(n_tokens[order], dtype=np.int64)
    # The head whose tokens are the nearest, be they a few more or fewer.
    k = int(np.abs(spent - wanted).argmin()) + 1 if len(spent) else 0
    is_short = not len(spent) or spent[-1] < wanted
    return Chosen(order[:k], max(len(chance) - k, 1) if is_short else 0)
  if equal == EXAMPLES:
    return Chosen(order[: len(chance)], max(len(chance) - len(order), 0))
  quota = np.bincount(stratum[chance], minlength=int(stratum.max()) + 1)
  by_stratum = np.argsort(stratum[order], kind="stable")
  sorted_strata = stratum[order][by_stratum]
  counts = np.bincount(sorted_strata, minlength=len(quota))
  place = np.arange(len(order)) - (np.cumsum(counts) - counts)[sorted_strata]
  taken = np.sort(by_stratum[place < quota[sorted_strata]])
  return Chosen(order[taken], int(len(chance) - len(taken)))
