"""Which candidates config.select lets in, and which goes first among equals."""

from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Bool, Float

from ila_jax import errors
from ila_jax.pool import index
from ila_jax.pool.scores import names as names_lib
from ila_jax.run import progress
from ila_jax.score.signals import scores as scores_lib
from ila_jax.sections import selection
from ila_jax.selection import where

TIE_BREAK = "config.select.tie_break"
# Columns that `landscape/cells.parquet` has, and others of the pool's index.
_OF_CELLS = ("depth", "relative_depth")
_Column = np.ndarray | where.Text


def scores(select: selection.Select) -> list[str]:
  """The scores that a selection reads, columns of the run left out.

  Raises:
    errors.InputError: config.select.where is no condition.

  >>> scores(selection.Select(where="q > 1 and depth > 0", tie_break="r"))
  ['q', 'r']
  """
  named = where.parse(select.where).names if select.where.strip() else ()
  named = (*named, *([select.tie_break] if select.tie_break else ()))
  return [n for n in dict.fromkeys(named) if n not in names_lib.COLUMNS]


def made_from(
  workdir: epath.PathLike, select: selection.Select
) -> dict[str, Any]:
  """What decides beside the method: {} where nothing does, as by default.

  Raises:
    errors.InputError: no such score.
  """
  settings = {"where": select.where.strip(), "tie_break": select.tie_break}
  made: dict[str, Any] = {k: v for k, v in settings.items() if v}
  named = scores(select)
  if named:
    made["scores"] = scores_lib.hashes(workdir, named)
  return made


def _columns(
  workdir: epath.PathLike, cells: dict[str, np.ndarray], names: list[str]
) -> dict[str, _Column]:
  """Columns and scores of the rows of `cells`, by name."""
  row = cells["row"]
  found: dict[str, _Column] = {}
  for name in names:
    if name in _OF_CELLS:
      found[name] = cells[name]
    elif name in where.TEXTS:
      held, number = index.names(workdir, name)
      found[name] = where.Text(held, number[row])
    elif name in names_lib.COLUMNS:
      found[name] = index.column(workdir, name)[row]
  own = [name for name in names if name not in names_lib.COLUMNS]
  return found | scores_lib.read(workdir, own, row)


def kept(
  workdir: epath.PathLike,
  select: selection.Select,
  cells: dict[str, np.ndarray],
  candidate: Bool[np.ndarray, " n"],
  say: Callable[[str], object] = progress.say,
) -> Bool[np.ndarray, " n"]:
  """The candidates for which config.select.where holds; says how many.

  Args:
    workdir: of the run.
    select: the section of the config.
    cells: columns of the scored rows.
    candidate: which of them are candidates.
    say: gets a line.

  Raises:
    errors.InputError: it holds for none, or for fewer than the budget.
  """
  if not select.where.strip():
    return candidate
  condition = where.parse(select.where)
  verdict = condition(_columns(workdir, cells, list(condition.names)))
  left = candidate & verdict.holds
  count, before = int(left.sum()), int(candidate.sum())
  unknown = int((candidate & ~verdict.holds & ~verdict.fails).sum())
  told = f"holds for {count:,} of {before:,} candidates"
  if unknown:
    told += f"; for {unknown:,} it is open, for they have no score"
  say(f"  {where.FIELD} {told}")
  short = select.unit == "examples" and count < select.budget
  if short or not count:
    remedy = "Lower the budget, or ask for less" if count else "Ask for less"
    raise errors.InputError(
      f"{where.FIELD} is {select.where!r}, which {told}, and "
      f"config.select.budget is {select.budget:g} {select.unit}. {remedy}."
    )
  return left


def ties(
  workdir: epath.PathLike,
  select: selection.Select,
  cells: dict[str, np.ndarray],
  candidate: Bool[np.ndarray, " n"],
) -> Float[np.ndarray, " n"] | None:
  """What decides among equals, the greater first; None: their ids alone.

  Raises:
    errors.InputError: a candidate has no such score.
  """
  name = select.tie_break
  if not name:
    return None
  values = _columns(workdir, cells, [name])[name]
  lacks = candidate & np.isnan(values)
  if lacks.any():
    first = int(np.flatnonzero(lacks)[0])
    raise errors.InputError(
      f"{TIE_BREAK} is {name!r}, and {lacks.sum():,} of {candidate.sum():,} "
      f"candidates have no such score (the first is row "
      f"{cells['row'][first]:,} of the pool, id {cells['id'][first]:016x}); "
      "allowed: a score that all have. Leave the others out with "
      f"--{where.FIELD}='{names_lib.KNOWN}({name})'."
    )
  return values.astype(np.float64)
