"""The runs of the laboratory: which arm, what is equal, budget and draw."""

import dataclasses
import statistics
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ila_jax.laboratory import budgets
from ila_jax.sections import laboratory

# What `had` takes the mean of.
MEANS = (
  "examples",
  "tokens",
  "steps",
  "coverage",
  "depth",
  "micro",
  "macro",
  "pool",
)


@dataclasses.dataclass(frozen=True)
class Planned:
  """One training run.

  Attributes:
    arm: name of the arm.
    equal: what it has as much of as chance: one of `budgets.EQUAL`.
    budget: response tokens of the random subset that it equals.
    draw: number of the draw of candidates, and seed of choice and training.
  """

  arm: str
  equal: str
  budget: int
  draw: int

  @property
  def name(self) -> str:
    """Names its line and its losses.

    >>> Planned("ila", "tokens", 32000, 1).name
    'ila-tokens-32000-1'
    """
    return f"{self.arm}-{self.equal}-{self.budget}-{self.draw}"

  @property
  def chance(self) -> "Planned":
    """The run that it equals: of chance, with its budget and draw."""
    return Planned(laboratory.CHANCE, budgets.TOKENS, self.budget, self.draw)


def planned(
  names: Iterable[str], settings: laboratory.Laboratory
) -> list[Planned]:
  """All runs, draw by draw: whenever one stops, whole draws are done.

  Of each draw and budget the random subset comes first, at all multiples of
  the curve; the other arms equal it in each way of `settings.equal`.

  >>> settings = laboratory.Laboratory(
  ...   draws=2, budgets=(100,), equal=("examples",), curve=(0.5, 1.0))
  >>> [run.name for run in planned(["random", "ila"], settings)][:3]
  ['random-tokens-50-0', 'random-tokens-100-0', 'ila-examples-100-0']
  """
  others = [name for name in names if name != laboratory.CHANCE]
  runs: dict[Planned, None] = {}
  for draw in range(settings.draws):
    for budget in settings.budgets:
      for multiple in sorted({1.0, *settings.curve}):
        size = round(multiple * budget)
        runs[Planned(laboratory.CHANCE, budgets.TOKENS, size, draw)] = None
      for name in others:
        for equal in settings.equal:
          runs[Planned(name, equal, budget, draw)] = None
  return list(runs)


def had(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """What each arm was given and came to, in the mean over its draws.

  Args:
    lines: of `laboratory/runs.jsonl`, none of a run that failed.

  Returns:
    Of each arm, budget and equality, in the order of the lines: `arm`,
    `equal`, `budget`, `draws`, and the means of `MEANS`.

  >>> about = {"arm": "ila", "equal": "tokens", "budget": 100, "steps": 3}
  >>> both = [about | {"tokens": 90}, about | {"tokens": 100}]
  >>> others = dict.fromkeys(set(MEANS) - {"tokens", "steps"}, 1.0)
  >>> (found,) = had([line | others for line in both])
  >>> found["draws"], found["tokens"], found["steps"]
  (2, 95.0, 3.0)
  """
  of_arm: dict[tuple[str, int, str], list[Mapping[str, Any]]] = {}
  for line in lines:
    key = line["arm"], line["budget"], line["equal"]
    of_arm.setdefault(key, []).append(line)
  return [
    {
      **{"arm": arm, "equal": equal, "budget": budget, "draws": len(own)},
      **{name: statistics.fmean(one[name] for one in own) for name in MEANS},
    }
    for (arm, budget, equal), own in of_arm.items()
  ]


def groups(todo: Iterable[Planned], size: int) -> Iterator[list[Planned]]:
  """Splits runs into groups that can be trained side by side, in order.

  A run that takes as many steps as its random subset waits for that one.

  Args:
    todo: the runs.
    size: of a group, at most.

  >>> chance = Planned("random", "tokens", 9, 0)
  >>> todo = [chance] + [Planned("ila", one, 9, 0) for one in budgets.EQUAL]
  >>> [[run.equal for run in group] for group in groups(todo, 3)]
  [['tokens', 'tokens', 'examples'], ['steps', 'lengths']]
  """
  group: list[Planned] = []
  for one in todo:
    waits = one.equal == budgets.STEPS and one.chance in group
    if group and (waits or len(group) == size):
      yield group
      group = []
    group.append(one)
  if group:
    yield group
