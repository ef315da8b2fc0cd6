"""Where a condition on candidates holds, once it was read and checked.

A comparison with what has no score is open: neither it nor its `not` holds.
"""

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from ila_jax.pool.scores import names as names_lib

# The comparisons of numbers; texts have the first two.
ORDER: dict[type, Callable[[Any, Any], Any]] = {
  ast.Eq: np.equal,
  ast.NotEq: np.not_equal,
  ast.Lt: np.less,
  ast.LtE: np.less_equal,
  ast.Gt: np.greater,
  ast.GtE: np.greater_equal,
}


class Text(NamedTuple):
  """A column of texts: which of some names each row has."""

  names: np.ndarray
  number: Int[np.ndarray, " n"]


class Verdict(NamedTuple):
  """For which rows a condition holds; it may be open where a score is not."""

  holds: Bool[np.ndarray, " n"]
  fails: Bool[np.ndarray, " n"]


def value(node: ast.expr) -> float | str | None:
  """The number or text that is written; None: neither, or beyond all numbers.

  Truths are 1 and 0, as scores are.

  >>> [value(ast.parse(text, mode="eval").body) for text in ("-2", "'a'", "b")]
  [-2.0, 'a', None]
  """
  sign = 1.0
  if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
    sign = -1.0 if isinstance(node.op, ast.USub) else 1.0
    node = node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
      return None
  if not isinstance(node, ast.Constant):
    return None
  if isinstance(node.value, str):
    return node.value
  if not isinstance(node.value, int | float):
    return None
  try:
    number = sign * float(node.value)
  except OverflowError:
    return None
  return number if math.isfinite(number) else None


def verdict(
  node: ast.expr, columns: Mapping[str, np.ndarray | Text]
) -> Verdict:
  """Tells for which rows a condition that was checked holds.

  >>> tree = ast.parse("q > 1 or q == 0", mode="eval").body
  >>> verdict(tree, {"q": np.float32([0, 1, 2, np.nan])}).holds.tolist()
  [True, False, True, False]
  """
  if isinstance(node, ast.BoolOp):
    return _joined(
      [verdict(part, columns) for part in node.values],
      every=isinstance(node.op, ast.And),
    )
  if isinstance(node, ast.UnaryOp):
    holds, fails = verdict(node.operand, columns)
    return Verdict(fails, holds)
  if isinstance(node, ast.Call):
    known = _known(node.args[0].id, columns)
    return Verdict(known, ~known)
  left, pairs = node.left, []
  for operator, right in zip(node.ops, node.comparators, strict=True):
    pairs.append(_compared(left, operator, right, columns))
    left = right
  return _joined(pairs, every=True)


def _joined(verdicts: list[Verdict], *, every: bool) -> Verdict:
  """All of them, or any: open where those that are known do not decide."""
  holds, fails = zip(*verdicts, strict=True)
  if every:
    return Verdict(np.logical_and.reduce(holds), np.logical_or.reduce(fails))
  return Verdict(np.logical_or.reduce(holds), np.logical_and.reduce(fails))


def _known(
  name: str, columns: Mapping[str, np.ndarray | Text]
) -> Bool[np.ndarray, " n"]:
  """Rows that have it; all that may be chosen have what a run computes."""
  column = columns[name]
  if isinstance(column, Text):
    return (column.names != "")[column.number]
  if name in names_lib.COLUMNS:
    return np.ones(len(column), np.bool_)
  return ~np.isnan(column)


def _compared(
  left: ast.expr,
  operator: ast.cmpop,
  right: ast.expr,
  columns: Mapping[str, np.ndarray | Text],
) -> Verdict:
  """One comparison; it is open where a number is not known."""
  if isinstance(operator, ast.In | ast.NotIn):
    equal = [
      _compared(left, ast.Eq(), item, columns) for item in right.elts
    ] or [_nowhere(columns[left.id])]
    found = _joined(equal, every=False)
    is_in = isinstance(operator, ast.In)
    return found if is_in else Verdict(found.fails, found.holds)
  sides = [
    columns[one.id] if isinstance(one, ast.Name) else value(one)
    for one in (left, right)
  ]
  known = np.logical_and.reduce(
    [_there(side) for side in sides if isinstance(side, np.ndarray | Text)]
  )
  same = ORDER[type(operator)](*_alike(sides))
  return Verdict(known & same, known & ~same)


def _nowhere(column: np.ndarray | Text) -> Verdict:
  """What is in an empty list: nothing."""
  there = _there(column)
  return Verdict(np.zeros_like(there), there)


def _there(column: np.ndarray | Text) -> Bool[np.ndarray, " n"]:
  """Rows that can be compared: without a domain a text is '', which is one."""
  if isinstance(column, Text):
    return np.ones(len(column.number), np.bool_)
  return ~np.isnan(column)


def _alike(sides: list[Any]) -> list[np.ndarray]:
  """Both sides as arrays of one kind: 4.7 is what float32 makes of it."""
  if any(isinstance(side, Text) for side in sides):
    return [
      side.names[side.number] if isinstance(side, Text) else np.array(side)
      for side in sides
    ]
  kinds = {side.dtype for side in sides if isinstance(side, np.ndarray)}
  kind = np.float32 if kinds == {np.dtype(np.float32)} else np.float64
  with np.errstate(over="ignore"):  # Beyond float32 is infinite.
    return [np.asarray(side, kind) for side in sides]
