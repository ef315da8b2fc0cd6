"""The registered rule."""

import pytest

from ila_jax.laboratory import verdict


def _line(arm, rival, equal, p=0.001, value=-0.1, **measures):
  told = {"value": value, "low": value - 0.01, "high": value + 0.01, "p": p}
  line = {"arm": arm, "rival": rival, "equal": equal, "budget": 9, "draws": 8}
  line |= dict.fromkeys(("micro", "macro", "pool"), told)
  if rival == "random":
    worth = {"value": 2.5, "low": 1.5, "high": 3.0}
    line["multiple"] = dict.fromkeys(("micro", "macro", "pool"), worth)
  return line | measures


def _verdicts(pools, arms=("ours",)):
  return verdict.verdicts(
    pools, arms=arms, rivals=("random", "covered"), draws=8
  )


def _lines(arm, **given):
  return [
    _line(arm, rival, equal, **given)
    for rival in ("random", "covered")
    for equal in ("tokens", "examples", "steps")
    if rival != arm
  ]


def test_all_must_be_better():
  (found,) = _verdicts({"P": _lines("ours")})
  assert found["succeeds"] and found["is_strong"] and found["p"] == 0.001
  lines = _lines("ours")
  lines[1]["macro"] = lines[1]["macro"] | {"p": 0.4}
  (found,) = _verdicts({"P": lines})
  assert not found["succeeds"] and not found["is_strong"]
  assert (found["p"], found["worst"]["measure"]) == (0.4, "macro")
  assert found["worst"]["equal"] == "examples"


def test_a_contrast_at_equal_steps_does_not_judge():
  lines = _lines("ours")
  lines[2]["macro"] = lines[2]["macro"] | {"p": 0.9}
  (found,) = _verdicts({"P": lines})
  assert found["succeeds"]


def test_what_is_missing_fails():
  lines = [one for one in _lines("ours") if one["equal"] != "examples"]
  lines += [one for one in _lines("covered") if one["rival"] == "random"]
  ours, _ = _verdicts({"P": lines}, arms=("ours", "covered"))
  assert not ours["succeeds"] and ours["p"] == 1
  assert ours["missing"] == [
    "random at equal examples and 9 tokens",
    "covered at equal examples and 9 tokens",
  ]


@pytest.mark.parametrize(
  "change", ["no rival", "few draws", "budget", "no line"]
)
def test_what_was_asked_for_and_did_not_run_is_missing(change):
  """Also where no line tells that there is such a rival, draw or arm."""
  lines = _lines("ours")
  if change == "no rival":
    lines = [one for one in lines if one["rival"] == "random"]
  elif change == "few draws":
    lines[0]["draws"] = 7
  elif change == "budget":
    # At another budget there is one rival alone.
    lines.append(lines[0] | {"budget": 18})
  else:
    lines = []
  (found,) = _verdicts({"P": lines})
  assert found["missing"] and found["p"] == 1 and not found["succeeds"]


@pytest.mark.parametrize(("p", "succeeds"), [(0.01, True), (0.02, False)])
def test_two_pools_are_two_chances(p, succeeds):
  pools = {"P": _lines("ours", p=p), "Q": _lines("ours", p=0.9)}
  found = _verdicts(pools)
  assert [one["succeeds"] for one in found] == [succeeds, False]


def test_strong_wants_twice_the_data():
  lines = _lines("ours")
  weak = {"value": 1.5, "low": 1.2, "high": 3.0}
  lines[0]["multiple"] = lines[0]["multiple"] | {"pool": weak}
  (found,) = _verdicts({"P": lines})
  assert found["succeeds"] and not found["is_strong"]


def test_an_arm_whose_only_rival_is_itself_has_no_verdict():
  found = verdict.verdicts(
    {"P": _lines("ours")}, arms=("ours",), rivals=("ours",), draws=8
  )
  assert found[0]["missing"] == ["a rival"] and not found[0]["succeeds"]
  assert verdict.sentence(found[0]) == "ours: no verdict without a rival"
