"""The law of dev loss by coverage and depth of a subset (docs/method.md 2.7).

Dicts of trained subsets in, one JSON-ready dict out. The paper's regression,
reconstructed from its summaries, with what a reader needs to doubt it.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ila_jax import errors
from ila_jax.scaling import cautions

# The logarithms of these explain the logarithm of the loss.
LAW = ("coverage", "depth")
RIVALS = (
  ("tokens",),
  ("tokens", "mean_length"),
  ("coverage",),
  ("depth",),
  ("coverage", "depth", "tokens"),
)

# What is known of a trained subset, and what the fit is by.
_Run = Mapping[str, Any]
_Names = Sequence[str]


def fit_law(
  runs: Sequence[Mapping[str, Any]],
  *,
  regressors: tuple[str, ...] = LAW,
  resamples: int = 2000,
  seed: int = 0,
) -> dict[str, Any]:
  """Fits log L = a + b·log C + c·log D and says how far to trust it.

  docs/method.md 2.7, ordinary least squares by statsmodels. Leave-one-out R² is
  1 - PRESS / SST. Intervals (95 %): studentized residual bootstrap at the fixed
  design, residuals over √(1 - leverage) (Davison and Hinkley, 1997, Sections
  5.2.1 and 6.3). They hold the truth in 94 to 96 % of simulated laws from 5
  subsets on.
  Permutation p-values: Freedman and Lane (1983), two-sided, on t.

  Args:
    runs: one dict per trained subset: name, loss (nats a token), coverage,
      depth, tokens, n, in_design. Only those in the design are fitted.
    regressors: of "coverage", "depth", "tokens" and "mean_length".
    resamples: number of bootstrap resamples, and of permutations.
    seed: of both.

  Returns:
    {"fitted": False, "reason": ...} where the runs cannot carry the fit; else
    coefficients, r2, adjusted_r2, loo_r2, intervals, permutation_p,
    most_influential, points. Both with out_of_design, rivals, correlations
    (of the logarithms) and cautions.

  Raises:
    InputError: a loss, coverage, depth or count that has no logarithm.

  >>> runs = [dict(name=str(i), loss=3 * c**-0.2 * d**-0.1 * (1 + i / 1e3),
  ...              coverage=c, depth=d, tokens=900, n=9, in_design=True)
  ...         for i, (c, d) in enumerate(
  ...           [(0.2, 0.4), (0.9, 0.3), (0.5, 0.8), (0.4, 0.2), (0.7, 0.9)])]
  >>> fit = fit_law(runs)
  >>> round(fit["coefficients"]["coverage"], 1), fit["r2"] > 0.99
  (-0.2, True)
  """
  for run in runs:
    _check(run)
  inside = [run for run in runs if run["in_design"]]
  outside = [run for run in runs if not run["in_design"]]
  fit = _fit(inside, regressors)
  fit["out_of_design"] = {"runs": len(outside)}
  if fit["fitted"]:
    rng = np.random.default_rng(seed)
    fit |= _intervals(inside, regressors, resamples, rng)
    fit |= _permutation_p(inside, regressors, resamples, rng)
    fit["most_influential"] = _without_most_influential(inside, regressors)
    fit["points"] = _points(inside, outside, fit)
    fit["out_of_design"] |= _tested(fit["points"])
  fit["out_of_design"]["refit"] = _fit(outside, regressors)
  fit["rivals"] = [
    {"regressors": list(names)} | _fit(inside, names)
    for names in RIVALS
    if names != regressors
  ]
  fit["correlations"] = _correlations(inside)
  fit["cautions"] = cautions.cautions(fit, law=LAW)
  return fit


def _check(run: _Run) -> None:
  """Refuses a run with a value that has no logarithm."""
  for field in ("loss", "coverage", "depth", "tokens", "n"):
    value = run[field]
    if not (math.isfinite(value) and value > 0):
      raise errors.InputError(
        f"{field} of scaling run {run['name']!r} is {value}; allowed: a "
        "finite number above 0, since the law is fitted to its logarithm. "
        "Leave this run out, or train it again."
      )


def _logs(runs: Sequence[_Run], names: _Names) -> Float[np.ndarray, "n names"]:
  """Matrix (runs, names) of logarithms."""
  values = [
    [run["tokens"] / run["n"] if x == "mean_length" else run[x] for x in names]
    for run in runs
  ]
  return np.log(np.array(values, np.float64).reshape(len(runs), len(names)))


def _xy(
  runs: Sequence[_Run], regressors: _Names
) -> tuple[Float[np.ndarray, "n p"], Float[np.ndarray, " n"]]:
  """Design matrix with its constant, and log loss."""
  x = np.hstack([np.ones((len(runs), 1)), _logs(runs, regressors)])
  return x, _logs(runs, ("loss",))[:, 0]


def _why_not(runs: Sequence[_Run], regressors: _Names) -> str | None:
  """Why these runs cannot carry the fit; None where they can."""
  least = len(regressors) + 3  # two degrees of freedom stay for the residuals
  if len(runs) < least:
    return f"runs: {len(runs)}; needed: at least {least}"
  x, y = _xy(runs, regressors)
  if np.ptp(y) == 0:
    return "all losses are equal"
  for name, column in zip(regressors, x[:, 1:].T, strict=True):
    if np.ptp(column) < 1e-9:
      return f"{name} is the same in all runs"
  scaled = (x[:, 1:] - x[:, 1:].mean(0)[None]) / x[:, 1:].std(0)[None]
  if np.linalg.matrix_rank(scaled, tol=1e-6) < len(regressors):
    names = " and ".join(regressors).replace("_", " ")
    return f"{names} are collinear in these runs"
  return None


def _fit(runs: Sequence[_Run], regressors: _Names) -> dict[str, Any]:
  """Coefficients and the three R² of one regression."""
  reason = _why_not(runs, regressors)
  if reason:
    return {"fitted": False, "reason": reason, "runs": len(runs)}
  import statsmodels.api as sm

  x, y = _xy(runs, regressors)
  result = sm.OLS(y, x).fit()
  return {
    "fitted": True,
    "runs": len(runs),
    "coefficients": dict(
      zip(("constant", *regressors), result.params.tolist(), strict=True)
    ),
    "r2": float(result.rsquared),
    "adjusted_r2": float(result.rsquared_adj),
    "loo_r2": _loo_r2(y, result),
  }


def _loo_r2(y: Float[np.ndarray, " n"], result: Any) -> float | None:
  """1 - PRESS / SST; None where one run alone determines a coefficient."""
  spare = 1 - result.get_influence().hat_matrix_diag
  if spare.min() < 1e-9:
    return None
  press = np.sum((result.resid / spare) ** 2)
  return float(1 - press / np.sum((y - y.mean()) ** 2))


def _intervals(
  runs: Sequence[_Run],
  regressors: _Names,
  resamples: int,
  rng: np.random.Generator,
) -> dict[str, Any]:
  """Bootstrap-t intervals of the slopes.

  Quantiles of resampled slopes are too narrow; those of their t are not.
  """
  x, y = _xy(runs, regressors)
  hat = x @ np.linalg.pinv(x)
  fitted = hat @ y
  residuals = (y - fitted) / np.sqrt(np.maximum(1 - np.diag(hat), 1e-9))
  residuals = residuals - residuals.mean()
  drawn = residuals[rng.integers(len(y), size=(resamples, len(y)))]
  slopes, errors = _slopes(x, y[None])
  drawn_slopes, drawn_errors = _slopes(x, fitted[None] + drawn)
  t = (drawn_slopes - slopes) / drawn_errors
  high, low = np.quantile(t, [0.025, 0.975], axis=0)
  bounds = [slopes[0] - low * errors[0], slopes[0] - high * errors[0]]
  bounds = np.transpose(bounds).tolist()
  return {"intervals": dict(zip(regressors, bounds, strict=True))}


def _permutation_p(
  runs: Sequence[_Run],
  regressors: _Names,
  resamples: int,
  rng: np.random.Generator,
) -> dict[str, Any]:
  """Two-sided p of each slope: residuals of the fit without it are permuted."""
  x, y = _xy(runs, regressors)
  shuffles = np.argsort(rng.random((resamples, len(y))), axis=1)
  observed = np.divide(*_slopes(x, y[None]))
  p_values = {}
  for i, name in enumerate(regressors):
    reduced = np.delete(x, i + 1, axis=1)
    without = reduced @ np.linalg.pinv(reduced) @ y
    t = np.divide(*_slopes(x, without[None] + (y - without)[shuffles]))
    reached = np.sum(np.abs(t[:, i]) >= np.abs(observed[0, i]))
    p_values[name] = float((1 + reached) / (1 + resamples))
  return {"permutation_p": p_values, "resamples": resamples}


def _slopes(
  x: Float[np.ndarray, "n p"], y_many: Float[np.ndarray, "r n"]
) -> tuple[Float[np.ndarray, "r p-1"], Float[np.ndarray, "r p-1"]]:
  """Slopes and their standard errors, for many responses to one design."""
  inverse = np.linalg.pinv(x)
  coefficients = y_many @ inverse.T
  residuals = y_many - coefficients @ x.T
  variance = np.sum(residuals**2, axis=1) / (x.shape[0] - x.shape[1])
  spread = np.sqrt(np.diag(inverse @ inverse.T))
  floor = np.finfo(np.float64).tiny  # a perfect fit has t beyond any bound
  error = np.sqrt(variance)[:, None] * spread[None]
  return coefficients[:, 1:], np.maximum(error, floor)[:, 1:]


def _without_most_influential(
  runs: list[_Run], regressors: _Names
) -> dict[str, Any]:
  """The run with the largest Cook's distance, and the fit without it."""
  import statsmodels.api as sm

  x, y = _xy(runs, regressors)
  influence = sm.OLS(y, x).fit().get_influence()
  if np.max(influence.hat_matrix_diag) > 1 - 1e-9:
    worst = int(np.argmax(influence.hat_matrix_diag))
    distance = None  # infinite: this run alone determines a coefficient
  else:
    distances = influence.cooks_distance[0]
    worst = int(np.argmax(distances))
    distance = float(distances[worst])
  return {
    "name": runs[worst]["name"],
    "cooks_distance": distance,
    "without": _fit(runs[:worst] + runs[worst + 1 :], regressors),
  }


def _points(
  inside: Sequence[_Run], outside: Sequence[_Run], fit: dict[str, Any]
) -> dict[str, Any]:
  """Observed and predicted log loss of every run, and partial regressions."""
  names = tuple(fit["coefficients"])[1:]
  beta = np.array(list(fit["coefficients"].values()))
  x, y = _xy(inside, names)
  spare = np.maximum(1 - np.diag(x @ np.linalg.pinv(x)), 1e-9)
  loo = y - (y - x @ beta) / spare
  partial = {}
  for i, name in enumerate(names):
    others = np.delete(x, i + 1, axis=1)
    rest = np.eye(len(y)) - others @ np.linalg.pinv(others)
    partial[name] = {
      "x": (rest @ x[:, i + 1]).tolist(),
      "y": (rest @ y).tolist(),
    }
  x_out, y_out = _xy(outside, names)
  return {
    "names": [run["name"] for run in inside],
    "observed": y.tolist(),
    "fitted": (x @ beta).tolist(),
    "left_out": loo.tolist(),
    "outside_names": [run["name"] for run in outside],
    "outside_observed": y_out.tolist(),
    "outside_predicted": (x_out @ beta).tolist(),
    "partial": partial,
  }


def _tested(points: dict[str, Any]) -> dict[str, float | None]:
  """How the fitted law predicts subsets that it was not fitted on."""
  observed = np.array(points["outside_observed"])
  if observed.size == 0:
    return {"predicted_r2": None, "rmse": None}
  errors_squared = (observed - np.array(points["outside_predicted"])) ** 2
  total = np.sum((observed - observed.mean()) ** 2)
  r2 = float(1 - errors_squared.sum() / total) if total > 0 else None
  return {"predicted_r2": r2, "rmse": float(np.sqrt(errors_squared.mean()))}


def _correlations(runs: Sequence[_Run]) -> list[dict[str, Any]]:
  """Pearson's r between the logarithms of what could explain the loss."""
  names = ("coverage", "depth", "tokens", "mean_length")
  logs = _logs(runs, names)
  varies = [len(runs) > 2 and np.ptp(column) > 1e-9 for column in logs.T]
  return [
    {
      "pair": [names[i], names[j]],
      "r": float(np.corrcoef(logs[:, i], logs[:, j])[0, 1])
      if varies[i] and varies[j]
      else None,
    }
    for i, j in itertools.combinations(range(len(names)), 2)
  ]
