"""Tells what the study of docs/study.md has found, by its registered rules.

    python -m tests.benchmarks.laboratory_study choose docs/study/choose
    python -m tests.benchmarks.laboratory_study confirm docs/study/confirm

The folder has a folder of each pool, with `runs.jsonl` and `contrasts.json` of
the stage `laboratory`, or the workdirs of `ila sweep --config laboratory`.
`choose` prints the score of each arm, and what goes on to stage B;
`confirm` what each arm has shown there.
"""

import argparse
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ila_jax.laboratory import budgets, estimates, verdict
from ila_jax.sections import laboratory

# As registered in docs/study.md.
SCORED = ("macro", "pool")
AHEAD = 0.01
MOST = 2
MAIN, CONTROL = ("P3", "P4b"), "P1"
CONTROL_LOSS, DOMAIN_LOSS = 0.01, 0.05
FIRST_BUDGET = 32_000


class Pool(NamedTuple):
  """What the laboratory has written of one pool."""

  runs: list[dict[str, Any]]
  contrasts: list[dict[str, Any]]


def read(folder: pathlib.Path) -> dict[str, Pool]:
  """All pools of a folder, by their names."""
  found = {}
  for path in sorted(folder.rglob("runs.jsonl")):
    if (path.parent / "contrasts.json").exists():
      lines = [json.loads(line) for line in path.read_text().splitlines()]
      made = json.loads((path.parent / "contrasts.json").read_text())
      inner = path.parent
      at = inner.parent if inner.name == "laboratory" else inner
      found[_pool(at)] = Pool(lines, made["contrasts"])
  if not found:
    raise SystemExit(f"{folder} has no pool: no runs.jsonl and contrasts.json")
  return found


def _pool(at: pathlib.Path) -> str:
  """P2, of a folder P2 or of a point of a sweep such as source=pools-P2..."""
  words = at.name.replace("-", ".").split(".")
  named = [word for word in words if word[:1] == "P"]
  return named[0] if named else at.name


def gaps(
  pool: Pool, arm: str, rival: str, equal: Iterable[str] = verdict.AT
) -> list[dict[str, Any]]:
  """The contrasts of an arm with a rival, at what is equal."""
  return [
    line
    for line in pool.contrasts
    if (line["arm"], line["rival"]) == (arm, rival) and line["equal"] in equal
  ]


def score(pools: Mapping[str, Pool], arm: str) -> float:
  """Mean gap to chance over pools, equalities and measures, in nats a token."""
  return float(
    np.mean(
      [
        line[measure]["value"]
        for pool in pools.values()
        for line in gaps(pool, arm, laboratory.CHANCE)
        for measure in SCORED
      ]
    )
  )


def chosen(scores: Mapping[str, float]) -> tuple[str, list[str]]:
  """The coverage that goes on, and the other arms that do, the best first.

  >>> chosen({"coverage_000": -0.01, "coverage_050": -0.02, "ila": -0.025,
  ...         "trim": -0.04})
  ('coverage_050', ['trim'])
  """
  ordered = sorted(scores, key=lambda arm: scores[arm])
  is_coverage = [arm.startswith("coverage_") for arm in ordered]
  coverage = ordered[is_coverage.index(True)]
  others = [
    arm
    for arm, covers in zip(ordered, is_coverage, strict=True)
    if not covers and scores[arm] <= scores[coverage] - AHEAD
  ]
  return coverage, others[:MOST]


def worst_domain(pool: Pool, arm: str) -> tuple[float, str]:
  """The greatest mean gap to chance of a domain, and what it is of."""
  by_key: dict[tuple[str, int, str], list[float]] = {}
  chance = {
    (run["budget"], run["draw"]): run
    for run in pool.runs
    if run["arm"] == laboratory.CHANCE and "failed" not in run
  }
  for run in pool.runs:
    rival = chance.get((run["budget"], run["draw"]))
    if run["arm"] != arm or run["equal"] not in verdict.AT or not rival:
      continue
    for domain, loss in run.get("domains", {}).items():
      if loss is not None:
        key = run["equal"], run["budget"], domain
        by_key.setdefault(key, []).append(loss - rival["domains"][domain])
  means = {key: float(np.mean(each)) for key, each in by_key.items()}
  key = max(means, key=lambda one: means[one])
  return means[key], f"{key[2]}, equal {key[0]}, {key[1]:,}"


def shown(pools: Mapping[str, Pool], coverage: str) -> list[dict[str, Any]]:
  """What each arm has shown in stage B.

  Args:
    pools: P1, P3 and P4b.
    coverage: the arm that is a rival beside chance.

  Returns:
    For each arm: p and worst contrast on each main pool, its greatest loss on
    the control, its worst domain, and `verdict`.
  """
  draws = 1 + max(run["draw"] for pool in pools.values() for run in pool.runs)
  arms = dict.fromkeys(
    run["arm"]
    for pool in pools.values()
    for run in pool.runs
    if run["arm"] != laboratory.CHANCE
  )
  judged = verdict.verdicts(
    {name: pools[name].contrasts for name in MAIN},
    arms=list(arms),
    rivals=(laboratory.CHANCE, coverage),
    draws=draws,
  )
  return [
    _shown(pools, arm, [one for one in judged if one["arm"] == arm], coverage)
    for arm in arms
  ]


def _shown(
  pools: Mapping[str, Pool],
  arm: str,
  judged: Sequence[Mapping[str, Any]],
  coverage: str,
) -> dict[str, Any]:
  control = max(
    line[measure]["value"]
    for line in gaps(pools[CONTROL], arm, laboratory.CHANCE)
    for measure in estimates.MEASURES
  )
  domain, where = max(worst_domain(pool, arm) for pool in pools.values())
  succeeds = (
    all(one["succeeds"] for one in judged)
    and control <= CONTROL_LOSS
    and domain <= DOMAIN_LOSS
  )
  beside = [
    line[measure]
    for name in MAIN
    for line in gaps(pools[name], arm, coverage, (budgets.TOKENS,))
    if line["budget"] == FIRST_BUDGET
    for measure in SCORED
  ]
  refuted = bool(beside) and not succeeds
  refuted = refuted and all(one["high"] >= 0 for one in beside)
  strong = succeeds and all(one["is_strong"] for one in judged)
  told = {True: "refuted", False: "open"}[refuted]
  told = "success" if succeeds else told
  return {
    "arm": arm,
    "pools": {one["pool"]: one for one in judged},
    "control": control,
    "domain": domain,
    "where": where,
    "verdict": "strong success" if strong else told,
  }


def _gap(told: Mapping[str, float]) -> str:
  return f"{told['value']:+.3f} ({told['low']:+.3f} to {told['high']:+.3f})"


def _table(rows: Sequence[Sequence[str]]) -> str:
  """Rows as a table of Markdown, the first of them its head."""
  lines = ["| " + " | ".join(row) + " |" for row in rows]
  return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def choose(pools: Mapping[str, Pool]) -> str:
  """Stage A as a table, and what goes on."""
  arms = dict.fromkeys(
    line["arm"] for pool in pools.values() for line in pool.contrasts
  )
  scores = {arm: score(pools, arm) for arm in arms}
  columns = [(name, equal) for name in pools for equal in verdict.AT]
  head = [
    "arm",
    "score",
    *(f"{name}, equal {equal}" for name, equal in columns),
  ]
  rows = [head]
  for arm in sorted(scores, key=lambda one: scores[one]):
    row = [f"`{arm}`", f"{scores[arm]:+.3f}"]
    for name, equal in columns:
      (line,) = gaps(pools[name], arm, laboratory.CHANCE, (equal,))
      row.append(" / ".join(f"{line[m]['value']:+.3f}" for m in SCORED))
    rows.append(row)
  coverage, others = chosen(scores)
  return (
    f"{_table(rows)}\n\nMacro / pool loss less that of chance, nats a token. "
    f"Goes on: {coverage}; chosen: {', '.join(others) or 'none'}."
  )


def confirm(pools: Mapping[str, Pool], coverage: str) -> str:
  """Stage B as a table."""
  weakest = [f"{name}: weakest contrast" for name in MAIN]
  rows = [["arm", *weakest, CONTROL, "worst domain", "verdict"]]
  for one in shown(pools, coverage):
    row = [f"`{one['arm']}`"]
    for name in MAIN:
      worst = one["pools"][name]["worst"]
      row.append(
        f"{worst['rival']}, {worst['equal']}, {worst['budget']:,}, "
        f"{worst['measure']}: {_gap(worst)}"
      )
    row += [f"{one['control']:+.3f}", f"{one['domain']:+.3f} ({one['where']})"]
    rows.append([*row, one["verdict"]])
  return _table(rows)


def main() -> None:
  """Prints the table of one stage."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("stage", choices=("choose", "confirm"))
  parser.add_argument("folder", type=pathlib.Path)
  parser.add_argument("--coverage", default="coverage_050", help="the rival")
  options = parser.parse_args()
  pools = read(options.folder)
  if options.stage == "choose":
    print(choose(pools))
  else:
    print(confirm(pools, options.coverage))


if __name__ == "__main__":
  main()
