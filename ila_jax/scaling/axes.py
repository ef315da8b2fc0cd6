"""Scores of others as axes of the scaling law: how they go with dev loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

# Fewer subsets leave no freedom beside the constant and the two regressors.
_LEAST = 6


def axes(
  runs: Sequence[Mapping[str, Any]],
  subset: Shaped[np.ndarray, " m"],
  scores: Mapping[str, Float[np.ndarray, " m"]],
  *,
  given: Sequence[str],
) -> list[dict[str, Any]]:
  """Correlation of log dev loss with the mean score of each subset.

  Args:
    runs: one dict per trained subset: name, loss, in_design and `given`; only
      those in the design count.
    subset: name of the subset of each of its examples [m].
    scores: by name; NaN where an example has none, which counts in no mean.
    given: regressors whose logarithms are held fixed for `partial`.

  Returns:
    For each score: score; runs, the subsets that have a mean; low and high of
    these means; r, Pearson's; and partial, that of what `given` does not
    explain. r and partial are None where the subsets are few, or all alike.

  >>> runs = [dict(name=n, loss=np.exp(-i), in_design=True, coverage=c)
  ...         for i, (n, c) in enumerate(zip("abcdef", (1, 3, 2, 5, 4, 6)))]
  >>> (axis,) = axes(runs, np.array(list("abcdef")),
  ...   {"quality": np.arange(6.0)}, given=("coverage",))
  >>> axis["runs"], axis["high"], round(axis["r"], 6), round(axis["partial"], 6)
  (6, 5.0, -1.0, -1.0)
  """
  inside = [run for run in runs if run["in_design"]]
  found = []
  for name, values in scores.items():
    means = np.array([_mean(values[subset == run["name"]]) for run in inside])
    has = ~np.isnan(means)
    there = [run for run, is_there in zip(inside, has, strict=True) if is_there]
    loss = np.log([run["loss"] for run in there])
    logs = [[1.0, *(np.log(run[one]) for one in given)] for run in there]
    held = np.array(logs, np.float64).reshape(len(there), 1 + len(given))
    x = means[has]
    found.append(
      {
        "score": name,
        "runs": len(x),
        "low": float(x.min()) if len(x) else None,
        "high": float(x.max()) if len(x) else None,
        "r": _correlation(x, loss, held[:, :1]),
        "partial": _correlation(x, loss, held),
      }
    )
  return found


def _mean(values: Float[np.ndarray, " k"]) -> float:
  known = values[~np.isnan(values)].astype(np.float64)
  return float(known.mean()) if len(known) else float("nan")


def _correlation(
  x: Float[np.ndarray, " n"],
  y: Float[np.ndarray, " n"],
  held: Float[np.ndarray, "n p"],
) -> float | None:
  """Pearson's r of what a regression on the columns of `held` leaves."""
  if len(x) < _LEAST:
    return None
  rest = []
  for values in (x, y):
    left = values - held @ np.linalg.lstsq(held, values, rcond=None)[0]
    if np.linalg.norm(left) <= 1e-9 * max(np.linalg.norm(values), 1e-30):
      return None
    rest.append(left / np.linalg.norm(left))
  return float(np.clip(rest[0] @ rest[1], -1, 1))
