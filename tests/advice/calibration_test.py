"""How often the advice was right, on gaps that are made."""

import numpy as np

from ila_jax.advice import calibration, line


def _contrast(arm, value, half=0.01, **given):
  gap = {"value": value, "low": value - half, "high": value + half}
  made = {"arm": arm, "rival": "random", "equal": "tokens", "budget": 100}
  return made | {"micro": gap} | given


def _told(value, half=0.02):
  ends = {"low": value - half, "high": value + half, "threshold": 0.01}
  return {"value": value} | ends


def test_gains_have_the_other_sign_than_gaps():
  predictions = {
    ("right", "tokens", 100): _told(0.05),
    ("no_gain", "tokens", 100): _told(0.0),
    ("false", "tokens", 100): _told(0.05),
    ("missed", "tokens", 100): _told(0.0),
  }
  contrasts = [
    _contrast("right", -0.04),
    _contrast("no_gain", 0.005),
    _contrast("false", 0.05),
    _contrast("missed", -0.05),
    _contrast("right", -0.04, rival="other"),
    _contrast("right", -0.04, equal="examples"),
    _contrast("unknown", -0.04),
  ]
  cases = calibration.cases(contrasts, predictions, rival="random")
  assert [case.name.split(",")[0] for case in cases] == [
    *("right", "no_gain", "false", "missed")
  ]
  found = calibration.summary(cases)
  each = found.pop("each")
  assert [one["holds"] for one in each] == [True, True, False, False]
  assert found == {
    **{"cases": 4, "holds": 2, "overlaps": 2, "same_sign": 1},
    **{"shown": 3, "right": 1, "false_help": 1, "missed": 1},
  }
  told = calibration.told(cases)
  assert (told.number, told.verdict) == (0.5, line.CAUTION)
  # Right advice by intervals that do not hold is no good calibration.
  wide = _contrast("a", 0.03, half=0.025)
  right = calibration.cases(
    [wide], {("a", "tokens", 100): _told(0.0)}, rival="random"
  )
  found = calibration.summary(right)
  assert (found["right"], found["holds"], found["overlaps"]) == (1, 0, 1)
  assert calibration.told(right).verdict == line.CAUTION
  assert calibration.told(cases[:1]).verdict == line.OK


def test_intervals_of_90_percent_hold_nine_of_ten():
  rng = np.random.default_rng(0)
  sd, half = 0.02, 1.6449 * 0.02
  truth = rng.normal(0, 0.05, 2000)
  foretold = truth + sd * rng.normal(size=2000)
  contrasts = [
    _contrast("a", -gain, budget=k) for k, gain in enumerate(truth.tolist())
  ]
  predictions = {
    ("a", "tokens", k): _told(value, half)
    for k, value in enumerate(foretold.tolist())
  }
  cases = calibration.cases(contrasts, predictions, rival="random")
  found = calibration.told(cases)
  assert abs(found.number - 0.9) < 0.02
  backwards = [case._replace(measured=_told(-9.0)) for case in cases]
  assert calibration.told(backwards).number == 0


def test_nothing_measured_is_not_known():
  found = calibration.told([])
  assert (found.verdict, found.number) == (line.UNKNOWN, None)
