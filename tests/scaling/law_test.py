"""The scaling law against known coefficients, brute force and simulation."""

import json

import numpy as np
import pytest
from scipy import stats

from ila_jax import errors
from ila_jax.scaling import law


def _runs(n=24, b=-0.2, c=-0.1, noise=0.01, seed=0, outside=0):
  rng = np.random.default_rng(seed)
  runs = []
  for i in range(n + outside):
    coverage, depth = rng.uniform(0.2, 1.0), rng.uniform(0.1, 0.9)
    examples = int(rng.integers(100, 400))
    loss = 3 * coverage**b * depth**c * np.exp(noise * rng.standard_normal())
    runs.append(
      {
        "name": f"run_{i}",
        "loss": float(loss),
        "coverage": coverage,
        "depth": depth,
        "tokens": examples * int(rng.integers(20, 90)),
        "n": examples,
        "in_design": i < n,
      }
    )
  return runs


def _matrix(runs, names=("coverage", "depth")):
  x = np.array([[1.0, *(np.log(run[name]) for name in names)] for run in runs])
  return x, np.log([run["loss"] for run in runs])


def _least_squares(x, y):
  return np.linalg.lstsq(x, y, rcond=None)[0]


def test_noiseless_coefficients_are_found():
  fit = law.fit_law(_runs(noise=0.0, b=-0.31, c=0.07))
  assert fit["coefficients"]["constant"] == pytest.approx(np.log(3))
  assert fit["coefficients"]["coverage"] == pytest.approx(-0.31)
  assert fit["coefficients"]["depth"] == pytest.approx(0.07)
  assert fit["r2"] == pytest.approx(1) and fit["loo_r2"] == pytest.approx(1)


def test_r2_adjusted_and_leave_one_out_against_refits():
  runs = _runs(noise=0.05)
  fit = law.fit_law(runs)
  x, y = _matrix(runs)
  total = np.sum((y - y.mean()) ** 2)
  r2 = 1 - np.sum((y - x @ _least_squares(x, y)) ** 2) / total
  assert fit["r2"] == pytest.approx(r2)
  assert fit["adjusted_r2"] == pytest.approx(1 - (1 - r2) * 23 / 21)
  missed = []
  for i in range(len(y)):
    kept = np.arange(len(y)) != i
    missed.append(y[i] - x[i] @ _least_squares(x[kept], y[kept]))
  assert fit["loo_r2"] == pytest.approx(1 - np.sum(np.square(missed)) / total)
  predicted = y - np.array(missed)
  np.testing.assert_allclose(fit["points"]["left_out"], predicted, rtol=1e-9)


def test_rivals_are_the_same_regression_on_other_columns():
  runs = _runs(noise=0.05)
  by_name = {
    tuple(rival["regressors"]): rival for rival in law.fit_law(runs)["rivals"]
  }
  line = stats.linregress(
    np.log([run["tokens"] for run in runs]), _matrix(runs)[1]
  )
  assert by_name[("tokens",)]["coefficients"]["tokens"] == pytest.approx(
    line.slope
  )
  assert by_name[("tokens",)]["r2"] == pytest.approx(line.rvalue**2)
  for run in runs:
    run["mean_length"] = run["tokens"] / run["n"]
  x, y = _matrix(runs, ("tokens", "mean_length"))
  np.testing.assert_allclose(
    list(by_name[("tokens", "mean_length")]["coefficients"].values()),
    _least_squares(x, y),
    rtol=1e-8,
  )


@pytest.mark.parametrize("n", [8, 36])
def test_intervals_hold_the_truth_at_their_stated_rate(n):
  draws = 400
  held = 0
  for seed in range(draws):
    runs = _runs(n=n, noise=0.1, seed=seed)
    low, high = law.fit_law(runs, resamples=300)["intervals"]["coverage"]
    held += low <= -0.2 <= high
  # 95 % within three standard errors of so many draws, and one for 300
  # resamples; quantiles of slopes held it in 88 and 94 %.
  error = (0.95 * 0.05 / draws) ** 0.5
  assert abs(held / draws - 0.95) < 4 * error


def _interval(runs, resamples, seed):
  """The bootstrap-t interval of each slope, resample by resample."""
  rng = np.random.default_rng(seed)
  x, y = _matrix(runs)
  n, p = x.shape
  inverse = np.linalg.inv(x.T @ x)

  def fit(y):
    b = inverse @ x.T @ y
    variance = np.sum((y - x @ b) ** 2) / (n - p)
    return b, np.sqrt(variance * np.diag(inverse))

  b, error = fit(y)
  leverage = np.diag(x @ inverse @ x.T)
  residuals = (y - x @ b) / np.sqrt(1 - leverage)
  residuals -= residuals.mean()
  t = []
  for draw in rng.integers(n, size=(resamples, n)):
    again, its_error = fit(x @ b + residuals[draw])
    t.append((again - b) / its_error)
  upper, lower = np.quantile(t, [0.975, 0.025], axis=0)
  return np.stack([b - upper * error, b - lower * error], axis=1)[1:]


@pytest.mark.parametrize("n", [6, 24])
def test_intervals_equal_a_bootstrap_written_out(n):
  # One run far out, so that what leverage does shows.
  runs = _runs(n=n, noise=0.1, seed=5)
  runs[2]["coverage"] = 0.01
  found = law.fit_law(runs, resamples=200, seed=7)["intervals"]
  np.testing.assert_allclose(
    [found["coverage"], found["depth"]], _interval(runs, 200, 7), rtol=1e-7
  )


def test_few_subsets_are_pointed_out():
  few, many = (law.fit_law(_runs(n=n, noise=0.05)) for n in (11, 12))
  assert any("11 subsets are few" in text for text in few["cautions"])
  assert not any("are few" in text for text in many["cautions"])


def test_permutation_p_is_uniform_under_the_null_and_small_under_an_effect():
  null = [
    law.fit_law(_runs(c=0.0, noise=0.1, seed=seed), resamples=199)[
      "permutation_p"
    ]["depth"]
    for seed in range(200)
  ]
  assert stats.kstest(null, "uniform").pvalue > 0.01
  fit = law.fit_law(_runs(noise=0.02))
  assert fit["permutation_p"]["coverage"] == 1 / 2001


def test_one_regressor_permutation_against_scipy():
  runs = _runs(n=10, b=-0.05, c=0.0, noise=0.05, seed=3)
  fit = law.fit_law(runs, regressors=("coverage",), resamples=20000)
  x, y = _matrix(runs, ("coverage",))
  oracle = stats.permutation_test(
    (y,),
    lambda y: np.abs(np.corrcoef(x[:, 1], y)[0, 1]),
    permutation_type="pairings",
    n_resamples=20000,
    vectorized=False,
    alternative="greater",
    rng=0,
  )
  assert fit["permutation_p"]["coverage"] == pytest.approx(
    oracle.pvalue, abs=0.02
  )


def test_planted_outlier_is_the_most_influential():
  runs = _runs(noise=0.005)
  runs[7] |= {"loss": 9.0, "coverage": 0.21}
  fit = law.fit_law(runs)
  found = fit["most_influential"]
  assert found["name"] == "run_7"
  x, y = _matrix(runs)
  residuals = y - x @ _least_squares(x, y)
  leverage = np.diag(x @ np.linalg.inv(x.T @ x) @ x.T)
  cook = residuals**2 / (3 * np.sum(residuals**2) / 21)
  cook *= leverage / (1 - leverage) ** 2
  assert found["cooks_distance"] == pytest.approx(cook.max())
  assert np.argmax(cook) == 7
  assert found["without"]["r2"] > 0.9 > fit["r2"]


def test_one_run_that_decides_a_slope_alone_is_no_evidence():
  runs = _runs(noise=0.02)
  for run in runs:
    run["depth"] = 0.5
  runs[4]["depth"] = 0.9
  fit = law.fit_law(runs)
  assert fit["loo_r2"] is None
  assert fit["most_influential"]["name"] == "run_4"
  assert fit["most_influential"]["without"]["reason"] == (
    "depth is the same in all runs"
  )
  assert any("leans on few runs" in caution for caution in fit["cautions"])


def test_subsets_out_of_the_design_are_predicted_and_not_fitted():
  runs = _runs(noise=0.02, outside=9)
  fit = law.fit_law(runs)
  inside_only = law.fit_law(runs[:24])
  assert fit["coefficients"] == inside_only["coefficients"]
  x, y = _matrix(runs[24:])
  predicted = x @ list(fit["coefficients"].values())
  missed = y - predicted
  outside = fit["out_of_design"]
  assert outside["rmse"] == pytest.approx(np.sqrt(np.mean(missed**2)))
  total = np.sum((y - y.mean()) ** 2)
  assert outside["predicted_r2"] == pytest.approx(1 - missed @ missed / total)
  np.testing.assert_allclose(
    list(outside["refit"]["coefficients"].values()), _least_squares(x, y)
  )
  assert inside_only["out_of_design"]["predicted_r2"] is None


def test_partial_points_have_the_slope_of_the_law():
  fit = law.fit_law(_runs(noise=0.05))
  for name, points in fit["points"]["partial"].items():
    line = stats.linregress(points["x"], points["y"])
    assert line.slope == pytest.approx(fit["coefficients"][name])
    assert line.intercept == pytest.approx(0, abs=1e-12)


def test_collinear_size_is_pointed_out():
  runs = _runs(noise=0.02)
  for run in runs:
    run["tokens"] = int(1e6 * run["coverage"])
    run["loss"] = float(3 * run["tokens"] ** -0.2)
  fit = law.fit_law(runs)
  pair = next(
    x for x in fit["correlations"] if x["pair"] == ["coverage", "tokens"]
  )
  assert pair["r"] > 0.999
  assert "log coverage and log tokens have correlation 1.00" in " ".join(
    fit["cautions"]
  )
  assert any("log tokens alone foretell" in x for x in fit["cautions"])


@pytest.mark.parametrize("n", [0, 1, 3, 4])
def test_too_few_runs_say_so(n):
  fit = law.fit_law(_runs(n=n, outside=2))
  assert fit["fitted"] is False
  assert fit["reason"] == f"runs: {n}; needed: at least 5"
  assert fit["out_of_design"]["refit"]["fitted"] is False
  json.dumps(fit, allow_nan=False)


@pytest.mark.parametrize(
  ("field", "value", "reason"),
  [
    ("loss", 2.0, "all losses are equal"),
    ("coverage", 0.5, "coverage is the same in all runs"),
    ("depth", 0.5, "depth is the same in all runs"),
  ],
)
def test_what_does_not_vary_is_not_fitted(field, value, reason):
  runs = [run | {field: value} for run in _runs()]
  fit = law.fit_law(runs)
  assert (fit["fitted"], fit["reason"]) == (False, reason)
  json.dumps(fit, allow_nan=False)


def test_proportional_regressors_are_not_fitted():
  runs = [run | {"depth": run["coverage"] ** 2} for run in _runs()]
  assert "collinear" in law.fit_law(runs)["reason"]


@pytest.mark.parametrize("field", ["loss", "coverage", "depth", "tokens"])
@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_values_without_a_logarithm_are_named(field, value):
  runs = _runs()
  runs[5][field] = value
  with pytest.raises(errors.InputError, match=rf"{field} of .*'run_5' is"):
    law.fit_law(runs)


def test_same_seed_same_json():
  runs = _runs(noise=0.05, outside=4)
  one, two = (
    json.dumps(law.fit_law(runs, seed=1), allow_nan=False) for _ in "ab"
  )
  assert one == two
  assert one != json.dumps(law.fit_law(runs, seed=2), allow_nan=False)
