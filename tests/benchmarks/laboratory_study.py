"""Tells what the study of docs/study.md has found, by its registered rules.

    python -m tests.benchmarks.laboratory_study rate docs/study/rate
    python -m tests.benchmarks.laboratory_study choose docs/study/choose
    python -m tests.benchmarks.laboratory_study confirm docs/study/confirm
    python -m tests.benchmarks.laboratory_study ceiling docs/study/ceiling

The folder has a folder of each pool, with `runs.jsonl` and `contrasts.json` of
the stage `laboratory`, or the workdirs of `ila sweep --config laboratory`.
That of `rate` has a folder of each learning rate, named by it.
`rate` prints the losses of random subsets, `choose` the score of each arm and
what goes on to stage B, `confirm` what each arm has shown there. `ceiling` sets
random subsets of records without planted junk beside those of all: what could
be gained by seeing it.
"""

import argparse
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from configs import laboratory as study
from ila_jax.laboratory import budgets, estimates, verdict
from ila_jax.sections import laboratory

# As registered in docs/study.md.
SCORED = ("macro", "pool")
AHEAD = 0.01
MOST = 2
MAIN, CONTROL = ("P3", "P4b"), "P1"
CONTROL_LOSS, DOMAIN_LOSS = 0.01, 0.05
FIRST_BUDGET = 32_000
CHOOSING = ("P2", "P4")
CHOOSING_DRAWS, DRAWS = 2, 8
WORTH = 0.32  # Doublings: 1.25 times the data.
RATE_BUDGETS = (FIRST_BUDGET, 4 * FIRST_BUDGET)


class Pool(NamedTuple):
  """What the laboratory has written of one pool."""

  runs: list[dict[str, Any]]
  contrasts: list[dict[str, Any]]


def read(folder: pathlib.Path, names: Sequence[str]) -> dict[str, Pool]:
  """The pools of a stage, by their names; says which of them are not there."""
  found: dict[str, Pool] = {}
  for path in sorted(folder.rglob("contrasts.json")):
    inner = path.parent
    name = _pool(inner.parent if inner.name == "laboratory" else inner)
    if name not in names or name in found:
      raise SystemExit(
        f"{inner} is of {name}; allowed: one folder for each of "
        f"{', '.join(names)}"
      )
    text = (inner / "runs.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    found[name] = Pool(lines, json.loads(path.read_text())["contrasts"])
  missing = [name for name in names if name not in found]
  if missing:
    print(f"Not there yet, so nothing is decided: {', '.join(missing)}.\n")
  if not found:
    raise SystemExit(f"{folder} has no contrasts.json")
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
    is_asked = run["arm"] == arm and run["equal"] in verdict.AT
    if not is_asked or not rival or run["missing"]:
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
    draws=DRAWS,
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
  (beside_control,) = verdict.verdicts(
    {CONTROL: pools[CONTROL].contrasts},
    arms=[arm],
    rivals=(laboratory.CHANCE,),
    draws=DRAWS,
  )
  succeeds = (
    all(one["succeeds"] for one in judged)
    and not beside_control["missing"]
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
  # Of both pools, macro and pool loss.
  refuted = len(beside) == len(MAIN) * len(SCORED) and not succeeds
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


def _table(rows: Sequence[Sequence[str]]) -> str:
  """Rows as a table of Markdown, the first of them its head."""
  lines = ["| " + " | ".join(row) + " |" for row in rows]
  return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def rate(folder: pathlib.Path) -> str:
  """Losses of random subsets by learning rate as a table, and the best."""
  found: dict[float, list[float]] = {}
  for path in folder.rglob("runs.jsonl"):
    at = path.parent
    at = at.parent if at.name == "laboratory" else at
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    losses = [
      [run[m] for m in SCORED]
      for size in RATE_BUDGETS
      for run in runs
      if (run["arm"], run["budget"]) == (laboratory.CHANCE, size)
      and "failed" not in run
    ]
    if len(losses) != CHOOSING_DRAWS * len(RATE_BUDGETS):
      print(f"{at.name} is left out: of its random runs {len(losses)} are done")
      continue
    sizes = np.reshape(losses, (len(RATE_BUDGETS), -1)).mean(axis=1)
    found[float(at.name.rpartition("=")[2])] = [*sizes, sizes.mean()]
  if not found:
    raise SystemExit(f"{folder} has no runs.jsonl")
  sizes = [f"{size:,} tokens" for size in RATE_BUDGETS]
  rows = [["learning rate", *sizes, "mean"]]
  rows += [
    [f"{one:g}", *(f"{loss:.4f}" for loss in found[one])]
    for one in sorted(found)
  ]
  best = min(found, key=lambda one: found[one][-1])
  end = (
    " It is the end of the grid." if best in (min(found), max(found)) else ""
  )
  return f"{_table(rows)}\n\nMacro and pool loss, mean. Best: {best:g}.{end}"


def ceiling(folder: pathlib.Path) -> str:
  """Random subsets of all records beside those of the clean ones, as a table.

  Intervals are Welch's, over draws. Where there are subsets of half the budget,
  the gap is told in doublings of random data, too, and what the rule of the
  pretrained base says of it.
  """
  found = {name: _random_losses(folder / name) for name in ("all", "clean")}
  budget = max(found["clean"])
  halves = found["all"].get(budget // 2)
  rows = [["loss", "all", "clean", "clean less all (95 %)"]]
  rows[0] += ["half of all", "doublings"] if halves else []
  told = f"{budget:,} response tokens."
  for measure in estimates.MEASURES:
    ours, theirs = (found[name][budget][measure] for name in ("clean", "all"))
    test = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = test.confidence_interval(0.95)
    gap = float(np.mean(ours) - np.mean(theirs))
    rows.append(
      [
        measure,
        f"{np.mean(theirs):.4f} ({len(theirs)} draws)",
        f"{np.mean(ours):.4f} ({len(ours)} draws)",
        f"{gap:+.4f} ({low:+.4f} to {high:+.4f})",
      ]
    )
    if halves:
      doubling = float(np.mean(halves[measure]) - np.mean(theirs))
      rows[-1] += [f"{np.mean(halves[measure]):.4f}", f"{-gap / doubling:+.2f}"]
      if measure == "macro":
        told += f" {junk(gap, (low, high), doubling)}"
  return f"{_table(rows)}\n\n{told}"


def junk(gap: float, interval: tuple[float, float], doubling: float) -> str:
  """What the rule of the pretrained base says of junk.

  Args:
    gap: macro loss of clean subsets less that of all.
    interval: of the gap, 95 %.
    doubling: g, what twice the random data takes from the loss.

  >>> junk(-0.05, (-0.07, -0.03), 0.1), junk(-0.01, (-0.02, 0.0), 0.1)
  ('Junk costs something.', 'Junk costs nothing here either.')
  """
  if doubling <= 0:
    return "Nothing is decided: more random data has not helped."
  bar = -WORTH * doubling
  if gap <= bar and interval[1] < 0:
    return "Junk costs something."
  if interval[0] > bar:
    return "Junk costs nothing here either."
  return "Open."


def _random_losses(folder: pathlib.Path) -> dict[int, dict[str, list[float]]]:
  """Losses of the random subsets of a laboratory, by budget and measure."""
  found: dict[int, dict[str, list[float]]] = {}
  for text in (folder / "runs.jsonl").read_text().splitlines():
    run = json.loads(text)
    if run["arm"] == laboratory.CHANCE and "failed" not in run:
      losses = found.setdefault(run["budget"], {})
      for measure in estimates.MEASURES:
        losses.setdefault(measure, []).append(run[measure])
  return found


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
  everywhere = []
  for arm in sorted(scores, key=lambda one: scores[one]):
    own = [
      gaps(pools[name], arm, laboratory.CHANCE, (equal,))
      for name, equal in columns
    ]
    row = [f"`{arm}`", f"{scores[arm]:+.3f}" + (" *" if [] in own else "")]
    for lines in own:
      told = [f"{line[m]['value']:+.3f}" for line in lines for m in SCORED]
      row.append(" / ".join(told) or "not run")
    rows.append(row)
    everywhere += [] if [] in own else [arm]
  told = (
    f"{_table(rows)}\n\nMacro / pool loss less that of chance, nats a token."
  )
  whole = all(
    line["draws"] == CHOOSING_DRAWS and line["budget"] == FIRST_BUDGET
    for pool in pools.values()
    for line in pool.contrasts
  )
  if set(pools) != set(CHOOSING) or not whole:
    return told
  if len(everywhere) < len(scores):
    told += " *: of one pool; not compared."
  coverage, others = chosen({arm: scores[arm] for arm in everywhere})
  if not others:
    return f"{told} None is ahead of {coverage} by {AHEAD}: the study ends."
  return f"{told} Goes on: {coverage}; chosen: {', '.join(others)}."


def confirm(pools: Mapping[str, Pool], coverage: str) -> str:
  """Stage B as a table."""
  weakest = [f"{name}: weakest contrast" for name in MAIN]
  rows = [["arm", *weakest, CONTROL, "worst domain", "verdict"]]
  for one in shown(pools, coverage):
    row = [f"`{one['arm']}`", *(_weakest(one["pools"][name]) for name in MAIN)]
    row += [f"{one['control']:+.3f}", f"{one['domain']:+.3f} ({one['where']})"]
    rows.append([*row, one["verdict"]])
  return _table(rows)


def _weakest(judged: Mapping[str, Any]) -> str:
  if judged["missing"]:
    return f"no verdict without {', '.join(judged['missing'])}"
  worst = judged["worst"]
  return (
    f"{worst['rival']}, {worst['equal']}, {worst['budget']:,}, "
    f"{worst['measure']}: {worst['value']:+.3f} ({worst['low']:+.3f} to "
    f"{worst['high']:+.3f})"
  )


def main() -> None:
  """Prints the table of one stage."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("stage", choices=("rate", "choose", "confirm", "ceiling"))
  parser.add_argument("folder", type=pathlib.Path)
  options = parser.parse_args()
  if options.stage == "rate":
    print(rate(options.folder))
  elif options.stage == "ceiling":
    print(ceiling(options.folder))
  elif options.stage == "choose":
    print(choose(read(options.folder, CHOOSING)))
  else:
    pools = read(options.folder, (*MAIN, CONTROL))
    if len(pools) == len(MAIN) + 1:
      print(confirm(pools, study.COVERAGE))


if __name__ == "__main__":
  main()
