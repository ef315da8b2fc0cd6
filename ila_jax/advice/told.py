"""The advice in words, and as JSON."""

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

from ila_jax.advice import line

# Of a line of the terminal, and of the name of a line.
_COLUMNS, _WIDTH = 80, 15


@dataclasses.dataclass(frozen=True, kw_only=True)
class Advice:
  """What a run says of its selection before any tuning on it.

  Attributes:
    lines: the nine, in their order, of which the first is the predicted gain.
    calibration: how right such advice was; None: nothing was measured.
  """

  lines: tuple[line.Line, ...]
  calibration: line.Line | None = None

  @property
  def sentence(self) -> str:
    """The verdict in one sentence: to select, to take random, or not known."""
    return verdict(self.lines[0])


def verdict(first: line.Line) -> str:
  """What the predicted gain comes to.

  >>> verdict(line.Line(name="", verdict=line.OK, sentence="", number=0.05,
  ...   low=0.02, high=0.08, threshold=0.01))
  'Expected to help by 0.050 [0.020, 0.080] nats a token.'
  """
  if first.number is None or first.low is None or first.high is None:
    return first.sentence
  said = f"{first.number:.3f} [{first.low:.3f}, {first.high:.3f}] nats a token"
  said = said.replace("-", "−")
  if first.verdict == line.OK:
    return f"Expected to help by {said}."
  return f"Not expected to help: take random (predicted gain {said})."


def text(advice: Advice) -> str:
  """The verdict, and a block for each line.

  >>> one = line.unknown("junk", "nobody looked.")
  >>> print(text(Advice(lines=(one,))))
  Not known: nobody looked.
  <BLANKLINE>
  1 junk            not known
  """
  return "\n".join([_indented(advice.sentence, 0), "", *_blocks(advice)])


def _blocks(advice: Advice) -> Iterator[str]:
  for number, one in enumerate(advice.lines, 1):
    head = f"{number} {one.name:{_WIDTH}} {one.verdict}"
    said = quantity(one)
    yield f"{head:{_WIDTH + 13}} {said}".rstrip()
    if one.sentence != advice.sentence:
      yield _indented(one.sentence, 4)
    for part in str(one.detail.get("config", "")).splitlines():
      yield f"      {part}"
  if advice.calibration is not None:
    yield f"  {advice.calibration.name}"
    yield _indented(advice.calibration.sentence, 4)


def _indented(sentence: str, columns: int) -> str:
  """The sentence in lines of a terminal; what is to be typed is not cut."""
  return textwrap.fill(
    sentence,
    _COLUMNS,
    initial_indent=" " * columns,
    subsequent_indent=" " * columns,
    break_long_words=False,
    break_on_hyphens=False,
  )


def quantity(one: line.Line) -> str:
  """The number of a line beside its threshold; "": it is not known.

  >>> quantity(line.Line(name="", verdict="", sentence="", number=0.5,
  ...   threshold=(0.8, 1.25)))
  '0.5 (0.8 to 1.25)'
  """
  if one.number is None:
    return ""
  limit = one.threshold
  against = ""
  if isinstance(limit, tuple):
    against = f" ({limit[0]:g} to {limit[1]:g})"
  elif limit is not None:
    against = f" (threshold {limit:.3g})"
  return f"{one.number:.3g}{against}".replace("-", "−")


def plain(advice: Advice) -> dict[str, Any]:
  """The advice as a JSON value."""

  def of(one: line.Line) -> dict[str, Any]:
    return dataclasses.asdict(one)

  return {
    "verdict": advice.sentence,
    "helps": advice.lines[0].verdict,
    "lines": [of(one) for one in advice.lines],
    "calibration": advice.calibration and of(advice.calibration),
  }
