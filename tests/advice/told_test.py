"""The advice in words and as JSON."""

import json

from ila_jax.advice import calibration, line, told

_GAIN = line.Line(
  **{"name": "predicted gain", "verdict": line.CAUTION, "sentence": "No."},
  **{"number": -0.002, "low": -0.01, "high": 0.004, "threshold": 0.01},
)
_LENGTH = line.Line(
  **{"name": "length", "verdict": line.OK, "sentence": "word " * 40},
  **{"number": 1.1, "threshold": (0.8, 1.25)},
)


def test_the_verdict_comes_first_and_numbers_stand_beside_thresholds():
  advice = told.Advice(lines=(_GAIN, _LENGTH))
  lines = told.text(advice).splitlines()
  assert lines[0].startswith("Not expected to help: take random")
  assert "−0.002 [−0.010, 0.004]" in lines[0]
  assert any("1.1 (0.8 to 1.25)" in one for one in lines)
  assert max(map(len, lines)) <= 80
  helps = told.verdict(_GAIN.__class__(**vars(_GAIN) | {"verdict": line.OK}))
  assert helps.startswith("Expected to help by −0.002")


def test_what_is_not_known_is_said_once():
  one = line.unknown("predicted gain", "nobody looked. " * 20)
  text = told.text(told.Advice(lines=(one, _LENGTH)))
  assert text.count("Not known: nobody") == 1
  assert told.quantity(one) == ""


def test_json_has_all_of_it():
  advice = told.Advice(lines=(_GAIN, _LENGTH), calibration=calibration.told([]))
  back = json.loads(json.dumps(told.plain(advice)))
  assert back["verdict"] == advice.sentence
  assert [one["name"] for one in back["lines"]] == ["predicted gain", "length"]
  assert back["lines"][1]["threshold"] == [0.8, 1.25]
  assert back["calibration"]["verdict"] == line.UNKNOWN
  assert "  calibration" in told.text(advice)
