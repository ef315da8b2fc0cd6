"""One line of the advice: a number beside its threshold, and what it means."""

import dataclasses
from collections.abc import Sequence
from typing import Any

# What a line says: nothing speaks against the selection; something does; or
# it cannot be told from what the run has made.
OK, CAUTION, UNKNOWN = "ok", "caution", "not known"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
  """What one look at a run has found.

  Attributes:
    name: what was looked at, in a word or two.
    verdict: `OK`, `CAUTION` or `UNKNOWN`.
    sentence: the finding, its reason, and what to do, in words.
    number: what was measured; None where it is not known.
    low: lower end of its 90 % interval; None where it has none.
    high: the upper end.
    threshold: what it is held against: a number, or the two ends of a range.
    detail: more numbers by name, as JSON values.
  """

  name: str
  verdict: str
  sentence: str
  number: float | None = None
  low: float | None = None
  high: float | None = None
  threshold: float | tuple[float, float] | None = None
  detail: dict[str, Any] = dataclasses.field(default_factory=dict)


def unknown(
  name: str,
  why: str,
  *,
  threshold: float | tuple[float, float] | None = None,
) -> Line:
  """A line whose number is not known.

  Args:
    name: of the line.
    why: the reason, and what would make it known.
    threshold: what the number would be held against.

  >>> unknown("junk", "nothing was scored.").sentence
  'Not known: nothing was scored.'
  """
  return Line(
    name=name,
    verdict=UNKNOWN,
    sentence=f"Not known: {why}",
    threshold=threshold,
  )


def join(names: list[str], *, most: int = 6) -> str:
  """Names in one sentence, the first of many.

  >>> join(["a", "b"]), join(["a", "b", "c"], most=2)
  ('a, b', 'a, b and 1 more')
  """
  more = len(names) - most
  return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def by_rival(method: str, rivals: Sequence[str]) -> str:
  """How what a method needs is made without selecting by it.

  Args:
    method: that needs it.
    rivals: config.select.compare of the run.

  >>> by_rival("specific", ["random"])[-66:]
  '--config.select.compare=random,specific --redo=select` at its end.'
  """
  compare = ",".join(dict.fromkeys([*rivals, method]))
  return (
    f"`{method}` among the rivals asks for that: run the command of this run "
    f"again with `--stages=select --config.select.compare={compare} "
    "--redo=select` at its end."
  )
