"""Contrasts of arms, beside loops and statsmodels."""

import numpy as np
import pytest
from scipy import stats

from ila_jax.laboratory import contrasts, estimates

_SIZES = (50, 100, 200)


@pytest.fixture
def made():
  """Runs of chance and two arms: `good` is 0.1 nats better, `same` is not."""
  rng = np.random.default_rng(0)
  n = 200
  dev = estimates.Dev(
    n_tokens=rng.integers(5, 50, n),
    domain=rng.integers(0, 3, n),
    group=np.arange(n),
    share=np.full(3, 1 / 3),
  )
  hard = rng.normal(3, 0.5, n)
  runs, nll = [], []
  for draw in range(6):
    luck = rng.normal(0, 0.01)
    for size in _SIZES:
      runs.append(_run("random", "tokens", size, draw))
      nll.append(hard + luck - 0.1 * np.log2(size / 100))
    for arm, gain in (("good", 0.1), ("same", 0.0)):
      for equal in ("tokens", "examples"):
        runs.append(_run(arm, equal, 100, draw))
        nll.append(hard + luck - gain + rng.normal(0, 0.001))
  return runs, np.array(nll) * dev.n_tokens, dev


def _run(arm, equal, budget, draw):
  return {"arm": arm, "equal": equal, "budget": budget, "draw": draw}


def _contrasts(made, **given):
  settings = {"rivals": ("random", "same"), "resamples": 400, "seed": 0}
  return contrasts.contrasts(*made, **(settings | given))


def test_a_planted_gain_is_told(made):
  found = {
    (one["arm"], one["rival"], one["equal"]): one for one in _contrasts(made)
  }
  assert set(found) == {
    (arm, rival, equal)
    for arm in ("good", "same")
    for rival in ("random", "same")
    for equal in ("tokens", "examples")
    if arm != rival
  }
  good = found["good", "random", "tokens"]
  for measure in estimates.MEASURES:
    told = good[measure]
    assert told["low"] <= told["value"] <= told["high"] < -0.09
    assert told["p"] < 0.01
    assert good["multiple"][measure]["value"] == pytest.approx(2, abs=0.02)
    assert good["multiple"][measure]["curve"] == [0.5, 2.0]
  same = found["same", "random", "examples"]["micro"]
  assert same["low"] < 0.001 and same["high"] > -0.001 and same["p"] > 0.01
  assert found["good", "same", "tokens"]["multiple"] is None


def test_values_are_means_of_pairs(made):
  runs, nll, dev = made
  (one,) = [
    one
    for one in _contrasts(made, rivals=("random",))
    if (one["arm"], one["equal"]) == ("good", "examples")
  ]
  gaps = []
  for i, run in enumerate(runs):
    if (run["arm"], run["equal"]) == ("good", "examples"):
      j = runs.index(_run("random", "tokens", 100, run["draw"]))
      gaps.append((nll[i] - nll[j]).sum() / dev.n_tokens.sum())
  assert one["micro"]["value"] == pytest.approx(np.mean(gaps), abs=1e-9)
  assert one["draws"] == len(gaps) == 6


def test_only_draws_of_both_count(made):
  runs, nll, dev = made
  keep = [run["arm"] != "good" or run["draw"] < 4 for run in runs]
  kept = [run for run, is_kept in zip(runs, keep, strict=True) if is_kept]
  found = _contrasts((kept, nll[keep], dev))
  draws = {(one["arm"], one["rival"]): one["draws"] for one in found}
  assert draws["good", "same"] == draws["good", "random"] == 4
  assert draws["same", "random"] == 6


def test_spread_over_draws_counts(made):
  """The interval grows with what the draws differ by, dev examples alike."""
  runs, nll, dev = made
  noisy = nll.copy()
  for i, run in enumerate(runs):
    if run["arm"] == "good":
      noisy[i] += (0.2 * (-1) ** run["draw"]) * dev.n_tokens
  calm = _contrasts((runs, nll, dev), rivals=("random",))[0]["micro"]
  wild = _contrasts((runs, noisy, dev), rivals=("random",))[0]["micro"]
  # Student's interval of a mean of six: three of +0.2 and three of −0.2.
  reach = stats.t.ppf(0.975, 5) * 0.2 * np.sqrt(6 / 5) / np.sqrt(6)
  assert wild["high"] - wild["low"] == pytest.approx(2 * reach, rel=0.02)
  assert calm["high"] - calm["low"] < 0.01


def test_intervals_hold_the_truth_with_few_draws():
  """Where nothing is there, about one in 40 has an interval below 0."""
  rng = np.random.default_rng(1)
  n = 60
  dev = estimates.Dev(
    n_tokens=np.full(n, 10),
    domain=np.zeros(n, int),
    group=np.arange(n),
    share=np.ones(1),
  )
  below = 0
  for _ in range(400):
    runs, nll = [], []
    for draw in range(3):
      for arm in ("random", "ours"):
        runs.append(_run(arm, "tokens", 100, draw))
        nll.append(rng.normal(0, 0.3, n) + rng.normal(0, 0.1))
    held = (runs, 10 * np.array(nll), dev)
    (one,) = _contrasts(held, rivals=("random",), resamples=60)
    below += one["micro"]["high"] < 0
  assert below / 400 < 0.04


def test_one_draw_tells_nothing(made):
  runs, nll, dev = made
  keep = [run["arm"] != "good" or run["draw"] == 0 for run in runs]
  kept = [run for run, is_kept in zip(runs, keep, strict=True) if is_kept]
  assert {one["arm"] for one in _contrasts((kept, nll[keep], dev))} == {"same"}


def test_holm_is_that_of_statsmodels():
  from statsmodels.stats import multitest

  rng = np.random.default_rng(0)
  for _ in range(20):
    p = rng.uniform(size=8) ** 4
    wanted = multitest.multipletests(p, alpha=0.05, method="holm")[0]
    np.testing.assert_array_equal(contrasts.holm(p, level=0.05), wanted)
