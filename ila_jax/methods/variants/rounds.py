"""The order of ILA by a depth of one's own, which need not be finite."""

import numpy as np
from jaxtyping import Float

from ila_jax.landscape import ordering
from ila_jax.methods import candidates, strata

# The option of methods whose depth may be compared among like lengths only.
LIKE_LENGTH = "depth is its quantile among responses of like length in a domain"


def deepest_first(
  c: candidates.Candidates,
  depth: Float[np.ndarray, " n"],
  *,
  name: str,
  like_length: bool,
) -> candidates.Ranking:
  """The deepest of every cell, in rounds; leaves out what has no finite depth.

  The method has named `cell` and `cell_weight`; for `like_length` also `domain`
  and `n_tokens`.

  Args:
    c: the candidates.
    depth: of each row; only those of candidates count [n].
    name: of the depth, for the message.
    like_length: whether depth is its mid-rank quantile among the candidates of
      a domain and a quintile of length, so that length decides nothing.
  """
  known = c.candidate & np.isfinite(depth)
  if like_length:
    depth = strata.ranked(c, depth, among=known)
  depth = np.where(known, depth, 0).astype(np.float32)
  order, turn = ordering.total_order(
    c.cell, depth, c.id_rank, known, c.cell_weight
  )
  lost = int((c.candidate & ~known).sum())
  rest = f"{lost:,} have no finite {name}." if lost else ""
  return candidates.Ranking(order, turn, rest)
