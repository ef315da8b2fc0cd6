"""What the base is tuned on: the selection, and its rivals at equal budgets."""

from collections.abc import Iterable
from typing import NamedTuple

# A rival has as many examples as the selection, or as many response tokens.
EQUAL = ("examples", "tokens")


class Arm(NamedTuple):
  """A subset to tune on.

  Attributes:
    name: of its model and its lines.
    strategy: the method that chose it.
    equal: what it has as much of as the selection: one of `EQUAL`;
      "selection" where it is that.
  """

  name: str
  strategy: str
  equal: str


def arms(strategy: str, rivals: Iterable[str]) -> list[Arm]:
  """The selection first, then each rival at each equal budget.

  >>> [arm.name for arm in arms("ila", ["random"])]
  ['ila', 'random-equal-examples', 'random-equal-tokens']
  """
  return [
    Arm(strategy, strategy, "selection"),
    *(
      Arm(f"{rival}-equal-{equal}", rival, equal)
      for rival in rivals
      for equal in EQUAL
    ),
  ]
