"""Each arm beside its rivals: gaps, intervals, and what a gap is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ila_jax.laboratory import budgets, estimates, multiplier
from ila_jax.sections import laboratory

LEVEL = 0.95
# Decimals that are kept: the last bits are the machine's.
_DIGITS = 9


def contrasts(
  runs: Sequence[Mapping[str, Any]],
  nll: Float[np.ndarray, "r n"],
  dev: estimates.Dev,
  *,
  rivals: Sequence[str],
  resamples: int,
  seed: int,
) -> list[dict[str, Any]]:
  """Loss of each arm less that of each rival, at each budget and equality.

  Only draws in which both were tuned count, two or more, and they are paired:
  both chose from the same candidates, with the same luck. Two variances are
  added: of the gap over bootstrap resamples of the dev prompts, and of its mean
  over the draws. The interval is Student's, with a degree of freedom less than
  draws: few draws make it wide. Draws of one pool overlap, so that it is of
  choice and training, not of another pool.

  Args:
    runs: of each model: arm, equal, budget, draw.
    nll: loss of each dev example under each model, a sum over its tokens.
    dev: the examples.
    rivals: names of arms; where a rival is chance, its run is that of the same
      budget and draw, whatever is equal.
    resamples: of the bootstrap.
    seed: of the resamples.

  Returns:
    For each pair: arm, rival, equal, budget, draws; for each of
    `estimates.MEASURES` value, low, high (95 %) and p (one-sided, that the arm
    is not better); and `multiple`, with value, low and high for each measure,
    and the ends of the `curve`, where the rival is chance and there is one,
    else None.
  """
  place = {_key(run): i for i, run in enumerate(runs)}
  held = estimates.resampled(nll, dev, resamples=resamples, seed=seed)
  whole = np.stack([*estimates.losses(nll, dev).values()])
  found = []
  for arm, equal, budget in _cells(runs):
    for rival in rivals:
      pairs = _pairs(place, runs, arm, rival, equal, budget)
      if rival == arm or len(pairs) < 2:
        continue
      told = {
        name: _told(
          held[i][:, pairs[:, 0]] - held[i][:, pairs[:, 1]],
          whole[i, pairs[:, 0]] - whole[i, pairs[:, 1]],
        )
        for i, name in enumerate(estimates.MEASURES)
      }
      multiples = None
      if rival == laboratory.CHANCE:
        multiples = _multiples(place, runs, budget, pairs, whole, told)
      found.append(
        {
          "arm": arm,
          "rival": rival,
          "equal": equal,
          "budget": budget,
          "draws": len(pairs),
          **told,
          "multiple": multiples,
        }
      )
  return found


def _key(run: Mapping[str, Any]) -> tuple[str, str, int, int]:
  return run["arm"], run["equal"], run["budget"], run["draw"]


def _cells(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
  """Arm, equality and budget of all runs but those of chance."""
  named = [
    (run["arm"], run["equal"], run["budget"])
    for run in runs
    if run["arm"] != laboratory.CHANCE
  ]
  return list(dict.fromkeys(named))


def _pairs(
  place: Mapping[tuple[str, str, int, int], int],
  runs: Sequence[Mapping[str, Any]],
  arm: str,
  rival: str,
  equal: str,
  budget: int,
) -> Int[np.ndarray, "s 2"]:
  """Places of the runs of both in the draws that both have."""
  as_rival = budgets.TOKENS if rival == laboratory.CHANCE else equal
  pairs = []
  for draw in sorted({run["draw"] for run in runs}):
    ours = place.get((arm, equal, budget, draw))
    theirs = place.get((rival, as_rival, budget, draw))
    if ours is not None and theirs is not None:
      pairs.append((ours, theirs))
  return np.array(pairs, np.int64).reshape(-1, 2)


def _told(
  held: Float[np.ndarray, "b s"], gaps: Float[np.ndarray, " s"]
) -> dict[str, float]:
  """The mean gap over draws, its interval, and p.

  Args:
    held: gaps of each draw in each resample of the dev examples.
    gaps: of each draw, of the dev examples as they are.
  """
  from scipy import stats

  of_dev = held.mean(axis=1).var(ddof=1)
  of_draws = gaps.var(ddof=1) / len(gaps)
  error = np.sqrt(of_dev + of_draws)
  value = gaps.mean()
  if error == 0:  # Twice the same subset.
    return {
      "value": float(value),
      "low": float(value),
      "high": float(value),
    } | {"p": float(value >= 0)}
  freedom = len(gaps) - 1
  reach = stats.t.ppf((1 + LEVEL) / 2, freedom) * error
  named = {"value": value, "low": value - reach, "high": value + reach}
  named["p"] = stats.t.cdf(value / error, freedom)
  return {name: round(float(one), _DIGITS) for name, one in named.items()}


def _multiples(
  place: Mapping[tuple[str, str, int, int], int],
  runs: Sequence[Mapping[str, Any]],
  budget: int,
  pairs: Int[np.ndarray, "s 2"],
  whole: Float[np.ndarray, "3 r"],
  told: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float]] | None:
  """The gap as a multiple of the budget, by measure; None without a curve.

  The mean curve of chance over the draws is read at chance's loss and the gap,
  and at the ends of the gap's interval.
  """
  draws = [runs[at]["draw"] for at in pairs[:, 0]]
  sizes = sorted(
    size
    for arm, _, size, draw in place
    if arm == laboratory.CHANCE and draw == draws[0]
  )
  at = [
    [place.get((laboratory.CHANCE, budgets.TOKENS, s, d), -1) for d in draws]
    for s in sizes
  ]
  kept = [i for i, row in enumerate(at) if min(row) >= 0]
  if len(kept) < 2:
    return None
  multiples = np.array([sizes[i] / budget for i in kept])
  found = {}
  for i, name in enumerate(estimates.MEASURES):
    curve = np.array([whole[i, at[k]].mean() for k in kept])
    gap = told[name]
    loss = whole[i, pairs[:, 1]].mean() + np.array(
      [gap["value"], gap["high"], gap["low"]]
    )
    value, low, high = multiplier.multiplier(
      loss, np.tile(curve, (3, 1)), multiples
    )
    found[name] = {"value": value, "low": low, "high": high}
  ends = [round(float(multiples[at]), _DIGITS) for at in (0, -1)]
  return {
    name: {
      **{end: round(float(one), _DIGITS) for end, one in told.items()},
      "curve": ends,
    }
    for name, told in found.items()
  }


def holm(p: Float[np.ndarray, " m"], *, level: float) -> Bool[np.ndarray, " m"]:
  """Which of some hypotheses are rejected, by Holm's step-down rule (1979).

  The chance that one true hypothesis or more is rejected is at most `level`.

  >>> holm(np.array([0.04, 0.01, 0.03]), level=0.05).tolist()
  [False, True, False]
  """
  order = np.argsort(p, kind="stable")
  small = p[order] <= level / np.arange(len(p), 0, -1)
  rejected = np.zeros(len(p), bool)
  rejected[order] = np.logical_and.accumulate(small)
  return rejected
