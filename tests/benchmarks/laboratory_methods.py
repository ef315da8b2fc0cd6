"""Every method once: what stands out, what it costs, which choices are alike.

    python -m tests.benchmarks.laboratory_methods choices WORKDIR > choices.json
    python -m tests.benchmarks.laboratory_methods table docs/study/methods

`choices` makes the choices of the laboratory's arms again, in its first draw,
and writes the seconds of each arm and how alike all pairs are (Jaccard).
`table` prints the table of docs/study.md, "Every method once", from a folder
with `runs.jsonl`, `contrasts.json` and `choices.json`.
"""

import argparse
import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from ila_jax.laboratory import contrasts, estimates
from ila_jax.sections import laboratory

SCORED = ("macro", "pool")
SIDE = 0.025  # Of the interval, and of Holm's rule on each side.
_DIGITS = 4


class Gap(NamedTuple):
  """Loss of an arm less that of chance, in nats a token."""

  value: float
  low: float
  high: float
  p: float  # One-sided: that the arm is not better.


def gaps(
  runs: Sequence[Mapping[str, Any]],
  told: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, Gap]]:
  """The gap of each arm to chance, with an interval, by measure.

  Args:
    runs: of two draws, at equal tokens.
    told: contrasts of the same runs.
  """
  by_key = {(run["arm"], run["budget"], run["draw"]): run for run in runs}
  lines = [one for one in told if one["rival"] == laboratory.CHANCE]
  found: dict[str, dict[str, Gap]] = {line["arm"]: {} for line in lines}
  for measure in estimates.MEASURES:
    each = np.array(
      [
        [
          by_key[line["arm"], line["budget"], draw][measure]
          - by_key[laboratory.CHANCE, line["budget"], draw][measure]
          for draw in (0, 1)
        ]
        for line in lines
      ]
    )
    own = (each[:, 0] - each[:, 1]) ** 2 / 4
    # The contrast has both variances in it, by Student's law of two draws.
    reach = np.array([line[measure]["high"] for line in lines])
    reach -= [line[measure]["value"] for line in lines]
    whole = (reach / stats.t.ppf(1 - SIDE, 1)) ** 2
    error = np.sqrt(np.maximum(whole - own, 0) + own.mean())
    value, freedom = each.mean(axis=1), len(lines)
    p = stats.t.cdf(value / error, freedom)
    width = stats.t.ppf(1 - SIDE, freedom) * error
    ends = value - width, value + width
    for line, *one in zip(lines, value, *ends, p, strict=True):
      found[line["arm"]][measure] = Gap(*map(float, one))
  return found


def outstanding(found: Mapping[str, Mapping[str, Gap]]) -> dict[str, str]:
  """The arms that are better or worse than chance, by the registered rule.

  >>> near = Gap(0.0, -0.1, 0.1, 0.5)
  >>> far = Gap(-0.2, -0.3, -0.1, 1e-6)
  >>> outstanding({"a": dict.fromkeys(SCORED, near),
  ...              "b": dict.fromkeys(SCORED, far)})
  {'b': 'better'}
  """
  names = list(found)
  better = [max(found[n][m].p for m in SCORED) for n in names]
  worse = [max(1 - found[n][m].p for m in SCORED) for n in names]
  named = {}
  for word, p in (("better", better), ("worse", worse)):
    rejected = contrasts.holm(np.array(p), level=SIDE)
    named |= {n: word for n, out in zip(names, rejected, strict=True) if out}
  return named


def choices(workdir: str) -> dict[str, Any]:
  """Seconds and likeness of the choices of a laboratory's first draw.

  Args:
    workdir: of a run whose stage `laboratory` is done.

  Returns:
    `seconds` of each arm, in its second of two choices, for the first compiles;
    `alike`, of each arm its Jaccard index with every other.
  """
  from etils import epath

  from ila_jax import config_parsing
  from ila_jax.compute import mesh
  from ila_jax.laboratory import choices as choices_lib
  from ila_jax.laboratory import runs as runs_lib
  from ila_jax.run import context
  from ila_jax.run.disk import files
  from ila_jax.selection import needs

  path = epath.Path(workdir)
  plain = files.read_json(path / "manifest.json")["config"]
  run = context.Run(config_parsing.build(plain), path, mesh.make())
  arms = needs.laboratory_of(run.config)
  made = choices_lib.Choices(run, arms)
  (budget,) = run.config.laboratory.budgets
  rows, seconds = {}, {}
  for arm in arms:
    for _ in range(2):
      began = time.perf_counter()
      chosen = made.of(runs_lib.Planned(arm, "tokens", budget, 0))
      seconds[arm] = round(time.perf_counter() - began, 3)
    rows[arm] = set(chosen.rows.tolist())
  alike = {
    arm: {
      other: round(len(own & theirs) / len(own | theirs), _DIGITS)
      for other, theirs in rows.items()
      if other != arm
    }
    for arm, own in rows.items()
  }
  return {"seconds": seconds, "alike": alike}


def table(folder: pathlib.Path) -> str:
  """All arms, the best first, as a table of Markdown; and what stands out."""
  text = (folder / "runs.jsonl").read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  whole = [one for one in lines if "failed" not in one and not one["missing"]]
  told = json.loads((folder / "contrasts.json").read_text())["contrasts"]
  made = json.loads((folder / "choices.json").read_text())
  found = gaps(whole, told)
  named = outstanding(found)
  rows = [
    ["arm", "macro, less chance", "pool", "examples", "coverage", "depth"]
  ]
  rows[0] += ["junk", "as chance", "most like", "seconds"]
  (budget,) = {one["budget"] for one in told}
  score = {arm: np.mean([found[arm][m].value for m in SCORED]) for arm in found}
  for arm in (laboratory.CHANCE, *sorted(found, key=lambda one: score[one])):
    of_arm = [r for r in whole if (r["arm"], r["budget"]) == (arm, budget)]
    rows.append([f"`{arm}`" + (f" ({named[arm]})" if arm in named else "")])
    rows[-1] += (
      [_told(found[arm][m]) for m in SCORED]
      if arm in found
      else [f"{np.mean([one[m] for one in of_arm]):.3f} itself" for m in SCORED]
    )
    junk = [one["scores"]["swapped"] + one["scores"]["salad"] for one in of_arm]
    rows[-1] += [
      f"{np.mean([one['examples'] for one in of_arm]):,.0f}",
      f"{np.mean([one['coverage'] for one in of_arm]):.2f}",
      f"{np.mean([one['depth'] for one in of_arm]):.2f}",
      f"{np.mean(junk):.0%}",
      *_alike(made["alike"][arm]),
      f"{made['seconds'][arm]:.2f}",
    ]
  short = sorted({one["arm"] for one in lines if one["missing"]})
  said = [f"Not judged, for they order too few: {', '.join(short)}."]
  failed = sorted({one["arm"] for one in lines if "failed" in one})
  said = said * bool(short) + [f"Failed: {', '.join(failed)}."] * bool(failed)
  head = [" | ".join(row) for row in rows]
  parts = [f"| {head[0]} |", "|---" * len(rows[0]) + "|"]
  parts += [f"| {row} |" for row in head[1:]]
  return "\n".join([*parts, *([""] if said else []), *said])


def _told(gap: Gap) -> str:
  return f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"


def _alike(of_arm: Mapping[str, float]) -> tuple[str, str]:
  others = {n: v for n, v in of_arm.items() if n != laboratory.CHANCE}
  nearest = max(others, key=lambda one: others[one])
  as_chance = of_arm.get(laboratory.CHANCE)
  return (
    "" if as_chance is None else f"{as_chance:.2f}",
    f"`{nearest}` {others[nearest]:.2f}",
  )


def main() -> None:
  """Prints JSON of the choices, or the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("what", choices=("choices", "table"))
  parser.add_argument("folder", type=pathlib.Path)
  options = parser.parse_args()
  if options.what == "choices":
    print(json.dumps(choices(str(options.folder)), indent=1))
  else:
    print(table(options.folder))


if __name__ == "__main__":
  main()
