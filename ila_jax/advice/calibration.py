"""How often the advice was right: predictions beside measured gaps.

docs/method.md 22. A gain is what a selection takes from the micro dev loss
beyond random; the laboratory's gaps have the other sign.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ila_jax.advice import line

# So many of the predicted intervals, which are of 90 %, should hold.
HOLDS = 0.9


class Case(NamedTuple):
  """One prediction, and what was measured.

  Attributes:
    name: arm, equality and budget.
    predicted: value, low and high of the gain, and the threshold of its lower
      end.
    measured: value, low and high of the gain.
  """

  name: str
  predicted: Mapping[str, float]
  measured: Mapping[str, float]

  @property
  def holds(self) -> bool:
    """Whether the predicted interval holds the measured gain."""
    low, high = self.predicted["low"], self.predicted["high"]
    return low <= self.measured["value"] <= high

  @property
  def overlaps(self) -> bool:
    """Whether both intervals share a gain: the measured one errs, too."""
    ours, theirs = self.predicted, self.measured
    return ours["low"] <= theirs["high"] and theirs["low"] <= ours["high"]

  @property
  def same_sign(self) -> bool:
    """Whether the gain is on the side of 0 on which it was predicted."""
    return self.predicted["value"] * self.measured["value"] > 0

  @property
  def is_shown(self) -> bool:
    """Whether the laboratory has shown a side: its interval leaves 0 out."""
    return self.measured["low"] > 0 or self.measured["high"] < 0

  @property
  def said_helps(self) -> bool:
    """Whether the advice was to select."""
    return self.predicted["low"] >= self.predicted["threshold"]

  @property
  def helps(self) -> bool:
    """Whether the selection was shown to be better than random."""
    return self.measured["low"] > 0


def cases(
  contrasts: Sequence[Mapping[str, Any]],
  predictions: Mapping[tuple[str, str, int], Mapping[str, float]],
  *,
  rival: str,
) -> list[Case]:
  """Predictions and measured gains of the same arm, equality and budget.

  Args:
    contrasts: as `laboratory.contrasts.contrasts` returns them.
    predictions: value, low, high and threshold by arm, equality and budget.
    rival: name of the arm of chance.

  >>> gap = {"value": -0.04, "low": -0.06, "high": -0.02}
  >>> contrast = {"arm": "a", "rival": "random", "equal": "tokens",
  ...   "budget": 9, "micro": gap}
  >>> told = {"value": 0.03, "low": 0.01, "high": 0.05, "threshold": 0.01}
  >>> (case,) = cases([contrast], {("a", "tokens", 9): told}, rival="random")
  >>> case.measured, case.holds, case.helps
  ({'value': 0.04, 'low': 0.02, 'high': 0.06}, True, True)
  """
  found = []
  for one in contrasts:
    key = one["arm"], one["equal"], one["budget"]
    if one["rival"] != rival or key not in predictions:
      continue
    gap = one["micro"]
    gain = {
      "value": -gap["value"],
      "low": -gap["high"],
      "high": -gap["low"],
    }
    name = f"{one['arm']}, equal {one['equal']}, {one['budget']:,} tokens"
    found.append(Case(name, predictions[key], gain))
  return found


def summary(found: Sequence[Case]) -> dict[str, Any]:
  """Counts over some cases, and each of them, as JSON values.

  Returns:
    `cases`; `holds`, of how many the predicted interval holds the measured
    gain; `overlaps`, of how many it meets the measured interval; `same_sign`;
    `shown`, of how many the laboratory has shown a side; `right`, for how many
    of these the advice "helps" or "does not" was that; `false_help`:
    said to help, and not shown to; `missed`: shown to help, and not said to;
    and `each`.
  """
  return {
    "cases": len(found),
    "holds": sum(one.holds for one in found),
    "overlaps": sum(one.overlaps for one in found),
    "same_sign": sum(one.same_sign for one in found),
    "shown": sum(one.is_shown for one in found),
    "right": sum(one.is_shown and one.said_helps == one.helps for one in found),
    "false_help": sum(one.said_helps and not one.helps for one in found),
    "missed": sum(one.helps and not one.said_helps for one in found),
    "each": [
      {
        "name": one.name,
        "predicted": dict(one.predicted),
        "measured": dict(one.measured),
        "holds": one.holds,
        "overlaps": one.overlaps,
      }
      for one in found
    ],
  }


def told(found: Sequence[Case]) -> line.Line:
  """The calibration in a line; its number is the share of intervals that hold.

  The predicted intervals are of 90 %, so that about nine of ten should hold.
  """
  name = "calibration"
  counts = summary(found)
  many = counts["cases"]
  if not many:
    return line.unknown(
      name,
      "the laboratory of this run has no arm whose tokens by domain are known.",
    )
  share = counts["holds"] / many
  is_good = counts["right"] == counts["shown"] and share >= HOLDS
  return line.Line(
    name=name,
    verdict=line.OK if is_good else line.CAUTION,
    sentence=(
      f"Of {many} gaps that the laboratory measured, the predicted interval "
      f"holds {counts['holds']} and meets the measured interval of "
      f"{counts['overlaps']}, and the sign was right in "
      f"{counts['same_sign']}. Of {counts['shown']} that were shown to be on "
      f"one side of 0 the advice was right in {counts['right']} "
      f"({counts['false_help']} said to help and not shown to, "
      f"{counts['missed']} shown to help and not said to)."
    ),
    number=share,
    threshold=HOLDS,
    detail=counts,
  )
