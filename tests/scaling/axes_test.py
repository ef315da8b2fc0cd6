"""Scores as axes of the laboratory, against SciPy and statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from ila_jax.scaling import axes


def _laboratory(subsets=15, seed=0):
  rng = np.random.default_rng(seed)
  names = [f"designed_{i:02d}" for i in range(subsets)]
  size = rng.integers(5, 30, subsets)
  subset = np.repeat(names, size)
  level = np.repeat(rng.normal(size=subsets), size)
  values = (level + rng.normal(size=len(subset))).astype(np.float32)
  values[rng.random(len(values)) < 0.2] = np.nan
  means = np.array([np.nanmean(values[subset == name]) for name in names])
  coverage, depth = rng.uniform(0.1, 1, (2, subsets))
  loss = np.exp(
    1 - 0.3 * np.log(coverage) - 0.2 * means + 0.1 * rng.normal(size=subsets)
  )
  runs = [
    {"name": n, "loss": x, "coverage": c, "depth": d, "in_design": True}
    for n, x, c, d in zip(names, loss, coverage, depth, strict=True)
  ]
  return runs, subset, values, means


def test_correlations_are_those_of_others():
  runs, subset, values, means = _laboratory()
  outside = {"name": subset[0], "loss": 99.0, "in_design": False}
  order = np.random.default_rng(1).permutation(len(subset))
  (found,) = axes.axes(
    [*runs, outside],
    subset[order],
    {"quality": values[order]},
    given=("coverage", "depth"),
  )
  loss = np.log([run["loss"] for run in runs])
  assert found["score"] == "quality" and found["runs"] == len(runs)
  assert found["low"] == pytest.approx(means.min(), rel=1e-6)
  assert found["high"] == pytest.approx(means.max(), rel=1e-6)
  assert found["r"] == pytest.approx(stats.pearsonr(means, loss)[0], rel=1e-5)
  held = sm.add_constant(
    np.log([[run["coverage"], run["depth"]] for run in runs])
  )
  rest = [sm.OLS(y, held).fit().resid for y in (means, loss)]
  partial = stats.pearsonr(*rest)[0]
  assert found["partial"] == pytest.approx(partial, rel=1e-5)
  assert abs(partial) > abs(found["r"]) > 0.1


def test_what_says_nothing_has_no_correlation():
  runs, subset, values, _ = _laboratory()
  given = ("coverage", "depth")
  few = axes.axes(runs[:5], subset, {"q": values}, given=given)[0]
  assert few["r"] is few["partial"] is None and few["runs"] == 5
  alike = axes.axes(runs, subset, {"q": 0 * values + 3}, given=given)[0]
  assert alike["r"] is alike["partial"] is None and alike["high"] == 3
  none = axes.axes(runs, subset, {"q": values * np.nan}, given=given)[0]
  assert none["runs"] == 0 and none["low"] is none["r"] is None
