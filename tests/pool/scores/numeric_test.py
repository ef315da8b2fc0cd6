"""What counts as a score, and where scores are found."""

import numpy as np
import pytest

from ila_jax.pool.scores import numeric


@pytest.mark.parametrize(
  ("value", "score"),
  [
    (4, 4), (4.5, 4.5), ("4", 4), (" 4.0 ", 4), ("-1e3", -1000), (True, 1),
    (False, 0), ("True", 1), ("false", 0), (0, 0), (10**9, 10**9),
  ],
)  # fmt: skip
def test_a_score(value, score):
  assert numeric.score(value) == score


@pytest.mark.parametrize(
  "value",
  [
    None, "", "N/A", "4/5", "four", [4], {"score": 4}, float("nan"), "nan",
    float("inf"), "inf", 1e39, 10**400, "yes", "0x10",
  ],
)  # fmt: skip
def test_no_score(value):
  assert np.isnan(numeric.score(value))


def test_what_is_there_and_is_no_number_is_told():
  assert numeric.at({"q": None}, "q")[1] is False
  assert numeric.at({}, "q")[1] is False
  assert numeric.at({"q": " "}, "q")[1] is False
  assert numeric.at({"q": "4/5"}, "q")[1] is True
  assert numeric.at({"q": [4]}, "q")[1] is True
  assert numeric.at({"q": [4]}, "q.0") == (4.0, False)
  assert numeric.at({"a.b": 3}, "a.b") == (3.0, False)


def test_fields_of_numbers_as_scored_pools_nest_them():
  # As OpenDataArena's scored pools have it.
  record = {
    "id": 17,
    "instruction": "Name a river.",
    "output": "42",
    "Q_scores": {"Deita_Complexity": 1.7, "Clarity": None},
    "QA_scores": {"IFD": 0.4, "note": "ok", "verified": True},
    "tags": ["rivers", "names"],
    "created_at": 1700000000,
    "token_count": 7,
  }
  found = numeric.paths([record], read=["instruction", "output"])
  assert found == [
    *("Q_scores.Deita_Complexity", "QA_scores.IFD", "QA_scores.verified"),
  ]
  # One text among numbers makes a field none; a blank does not.
  more = {"QA_scores": {"IFD": "fast", "verified": ""}}
  assert numeric.paths([record, more], read=["output"]) == [
    *("Q_scores.Deita_Complexity", "QA_scores.verified"),
  ]
