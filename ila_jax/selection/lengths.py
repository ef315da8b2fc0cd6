"""Lengths of the responses that a selection prefers."""

import numpy as np
from jaxtyping import Int


def length_warning(
  n_tokens: Int[np.ndarray, " n"], selected: Int[np.ndarray, " k"]
) -> str | None:
  """A sentence where the chosen are much shorter or longer than the pool.

  >>> length_warning(np.array([10, 10, 100, 80]), np.array([0, 1]))[:52]
  'Chosen responses are 5.0 times shorter than the pool'
  >>> length_warning(np.array([10, 10, 12]), np.array([0, 1]))
  """
  if len(selected) == 0:
    return None
  profile = length_profile(n_tokens, selected)
  if not profile["warning"]:
    return None
  ratio = profile["ratio"]
  side = "shorter" if ratio < 1 else "longer"
  return (
    f"Chosen responses are {max(ratio, 1 / ratio):.1f} times {side} than the "
    f"pool's (mean {profile['selected_mean']:.0f} tokens against "
    f"{profile['pool_mean']:.0f}): compare at equal tokens, not at equal "
    "examples, or use config.landscape.depth=ila_length."
  )


LENGTH_WARNING_RATIO = 1.5


def length_profile(
  n_tokens: Int[np.ndarray, " n"], selected: Int[np.ndarray, " k"]
) -> dict[str, float | bool]:
  """Response lengths of what was chosen beside those of the pool.

  Depth prefers short answers, so a selection may differ from its pool in
  length alone; the report warns when the means differ by more than a factor
  of 1.5 either way.

  Args:
    n_tokens: response tokens of the pool, at least 1 [n].
    selected: the chosen rows, at least one [k].

  Returns:
    selected_mean, selected_median, pool_mean, pool_median (tokens), ratio
    (of the means) and warning.

  Raises:
    ValueError: nothing was selected.

  >>> length_profile(np.array([2, 4, 12]), np.array([0]))["ratio"]
  0.3333333333333333
  """
  if not len(selected):
    raise ValueError("nothing was selected; there is no length to compare")
  chosen = n_tokens[selected]
  ratio = float(chosen.mean() / n_tokens.mean())
  return {
    "selected_mean": float(chosen.mean()),
    "selected_median": float(np.median(chosen)),
    "pool_mean": float(n_tokens.mean()),
    "pool_median": float(np.median(n_tokens)),
    "ratio": ratio,
    "warning": max(ratio, 1 / ratio) > LENGTH_WARNING_RATIO,
  }
