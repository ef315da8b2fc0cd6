"""How laws are judged, beside loops and scikit-learn."""

import numpy as np
import pytest

from ila_jax.scaling import judged, landscape_law


@pytest.fixture
def domains():
  return landscape_law.Domains(
    weight=np.array([0.6, 0.3, 0.1]),
    base=np.array([4.0, 3.0, 5.0]),
    reducible=np.array([2.0, 0.2, 1.0]),
  )


def _subsets(domains, count=30, noise=0.01):
  """Subsets of a made law, whose coverage and depth say nothing."""
  rng = np.random.default_rng(0)
  tokens = rng.dirichlet(np.ones(3), count) * rng.uniform(2e3, 2e4, (count, 1))
  law = landscape_law.Law(0.0, 1.0, 3000.0, 0.8, 0.1)
  loss = landscape_law.foretell(law, tokens, domains)
  return judged.Subsets(
    loss=loss + rng.normal(0, noise, count),
    tokens=tokens,
    count=tokens.sum(axis=1) / rng.uniform(50, 150, count),
    coverage=rng.uniform(0.1, 1, count),
    depth=rng.uniform(0.1, 1, count),
    fold=np.arange(count),
    in_design=np.arange(count) < 15,
  )


def test_the_law_that_made_them_is_the_best(domains):
  found = judged.judge(_subsets(domains), domains, resamples=300, seed=0)
  by_name = {one["name"]: one for one in found}
  assert next(iter(by_name)) == "landscape law"
  ours = by_name["landscape law"]
  assert ours["left_out"] > 0.97 and ours["agnostic"] > 0.9
  for name in ("tokens", "coverage", "depth", "coverage, depth", "examples"):
    gap = by_name[name]["gap"]
    assert by_name[name]["left_out"] < ours["left_out"]
    assert 0 < gap["low"] < gap["value"] < gap["high"]
  assert by_name["coverage"]["left_out"] < 0.2 and ours["gap"] is None


def test_left_out_is_scikit_learns(domains):
  from sklearn import linear_model, metrics, model_selection

  subsets = _subsets(domains, noise=0.2)
  subsets = subsets._replace(fold=np.arange(30) // 3)
  x = np.log(subsets.tokens.sum(axis=1))[:, None]
  foretold = model_selection.cross_val_predict(
    linear_model.LinearRegression(),
    x,
    subsets.loss,
    groups=subsets.fold,
    cv=model_selection.LeaveOneGroupOut(),
  )
  found = judged.judge(subsets, domains, resamples=100, seed=0)
  (ours,) = [one for one in found if one["name"] == "tokens"]
  wanted = metrics.r2_score(subsets.loss, foretold)
  assert ours["left_out"] == pytest.approx(wanted, abs=1e-9)
  law = next(one for one in found if one["name"] == "landscape law")
  gap = law["left_out"] - ours["left_out"]
  assert ours["gap"]["value"] == pytest.approx(gap, abs=1e-9)


def test_the_ceiling_is_that_of_noise():
  rng = np.random.default_rng(0)
  true = rng.normal(0, 1, 400)
  loss = true + rng.normal(0, 0.5, 400)
  repeats = [rng.normal(0, 0.5, 5) for _ in range(200)]
  assert judged.ceiling(loss, repeats) == pytest.approx(0.8, abs=0.03)
  assert judged.ceiling(loss, [np.ones(1)]) is None


def _run(i, kind="designed", tokens=0):
  return {
    "name": f"{kind}{i}",
    "kind": kind,
    "in_design": kind == "designed",
    "levels": {"tokens": tokens},
    "loss": 3 - 0.1 * i,
    "n": 10,
    "coverage": 0.5,
    "depth": 0.5,
    "domain_tokens": [100 * (i + 1), 50, 10],
  }


def test_too_few_runs_are_told(domains):
  few = judged.fits([_run(i) for i in range(4)], domains, resamples=100, seed=0)
  assert not few["fitted"] and "at least 7" in few["reason"]


def test_mixtures_of_one_size_are_judged_apart(domains):
  runs = [_run(i) for i in range(3)]
  runs += [_run(i, "mixture", 500 if i % 2 else 100 + i) for i in range(8)]
  assert judged._of_middle(runs).tolist() == [False] * 3 + [False, True] * 4
  found = judged.fits(runs, domains, resamples=100, seed=0)
  assert found["fitted"] and found["fixed_tokens"] is None
