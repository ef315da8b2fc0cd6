"""Section `select`: which examples, and how many."""

import dataclasses
from typing import Any

from ila_jax.sections import checked, data, ranges

_METHODS = "methods.table.METHODS"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Select(checked.Checked):
  """Which examples, and how many."""

  strategy: str = checked.field(
    "ila", "the method that selects", choices=_METHODS
  )
  budget: float = checked.field(
    5000.0,
    "how much, in select.unit",
    low=0,
    high=1e15,  # Also of tokens.
    above=True,
  )
  unit: str = checked.field(
    "examples",
    "unit of the budget: examples, tokens of responses, or a fraction of the "
    "candidates",
    choices="selection.budget.UNITS",
  )
  options: dict[str, Any] = checked.field(
    {}, "by method and field: those of the chosen one, and of its rivals"
  )
  drop_duplicates: bool = checked.field(
    False, "of near-duplicates only the one with the lowest id stays"
  )
  exclude_near_reference: float | None = checked.field(
    None,
    "cosine to R from which on a candidate is left out; None: none is",
    **ranges.PART,
  )
  exclude_near_evaluation: float | None = checked.field(
    None,
    "cosine to a prompt of pool.decontaminate from which on a candidate is "
    "left out; None: none is",
    **ranges.PART,
  )
  target: str | tuple[str, ...] = checked.field(
    (),
    "examples of what the model shall be good at, named as in pool.source: for "
    "methods that want them, and for cell_weight",
    path=checked.BESIDE,
  )
  cell_weight: float | str = checked.field(
    0.0,
    "how the cells share the budget: by (number of their candidates) to this "
    "power, so alike with 0, as published, and by their sizes with 1; or by "
    "the 'target' examples in them",
    low=0,
    high=1,
    choices="landscape.ordering.CELL_WEIGHTS",
  )
  where: str = checked.field(
    "",
    "which candidates may be chosen, such as 'quality >= 4 and domain == "
    "\"math\"'; '': all",
    changes=checked.ELSEWHERE,
  )
  tie_break: str = checked.field(
    "",
    "the number that decides among equals, the greater first; '': the id",
    changes=checked.ELSEWHERE,
  )
  compare: tuple[str, ...] = checked.field(
    ("random", "longest", "depth_only", "coverage_only"),
    "methods that the selection is compared with",
    choices=_METHODS,
  )

  @property
  def targets(self) -> tuple[str, ...]:
    """The sources of the target set, also when there is only one."""
    return data.several(self.target)

  def examples(
    self, *, candidates: float | int, response: float | int
  ) -> float | int:
    """About how many examples the budget buys, before any order is known.

    Args:
      candidates: of the pool.
      response: tokens of a response, in the mean.

    >>> half = Select(budget=0.5, unit="fraction")
    >>> half.examples(candidates=30, response=8)
    15.0
    >>> Select(budget=80.0, unit="tokens").examples(candidates=30, response=8)
    10.0
    """
    if self.unit == "fraction":
      return self.budget * candidates
    return self.budget / response if self.unit == "tokens" else self.budget
