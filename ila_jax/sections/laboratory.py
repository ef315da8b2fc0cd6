"""Section `laboratory`: methods beside each other, over budgets and draws."""

import dataclasses
from typing import Any

from ila_jax import errors
from ila_jax.sections import checked, data, ranges, selection

# The arm that all others are measured by; it is always there.
CHANCE = "random"
# What an arm may set: the budget is the laboratory's, and filters hold for all.
FIELDS = ("strategy", "options", "cell_weight")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Laboratory(checked.Checked):
  """Each arm chooses and is tuned on, as often as an interval needs."""

  arms: dict[str, dict[str, Any]] = checked.field(
    {},
    "{name: fields of select that differ from this run's}, beside 'random', "
    "which is always there; {}: the stage trains nothing",
  )
  rivals: tuple[str, ...] = checked.field(
    ("random",), "arms that each other arm is measured against"
  )
  draws: int = checked.field(
    8,
    "draws of the candidates; each arm chooses from each of them",
    low=2,
    high=1000,
  )
  draw_share: float = checked.field(
    0.8, "share of the candidates in a draw", **ranges.PART
  )
  budgets: tuple[int, ...] = checked.field(
    (32_000, 64_000), "response tokens of a subset", **ranges.EXAMPLES
  )
  equal: tuple[str, ...] = checked.field(
    ("tokens", "examples", "steps", "lengths"),
    "what an arm has as much of as the random subset of its draw",
    choices="laboratory.budgets.EQUAL",
  )
  curve: tuple[float, ...] = checked.field(
    (0.5, 1.0, 2.0, 4.0),
    "multiples of each budget at which random is tuned, too: they turn a gain "
    "into a multiple of the data",
    low=0,
    high=1000,
    above=True,
  )
  dev: str | tuple[str, ...] = checked.field(
    (),
    "examples that judge, named as in pool.source; (): those of the pool that "
    "are held out",
    path=checked.BESIDE,
  )
  dev_half: str = checked.field(
    "first",
    "which half of these examples judges: one to tune by, and one that "
    "is opened once, to confirm",
    choices="laboratory.estimates.HALVES",
  )
  resamples: int = checked.field(
    10_000, "resamples of the bootstrap", low=100, high=10**6
  )

  @property
  def dev_sources(self) -> tuple[str, ...]:
    """The sources of the dev set, also when there is only one."""
    return data.several(self.dev)

  def choices(self, select: selection.Select) -> dict[str, selection.Select]:
    """What each arm selects by, the arm of chance first.

    Args:
      select: of the run; an arm has of it what it does not set.

    Raises:
      errors.InputError: an arm that is no section, sets what is not its own,
        or is not allowed.

    >>> laboratory = Laboratory(arms={"covered": {"strategy": "coverage_only"}})
    >>> made = laboratory.choices(selection.Select(strategy="ila"))
    >>> {name: one.strategy for name, one in made.items()}
    {'random': 'random', 'covered': 'coverage_only'}
    """
    plain = {"strategy": CHANCE, "cell_weight": selection.Select().cell_weight}
    arms = {CHANCE: plain} | self.arms
    return {name: _choice(name, arm, select) for name, arm in arms.items()}


def _choice(
  name: str, values: Any, select: selection.Select
) -> selection.Select:
  place = f"config.laboratory.arms.{name}"
  if not isinstance(values, dict) or set(values) - set(FIELDS):
    raise errors.InputError(
      f"{place} is {values!r}; allowed: a section with some of "
      f"{', '.join(FIELDS)}, such as {{'strategy': 'ila'}}."
    )
  if name == CHANCE and values.get("strategy") != CHANCE:
    raise errors.InputError(
      f"{place} is {values!r}; allowed: {CHANCE!r} is the arm of chance, and "
      "always there. Give this arm another name."
    )
  if not (name.isascii() and name.replace("_", "").isalnum()):
    raise errors.InputError(
      f"{place}: {name!r} is no name of an arm; allowed: letters, digits and "
      "_, for files are named by it."
    )
  own = checked.build(selection.Select, values, place)
  named = {field: getattr(own, field) for field in values}
  return dataclasses.replace(select, **named)
