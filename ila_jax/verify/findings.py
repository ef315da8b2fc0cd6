"""What was looked at in a run, what differs, and how that is told."""

import enum
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from ila_jax import errors

# Rows that are named one by one, and lines of one check that are shown.
_ROWS, _LINES = 5, 10


class State(enum.Enum):
  """What a check came to; the value is the word in the table."""

  WELL = "ok"
  DIFFERS = "differs"
  UNKNOWN = "not known"  # It could not be made, which is no good news.
  LEFT_OUT = "left out"  # Nobody asked for it, or its stage has not run.


class Check(NamedTuple):
  """One line of the table.

  Attributes:
    name: what is looked at, in a word or two.
    state: what it came to.
    looked: what was compared with what; or why nothing was.
    differs: each a file, rows of it, and what is wrong.
  """

  name: str
  state: State
  looked: str
  differs: tuple[str, ...] = ()


def made(name: str, looked: str, differs: Sequence[str]) -> Check:
  """A check that was made.

  >>> made("counts", "200 examples", []).state.value
  'ok'
  """
  state = State.DIFFERS if differs else State.WELL
  return Check(name, state, looked, tuple(differs))


def left_out(name: str, why: str) -> Check:
  """A check that nobody asked for, or whose stage has not run."""
  return Check(name, State.LEFT_OUT, why)


def unknown(name: str, error: errors.InputError) -> Check:
  """A check that could not be made: a file is damaged, a model is gone."""
  # A remedy that makes a stage anew stands under the files, once.
  why = str(error).partition(" Run again with its --workdir")[0]
  return Check(name, State.UNKNOWN, why)


def is_well(checks: Sequence[Check]) -> bool:
  """Whether nothing differs, and all that was asked for is known.

  >>> is_well([made("files", "", []), left_out("scores", "--no-scores")])
  True
  """
  return all(c.state in (State.WELL, State.LEFT_OUT) for c in checks)


def told(
  workdir: str, checks: Sequence[Check], notes: Sequence[str] = ()
) -> str:
  """The answer, the table, and what differs: lines for people.

  Args:
    workdir: of the run, as the user gave it.
    checks: in the order of the table.
    notes: what else is to be known before it is believed.

  >>> print(told("runs/a", [
  ...   made("files", "9 files", []),
  ...   made("counts", "200 examples", ["pool/counts.json: read is 3"])]))
  runs/a: 1 of 2 checks differ: counts
    files   ok       9 files
    counts  differs  200 examples
  What differs:
    pool/counts.json: read is 3
  """
  width = max(len(check.name) for check in checks)
  words = max(len(check.state.value) for check in checks)
  lines = [f"{workdir}: {_answer(checks)}", *notes]
  lines += [
    f"  {c.name:{width}}  {c.state.value:{words}}  {c.looked}".rstrip()
    for c in checks
  ]
  found = [check for check in checks if check.differs]
  if found:
    lines.append("What differs:")
  for check in found:
    lines += [f"  {line}" for line in check.differs[:_LINES]]
    more = len(check.differs) - _LINES
    if more > 0:
      lines.append(f"  and {more:,} more of {check.name}")
  return "\n".join(lines)


def _answer(checks: Sequence[Check]) -> str:
  made_ones = [c for c in checks if c.state is not State.LEFT_OUT]
  parts = []
  for state, verb in ((State.DIFFERS, "differ"), (State.UNKNOWN, "not known")):
    names = [c.name for c in made_ones if c.state is state]
    if names:
      of_all = f" of {len(made_ones)} checks" if not parts else ""
      parts.append(f"{len(names)}{of_all} {verb}: {', '.join(names)}")
  left = len(checks) - len(made_ones)
  if not parts:
    parts = [f"all is well in {len(made_ones)} checks"]
    if left:
      parts.append(f"{left} left out")
  return "; ".join(parts)


def rows_text(rows: Int[np.ndarray, " k"], what: str = "row") -> str:
  """Names rows of a table, the first few one by one.

  >>> rows_text(np.array([7]), "line"), rows_text(np.arange(8))
  ('line 7', 'rows 0, 1, 2, 3, 4 and 3 more')
  """
  shown = ", ".join(f"{row:,}" for row in rows[:_ROWS].tolist())
  more = f" and {len(rows) - _ROWS:,} more" if len(rows) > _ROWS else ""
  return f"{what}{'s' * (len(rows) > 1)} {shown}{more}"
