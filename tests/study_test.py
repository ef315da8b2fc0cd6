"""The registered rules of docs/study.md, on pools whose answer is known."""

import copy
import json

import pytest

from configs import laboratory as study
from ila_jax.methods import table
from tests.benchmarks import laboratory_methods, laboratory_study

_MEASURES = ("micro", "macro", "pool")


def _studied(gap, *, domain=0.0, multiple=None):
  """A pool of the study, in which `trim` is better by a gap everywhere."""
  told = {"value": gap, "low": gap - 0.01, "high": gap + 0.01}
  told["p"] = 0.001 if gap < 0 else 0.9
  worth = {"value": multiple, "low": 1.1, "high": 9.0}
  runs, contrasts = [], []
  for size in (32_000, 64_000):
    for arm in ("random", "coverage_050", "trim"):
      loss = 2.0 + (domain if arm == "trim" else 0.0)
      line = {"arm": arm, "budget": size, "domains": {"code": loss}}
      for equal in ("tokens", "examples")[: 1 if arm == "random" else 2]:
        line |= {"equal": equal, "missing": 0}
        runs += [line | {"draw": draw} for draw in range(8)]
        for rival in ("random", "coverage_050"):
          if arm not in ("random", rival):
            one = {"arm": arm, "rival": rival, "equal": equal, "draws": 8}
            one |= {"budget": size, **dict.fromkeys(_MEASURES, told)}
            has_multiple = multiple and rival == "random"
            one["multiple"] = (
              dict.fromkeys(_MEASURES, worth) if has_multiple else None
            )
            contrasts.append(one)
  return laboratory_study.Pool(runs, contrasts)


def _verdict(pools):
  found = laboratory_study.shown(pools, "coverage_050")
  return {one["arm"]: one["verdict"] for one in found}["trim"]


def _pools(gaps, **given):
  return {
    name: _studied(gap, **given)
    for name, gap in zip(("P1", "P3", "P4b"), gaps, strict=True)
  }


@pytest.mark.parametrize(
  ("gaps", "domain", "multiple", "expected"),
  [
    ((-0.02, -0.05, -0.05), 0.0, None, "success"),
    ((-0.02, -0.05, -0.05), 0.0, 2.5, "strong success"),
    ((0.02, -0.05, -0.05), 0.0, None, "open"),  # Worse on the control.
    ((-0.02, -0.05, -0.05), 0.06, None, "open"),  # One domain lost.
    ((-0.02, 0.05, -0.05), 0.0, None, "open"),
    ((-0.02, 0.05, 0.05), 0.0, None, "refuted"),
  ],
)
def test_an_arm_is_judged_by_the_registered_rules(
  gaps, domain, multiple, expected
):
  pools = _pools(gaps, domain=domain, multiple=multiple)
  assert _verdict(pools) == expected
  table = laboratory_study.confirm(pools, "coverage_050")
  assert table.count("\n") == 3 and "(code, equal" in table


@pytest.mark.parametrize("pool", ["P1", "P3"])
@pytest.mark.parametrize("missing", ["a draw", "a budget"])
def test_nothing_succeeds_on_a_part_of_the_evidence(pool, missing):
  pools = copy.deepcopy(_pools((-0.02, -0.05, -0.05)))
  lines = pools[pool].contrasts
  ours = [one for one in lines if one["arm"] == "trim"]
  if missing == "a draw":
    ours[0]["draws"] = 7
  else:
    for one in ours:
      if one["budget"] == 64_000:
        lines.remove(one)
  assert _verdict(pools) == "open"


def test_what_is_ahead_of_coverage_goes_on_two_arms_at_most():
  ahead = {"a": -0.05, "b": -0.04, "c": -0.06, "coverage_050": -0.02}
  found = laboratory_study.chosen(ahead | {"coverage_000": -0.01})
  assert found == ("coverage_050", ["c", "a"])
  pools = {name: _studied(-0.03) for name in ("P2", "P4")}
  assert laboratory_study.score(pools, "trim") == pytest.approx(-0.03)


def test_a_stage_without_its_pools_decides_nothing(tmp_path, capsys):
  folder = tmp_path / "P2"
  folder.mkdir()
  made = _studied(-0.03)
  own = [one for one in made.contrasts if one["budget"] == 32_000]
  own = [one | {"draws": 2} for one in own]
  (folder / "contrasts.json").write_text(json.dumps({"contrasts": own}))
  lines = [json.dumps(run) for run in made.runs]
  (folder / "runs.jsonl").write_text("\n".join(lines))
  pools = laboratory_study.read(tmp_path, ("P2", "P4"))
  assert "Not there yet, so nothing is decided: P4" in capsys.readouterr().out
  assert "Goes on" not in laboratory_study.choose(pools)
  both = {"P2": pools["P2"], "P4": pools["P2"]}
  assert "None is ahead of coverage_050" in laboratory_study.choose(both)
  # An arm of one pool is told, and not compared with those of both.
  less = [one for one in own if one["arm"] != "trim"]
  both["P4"] = both["P4"]._replace(contrasts=less)
  said = laboratory_study.choose(both)
  assert said.count("not run") == 2 and "the study ends" in said
  assert "| `trim` | -0.030 * |" in said and "not compared" in said
  with pytest.raises(
    SystemExit, match="P2; allowed: one folder for each of P1"
  ):
    laboratory_study.read(tmp_path, ("P1",))


def _rate(folder, loss, *, sizes=(32_000, 128_000), failed=False):
  folder.mkdir()
  run = {"arm": "random", "macro": loss, "pool": loss}
  lines = [
    run | {"budget": size, "draw": draw} for size in sizes for draw in (0, 1)
  ]
  if failed:
    lines[0]["failed"] = "loss is nan"
  text = "\n".join(map(json.dumps, lines))
  (folder / "runs.jsonl").write_text(text)


def test_the_best_rate_is_found_and_an_end_of_the_grid_told(tmp_path, capsys):
  _rate(tmp_path / "learning_rate=0.001", 3.0)
  _rate(tmp_path / "0.002", 2.0)
  _rate(tmp_path / "0.004", 1.0, failed=True)
  found = laboratory_study.rate(tmp_path)
  assert "Best: 0.002. It is the end of the grid." in found
  assert "0.004 is left out" in capsys.readouterr().out
  _rate(tmp_path / "0.008", 2.5)
  assert laboratory_study.rate(tmp_path).endswith("Best: 0.002.")


def test_a_ceiling_is_a_difference_over_draws(tmp_path):
  losses = {"all": (3.0, 3.1, 3.2), "clean": (2.9, 3.0, 3.1)}
  for name, each in losses.items():
    (tmp_path / name).mkdir()
    lines = [
      {"arm": arm, "budget": 32_000}
      | dict.fromkeys(("micro", "macro", "pool"), value + more)
      for value in each
      for arm, more in (("random", 0.0), ("coverage_050", 9.0))
    ]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / name / "runs.jsonl").write_text(text)
  said = laboratory_study.ceiling(tmp_path)
  # By a table: 2.776 · sqrt(0.01 / 3 + 0.01 / 3) around -0.1.
  assert said.count("-0.1000 (-0.3267 to +0.1267)") == 3


@pytest.mark.parametrize(
  ("clean", "half", "says"),
  [
    (1.5, 3.1, "Junk costs something."),
    (2.0, 3.0, "Junk costs nothing here either."),
    (1.98, 2.02, "Open."),
    (1.5, 1.9, "Nothing is decided: more random data has not helped."),
  ],
)
def test_the_rule_of_the_pretrained_base(tmp_path, clean, half, says):
  runs = {"all": {16_000: 2.0, 8_000: half}, "clean": {16_000: clean}}
  for name, losses in runs.items():
    (tmp_path / name).mkdir()
    lines = [
      {"arm": "random", "budget": budget}
      | dict.fromkeys(_MEASURES, loss + more)
      for budget, loss in losses.items()
      for more in (-0.01, 0.0, 0.01)
    ]
    lines += [{"arm": "random", "budget": 16_000, "failed": "no disk"}]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / name / "runs.jsonl").write_text(text)
  said = laboratory_study.ceiling(tmp_path)
  assert said.endswith(f"16,000 response tokens. {says}")
  assert f"{(2.0 - clean) / (half - 2.0):+.2f}" in said


def test_every_method_is_tried_or_left_out_by_name():
  tried = {arm["strategy"] for arm in (study.ARMS | study.METHODS).values()}
  left_out = {"random", "deita", "instag", "grape", "ila_two_round"}
  assert tried | left_out == set(table.METHODS)
  assert not tried & left_out


def _of_all(gaps_of):
  """Runs of two draws by their gaps to chance, and contrasts of no prompt."""
  runs, told = [], []
  for arm, gaps in ({"random": (0.0, 0.0)} | gaps_of).items():
    for draw, gap in enumerate(gaps):
      line = {"arm": arm, "budget": 9, "draw": draw, "missing": 0}
      line |= {"examples": 5, "coverage": 0.5, "depth": 0.5}
      line["scores"] = {"swapped": 0.1, "salad": 0.05}
      runs.append(line | dict.fromkeys(_MEASURES, 3.0 + gap))
    if arm == "random":
      continue
    mean, half = sum(gaps) / 2, abs(gaps[0] - gaps[1]) / 2
    error = (half**2 + 0.01**2) ** 0.5  # 0.01 is of the prompts.
    ends = {"value": mean, "high": mean + 12.7062047 * error}
    one = {"arm": arm, "rival": "random", "budget": 9}
    told.append(one | dict.fromkeys(_MEASURES, ends))
  return runs, told


def test_the_draws_of_all_arms_make_the_interval_of_each():
  gaps_of = {"a": (-0.5, -0.5), "b": (0.02, -0.02), "c": (0.3, 0.34)}
  found = laboratory_methods.gaps(*_of_all(gaps_of))
  # 0.01² of the prompts, and (0 + 0.02² + 0.02²) / 3 of the draws.
  error = (0.0001 + 0.0008 / 3) ** 0.5
  for arm, mean in {"a": -0.5, "b": 0.0, "c": 0.32}.items():
    gap = found[arm]["macro"]
    assert gap.value == pytest.approx(mean)
    assert gap.high - mean == pytest.approx(3.182446 * error, rel=1e-5)
    assert gap.low + gap.high == pytest.approx(2 * mean)
  named = laboratory_methods.outstanding(found)
  assert named == {"a": "better", "c": "worse"}


def test_the_table_of_all_methods_has_the_best_first(tmp_path):
  runs, told = _of_all({"a": (-0.5, -0.5), "b": (0.02, -0.02)})
  runs += [runs[-1] | {"arm": "short", "missing": 3}]
  alike = {"random": {"a": 0.1, "b": 0.2}, "a": {"random": 0.1, "b": 0.4}}
  alike["b"] = {"random": 0.2, "a": 0.4}
  made = {"seconds": dict.fromkeys(alike, 1.5), "alike": alike}
  text = "\n".join(map(json.dumps, runs))
  (tmp_path / "runs.jsonl").write_text(text)
  (tmp_path / "contrasts.json").write_text(json.dumps({"contrasts": told}))
  (tmp_path / "choices.json").write_text(json.dumps(made))
  said = laboratory_methods.table(tmp_path)
  rows = said.splitlines()
  assert rows[2].startswith("| `random` | 3.000 itself | 3.000 itself | 5 |")
  assert rows[3].startswith("| `a` (better) | -0.500 (")
  assert rows[3].endswith("| 15% | 0.10 | `b` 0.40 | 1.50 |")
  assert rows[4].startswith("| `b` |")
  assert rows[-1] == "Not judged, for they order too few: short."
