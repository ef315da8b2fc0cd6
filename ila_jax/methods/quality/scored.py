"""Orders by one number of each example, which need not be finite."""

import numpy as np
from jaxtyping import Bool, Float

from ila_jax.methods import candidates


def greatest_first(
  c: candidates.Candidates,
  score: Float[np.ndarray, " n"],
  *,
  name: str,
  among: Bool[np.ndarray, " n"] | None = None,
) -> candidates.Ranking:
  """Puts the greatest score first; leaves out what has no finite score.

  Args:
    c: the candidates.
    score: of each row; only those of candidates count.
    name: of the score, for the message.
    among: candidates that may be ordered; None: all.

  Returns:
    All in round 1.
  """
  score = np.asarray(score, np.float32)
  among = c.candidate if among is None else c.candidate & among
  known = among & np.isfinite(score)
  lost = int((among & ~known).sum())
  rest = f"{lost:,} have no finite {name}." if lost else ""
  return candidates.ranking(c, (-score,), among=known, rest=rest)
