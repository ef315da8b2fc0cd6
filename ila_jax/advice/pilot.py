"""The pilot: a few hundred examples tuned on before the budget is spent."""

import dataclasses
from typing import Any

from ila_jax.advice import line
from ila_jax.sections import laboratory

EXAMPLES = 250
DRAWS = 3
# The arm of the pilot.
ARM = "chosen"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pilot:
  """A laboratory of one arm beside chance.

  Attributes:
    settings: of config.laboratory, by field.
    examples: of a subset.
  """

  settings: dict[str, Any]
  examples: int

  def text(self) -> str:
    """The lines of a config that ask for it.

    >>> pilot = plan({"strategy": "ila"}, mean_tokens=40.0, candidates=900)
    >>> pilot.text().splitlines()[0]
    "config.laboratory.arms = {'chosen': {'strategy': 'ila'}}"
    """
    return "\n".join(
      f"config.laboratory.{name} = {value!r}"
      for name, value in self.settings.items()
    )


def plan(
  arm: dict[str, Any], *, mean_tokens: float, candidates: int
) -> Pilot | None:
  """The pilot of a run; None where a draw holds too few candidates.

  Args:
    arm: what config.select has of strategy, options and cell_weight.
    mean_tokens: of the candidates' responses.
    candidates: how many there are.
  """
  settings = {
    "arms": {ARM: arm},
    "rivals": ("random",),
    "draws": DRAWS,
    "budgets": (round(EXAMPLES * mean_tokens),),
    "equal": ("tokens", "examples"),
    "curve": (1.0,),
  }
  # A draw holds 0.8 of the candidates.
  if candidates < 2 * EXAMPLES:
    return None
  return Pilot(settings=settings, examples=EXAMPLES)


def told(pilot: Pilot | None, *, candidates: int, strategy: str) -> line.Line:
  """The line of a pilot: what it would tell, and how it is run.

  Args:
    pilot: from `plan`.
    candidates: how many there are.
    strategy: that the run selects by.
  """
  name = "pilot"
  if strategy == laboratory.CHANCE:
    return line.unknown(
      name,
      "this run selects by chance, which a pilot would compare with. Name "
      "another `--config.select.strategy`.",
    )
  if pilot is None:
    return line.unknown(
      name,
      f"the pool has {candidates:,} candidates, and a pilot of {EXAMPLES} "
      f"random against {EXAMPLES} chosen examples wants {2 * EXAMPLES:,}.",
      threshold=float(2 * EXAMPLES),
    )
  return line.Line(
    name=name,
    verdict=line.OK,
    sentence=(
      f"{EXAMPLES} random against {EXAMPLES} chosen examples, {DRAWS} draws: "
      "put these lines at the end of get_config() in the config of this run, "
      "and run its command again with `--stages=laboratory` at its end; then "
      "`ila advise` tells whether this advice was right."
    ),
    number=float(EXAMPLES),
    detail={
      "draws": DRAWS,
      "config": pilot.text(),
      "command": "--stages=laboratory",
    },
  )
