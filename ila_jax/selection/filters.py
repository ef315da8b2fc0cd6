"""Which candidates config.select lets in, and which goes first among equals."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Bool, Float, Int

from ila_jax import errors
from ila_jax.pool import index
from ila_jax.pool.scores import names as names_lib
from ila_jax.run import progress
from ila_jax.score.signals import scores as scores_lib
from ila_jax.sections import selection
from ila_jax.selection import verdicts, where

TIE_BREAK = "config.select.tie_break"
# Columns that `landscape/cells.parquet` has, and others of the pool's index.
_OF_CELLS = ("depth", "relative_depth")
# Texts of the pool that a message shows.
_SHOWN = 8
_Column = np.ndarray | verdicts.Text


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


def asked(select: selection.Select) -> dict[str, list[str]]:
  """The scores that a selection reads, by the field that names them.

  Raises:
    errors.InputError: config.select.where is no condition.

  >>> asked(selection.Select(where="q > 1 and depth > 0", tie_break="r"))
  {'config.select.where': ['q'], 'config.select.tie_break': ['r']}
  """
  return {
    where.FIELD: scores(dataclasses.replace(select, tie_break="")),
    TIE_BREAK: scores(dataclasses.replace(select, where="")),
  }


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
      found[name] = verdicts.Text(held, number[row])
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
) -> tuple[Bool[np.ndarray, " n"], dict[str, int]]:
  """The candidates for which config.select.where holds; says how many.

  Args:
    workdir: of the run.
    select: the section of the config.
    cells: columns of the scored rows.
    candidate: which of them are candidates.
    say: gets a line.

  Returns:
    Those that are let in, and counts: of the candidates, of those for which it
    holds, and of those that lack a score that decides; {} without a condition.

  Raises:
    errors.InputError: it holds for none, or for fewer than the budget.
  """
  if not select.where.strip():
    return candidate, {}
  condition = where.parse(select.where)
  verdict = condition(_columns(workdir, cells, list(condition.names)))
  left = candidate & verdict.holds
  is_open = candidate & ~verdict.holds & ~verdict.fails
  told = f"holds for {left.sum():,} of {candidate.sum():,} candidates"
  told += _open(is_open)
  say(f"  {where.FIELD} {told}")
  _check_left(workdir, select, cells["row"][left], told)
  counted = {"candidates": candidate, "holds": left, "open": is_open}
  return left, {name: int(rows.sum()) for name, rows in counted.items()}


def check(
  workdir: epath.PathLike,
  select: selection.Select,
  row: Int[np.ndarray, " n"],
  *,
  depth: str = "",
  say: Callable[[str], object] = progress.say,
) -> None:
  """Refuses what cannot choose while only the pool and scores are there.

  What depth decides may come out either way, unless depth is a score.

  Args:
    workdir: of the run.
    select: the section of the config.
    row: of the candidates, as far as they are known.
    depth: the score that is depth; "": none is.
    say: gets a line for each thing that is told.

  Raises:
    errors.InputError: config.select.where can hold for none, or for fewer than
      the budget; or a candidate has no score that config.select.tie_break
      names.
  """
  condition = where.parse(select.where) if select.where.strip() else None
  names = condition.names if condition else ()
  unknown = np.full(len(row), np.nan, np.float32)
  cells = {"row": row, "depth": unknown, "relative_depth": unknown}
  free = np.ones(len(row), np.bool_)
  if depth:
    cells |= {"depth": scores_lib.read(workdir, [depth], row)[depth]}
    free = ~np.isnan(cells["depth"])
  sure = free
  if condition:
    verdict = condition(_columns(workdir, cells, list(names)))
    left, sure = free & ~verdict.fails, free & verdict.holds
    is_open = free & ~verdict.holds & ~verdict.fails
    may = set(names) & set(_OF_CELLS[bool(depth) :])
    left = left if may else sure
    told = f"{'may hold' if may else 'holds'} for {left.sum():,} of "
    told += f"{free.sum():,} candidates"
    told += "" if may else _open(is_open)
    absent = _absent(workdir, condition)
    _check_left(workdir, select, row[left], told, " ".join(absent))
    say(f"  {where.FIELD} {told}")
    for sentence in absent:
      say(f"  warning: {where.FIELD}: {sentence}")
  if select.tie_break not in _OF_CELLS:
    cells["id"] = index.column(workdir, "id")[row]
    ties(workdir, select, cells, sure)


def _open(rows: Bool[np.ndarray, " n"]) -> str:
  """Says for how many rows a condition is open, if it is for some."""
  count = int(rows.sum())
  return f"; for {count:,} it is open, for they have no score" if count else ""


def _check_left(
  workdir: epath.PathLike,
  select: selection.Select,
  row: Int[np.ndarray, " k"],
  told: str,
  why: str = "",
) -> None:
  """Checks that the rows for which a condition holds are enough.

  Raises:
    errors.InputError: there are none, or fewer than the budget.
  """
  tokens = int(index.column(workdir, "n_response_tokens")[row].sum())
  held = {"examples": len(row), "tokens": tokens}.get(select.unit, np.inf)
  if len(row) and select.budget <= held:
    return
  if len(row) and select.unit == "tokens":
    told += f", of {tokens:,} response tokens"
  remedy = "Lower the budget, or loosen" if len(row) else "Loosen"
  raise errors.InputError(
    f"{where.FIELD} is {select.where!r}, which {told}, and "
    f"config.select.budget is {select.budget:,.12g} {select.unit}. {why}"
    f"{' ' if why else ''}{remedy} the condition."
  )


def _absent(workdir: epath.PathLike, condition: where.Condition) -> list[str]:
  """Says which texts of a condition no example of the pool has."""
  found = []
  for column in where.TEXTS:
    if column not in condition.names:
      continue
    held, number = index.names(workdir, column)
    count = dict(zip(held.tolist(), np.bincount(number).tolist(), strict=True))
    if not any(count):
      found.append(
        f"No example has a {column}: name its field with "
        f"--config.pool.fields.{column}=FIELD."
      )
      continue
    wanted = [text for name, text in where.texts(condition) if name == column]
    common = sorted(filter(None, count), key=lambda text: -count[text])
    shown = [f"{text!r} ({count[text]:,})" for text in common[:_SHOWN]]
    shown += [f"{len(common) - _SHOWN:,} more"] if common[_SHOWN:] else []
    found += [
      f"No example has the {column} {text!r}; there are {', '.join(shown)}."
      f"{errors.did_you_mean(text, common)}"
      for text in dict.fromkeys(filter(None, wanted))
      if text not in count
    ]
  return found


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
