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

  Only draws in which both were tuned count, and they are paired: both chose
  from the same candidates, and were trained in the same order of chance. In
  every resample dev examples and draws are drawn anew (a two-way bootstrap,
  percentile intervals); the draws of candidates overlap, so that their spread
  is a little too small: it is that of training and choice, not of the pool.

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
    `estimates.MEASURES` value, low, high and p (one-sided: the share of
    resamples in which the arm is not better); where the rival is chance also
    `multiple`, with value, low and high for each measure.
  """
  place = {_key(run): i for i, run in enumerate(runs)}
  held = estimates.resampled(nll, dev, resamples=resamples, seed=seed)
  whole = np.stack([*estimates.losses(nll, dev).values()])[:, None]
  rng = np.random.default_rng([seed, *b"laboratory draws"])
  found = []
  for arm, equal, budget in _cells(runs):
    for rival in rivals:
      if rival == arm:
        continue
      pairs = _pairs(place, runs, arm, rival, equal, budget)
      if not len(pairs):
        continue
      drawn = rng.integers(0, len(pairs), (resamples, len(pairs)))
      line: dict[str, Any] = {
        "arm": arm,
        "rival": rival,
        "equal": equal,
        "budget": budget,
        "draws": len(pairs),
      }
      ours = _mean(held, pairs[:, 0], drawn)
      gap = ours - _mean(held, pairs[:, 1], drawn)
      value = (whole[:, 0, pairs[:, 0]] - whole[:, 0, pairs[:, 1]]).mean(axis=1)
      for i, name in enumerate(estimates.MEASURES):
        line[name] = _told(value[i], gap[i]) | {
          "p": round(
            float((1 + (gap[i] >= 0).sum()) / (1 + resamples)), _DIGITS
          )
        }
      if rival == laboratory.CHANCE:
        line["multiple"] = _multiples(
          place, budget, pairs, held, whole, drawn, runs
        )
      found.append(line)
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


def _mean(
  held: Float[np.ndarray, "3 b r"],
  at: Int[np.ndarray, " s"],
  drawn: Int[np.ndarray, "b s"],
) -> Float[np.ndarray, "3 b"]:
  """Mean over the draws of candidates that each resample has drawn."""
  rows = np.arange(len(drawn))[:, None]
  return held[:, rows, at[drawn]].mean(axis=2)


def _multiples(
  place: Mapping[tuple[str, str, int, int], int],
  budget: int,
  pairs: Int[np.ndarray, "s 2"],
  held: Float[np.ndarray, "3 b r"],
  whole: Float[np.ndarray, "3 1 r"],
  drawn: Int[np.ndarray, "b s"],
  runs: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, float]] | None:
  """The gap as a multiple of the budget, by measure; None without a curve."""
  by_draw = [runs[at]["draw"] for at in pairs[:, 0]]
  sizes = sorted(
    size
    for arm, equal, size, draw in place
    if arm == laboratory.CHANCE and draw == by_draw[0]
  )
  at = np.array(
    [
      [place.get((laboratory.CHANCE, budgets.TOKENS, size, draw), -1)]
      for size in sizes
      for draw in by_draw
    ]
  ).reshape(len(sizes), len(by_draw))
  complete = (at >= 0).all(axis=1)
  if complete.sum() < 2:
    return None
  at = at[complete]
  multiples = np.array(sizes, np.float64)[complete] / budget
  found = []
  for losses, rows in ((whole, np.arange(len(pairs))[None]), (held, drawn)):
    ours = _mean(losses, pairs[:, 0], rows)
    curve = np.stack([_mean(losses, one, rows) for one in at], axis=2)
    found.append(
      [
        multiplier.multiplier(loss, line, multiples)
        for loss, line in zip(ours, curve, strict=True)
      ]
    )
  return {
    name: _told(float(value[0]), spread)
    for name, value, spread in zip(estimates.MEASURES, *found, strict=True)
  }


def _told(value: float, spread: Float[np.ndarray, " b"]) -> dict[str, float]:
  tail = (1 - LEVEL) / 2
  low, high = np.quantile(spread, [tail, 1 - tail])
  named = {"value": value, "low": low, "high": high}
  return {name: round(float(one), _DIGITS) for name, one in named.items()}


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
