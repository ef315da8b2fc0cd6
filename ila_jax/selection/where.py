"""Conditions on candidates: what config.select.where says, and where it holds.

A condition is written as Python writes comparisons, and is no program: it is
read into a tree, of which every node is one of those below. What has no score
is neither chosen by `quality >= 4` nor by `not quality >= 4`.
"""

import ast
import dataclasses
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
from jaxtyping import Bool, Int

from ila_jax import errors
from ila_jax.pool.scores import names as names_lib

FIELD = "config.select.where"
TEXTS = ("domain", "source")
ALLOWED = (
  "names of scores and columns, numbers, texts in quotes, == != < <= > >=, in "
  f"and not in a list, and, or, not, parentheses, {names_lib.KNOWN}(NAME)"
)
_MAX_CHARACTERS, _DEPTH = 10_000, 50
_ORDER: dict[type, Callable[[Any, Any], Any]] = {
  ast.Eq: np.equal,
  ast.NotEq: np.not_equal,
  ast.Lt: np.less,
  ast.LtE: np.less_equal,
  ast.Gt: np.greater,
  ast.GtE: np.greater_equal,
}
_HINTS: dict[type, str] = {
  ast.BinOp: "For both of two write `and`, for one of them `or`",
  ast.Call: f"The one call that there is says {names_lib.KNOWN}(NAME)",
  ast.Attribute: "Give the field a name with --config.pool.fields.scores",
  ast.NamedExpr: "Write == for equal",
}


class Text(NamedTuple):
  """A column of texts: which of some names each row has."""

  names: np.ndarray
  number: Int[np.ndarray, " n"]


class Verdict(NamedTuple):
  """For which rows a condition holds; it may be open where a score is not."""

  holds: Bool[np.ndarray, " n"]
  fails: Bool[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Condition:
  """A condition that was read, and the names that it reads."""

  text: str
  tree: ast.expr
  names: tuple[str, ...]

  def __call__(self, columns: Mapping[str, np.ndarray | Text]) -> Verdict:
    """Tells for which rows it holds, and for which it does not.

    Args:
      columns: by name, those of `names` among them: numbers [n], NaN where
        there is none, or texts.

    >>> found = parse("1 <= quality < 4 or not known(quality)")(
    ...   {"quality": np.array([0.0, 3.0, np.nan], np.float32)})
    >>> found.holds.tolist(), found.fails.tolist()
    ([False, True, True], [True, False, False])
    """
    return _verdict(self.tree, columns)


def parse(text: str) -> Condition:
  """Reads a condition; what it is made of is checked, and runs nothing.

  Raises:
    errors.InputError: it is no condition, or holds what is not allowed.

  >>> parse("quality >= 4 and domain in ['math', 'code']").names
  ('quality', 'domain')
  """
  if len(text) > _MAX_CHARACTERS:
    raise errors.InputError(
      f"{FIELD} has {len(text):,} characters; allowed: up to "
      f"{_MAX_CHARACTERS:,}. Shorten it."
    )
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # Of backslashes in texts.
      tree = ast.parse(text.strip(), mode="eval").body
    _check(text, tree)
    named = [
      node.id
      for node in ast.walk(tree)
      if isinstance(node, ast.Name) and node.id != names_lib.KNOWN
    ]
  except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
    what = getattr(error, "msg", None) or str(error) or "it is nested too deep"
    raise errors.InputError(
      f"{FIELD} is {text[:200]!r}, which cannot be read ({what}; equal is "
      f"written ==); allowed: {ALLOWED}, such as 'quality >= 4 and domain == "
      '"math"\'.'
    ) from None
  return Condition(text, tree, tuple(dict.fromkeys(named)))


def check_names(
  names: Iterable[str],
  scores: Iterable[str],
  field: str,
  columns: Sequence[str] = names_lib.COLUMNS,
) -> None:
  """Checks that there are the scores or columns that a field names.

  Args:
    names: that it names.
    scores: of the run.
    field: of the config, for the message.
    columns: that it may name as well.

  Raises:
    errors.InputError: there is no such name; says those that there are.

  >>> check_names(["qualty"], ["quality"], FIELD)  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  ila_jax.errors.InputError: config.select.where names 'qualty'... 'quality'?
  """
  scores = list(scores)
  allowed = (*scores, *columns)
  for name in names:
    if name not in allowed:
      has = f"the scores {', '.join(scores)}" if scores else "no scores yet"
      also = f"; and the columns {', '.join(columns)}" if columns else ""
      raise errors.InputError(
        f"{field} names {name!r}, which is none of what there is: {has}{also}. "
        f"Name scores with --{names_lib.FIELD}."
        f"{errors.did_you_mean(name, allowed)}"
      )


def _refuse(text: str, node: ast.AST, why: str = "") -> NoReturn:
  part = (ast.get_source_segment(text.strip(), node) or "")[:80]
  hint = why or _HINTS.get(type(node), "")
  raise errors.InputError(
    f"{FIELD} is {text[:200]!r}, and {part!r} is not allowed in it; allowed: "
    f"{ALLOWED}." + (f" {hint}." if hint else "")
  )


def _check(text: str, node: ast.expr, depth: int = _DEPTH) -> None:
  """Refuses what is no condition, in this part of the tree or below."""
  if not depth:
    _refuse(text, node, "It is nested too deep")
  if isinstance(node, ast.Compare):
    _check_compared(text, node)
    return
  parts: list[ast.expr] = []
  if isinstance(node, ast.BoolOp):
    parts = node.values
  if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
    parts = [node.operand]
  for part in parts:
    _check(text, part, depth - 1)
  if isinstance(node, ast.Name):
    _refuse(text, node, f"Compare it with something, as in {node.id} > 0")
  if not parts and not _is_known(node):
    _refuse(text, node)


def _is_known(node: ast.expr) -> bool:
  """Whether this is `known(NAME)`."""
  return (
    isinstance(node, ast.Call)
    and isinstance(node.func, ast.Name)
    and node.func.id == names_lib.KNOWN
    and len(node.args) == 1
    and isinstance(node.args[0], ast.Name)
    and not node.keywords
  )


def _check_compared(text: str, node: ast.Compare) -> None:
  left = node.left
  for operator, right in zip(node.ops, node.comparators, strict=True):
    is_list = isinstance(operator, ast.In | ast.NotIn)
    if not is_list and type(operator) not in _ORDER:
      _refuse(text, node, "Write == for equal, and known(NAME) for not None")
    if is_list and not isinstance(right, ast.List | ast.Tuple | ast.Set):
      _refuse(text, node, "What follows `in` is a list, such as ['a', 'b']")
    items = right.elts if is_list else [right]
    kinds = {_kind(text, one) for one in (left, *items)}
    if len(kinds) > 1:
      _refuse(text, node, "A number and a text are never equal")
    if kinds == {str} and not isinstance(
      operator, ast.In | ast.NotIn | ast.Eq | ast.NotEq
    ):
      _refuse(text, node, "Texts are equal or not, and none is greater")
    if is_list and any(isinstance(one, ast.Name) for one in items):
      _refuse(text, node, "A list holds numbers, or texts in quotes")
    if not any(isinstance(one, ast.Name) for one in (left, right)):
      _refuse(text, node, "It compares no score and no column")
    left = right


def _kind(text: str, node: ast.expr) -> type:
  """Whether what is compared is a number, float, or a text, str."""
  if isinstance(node, ast.Name):
    return str if node.id in TEXTS else float
  value = _value(node)
  if value is None:
    _refuse(text, node)
  return type(value)


def _value(node: ast.expr) -> float | str | None:
  """The number or text that is written; None: neither, or beyond all numbers.

  Truths are 1 and 0, as scores are.
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


def _verdict(
  node: ast.expr, columns: Mapping[str, np.ndarray | Text]
) -> Verdict:
  if isinstance(node, ast.BoolOp):
    return _joined(
      [_verdict(value, columns) for value in node.values],
      every=isinstance(node.op, ast.And),
    )
  if isinstance(node, ast.UnaryOp):
    holds, fails = _verdict(node.operand, columns)
    return Verdict(fails, holds)
  if isinstance(node, ast.Call):
    known = _known(columns[node.args[0].id])
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


def _known(column: np.ndarray | Text) -> Bool[np.ndarray, " n"]:
  if isinstance(column, Text):
    return (column.names != "")[column.number]
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
    columns[one.id] if isinstance(one, ast.Name) else _value(one)
    for one in (left, right)
  ]
  known = np.logical_and.reduce(
    [_there(side) for side in sides if isinstance(side, np.ndarray | Text)]
  )
  same = _ORDER[type(operator)](*_alike(sides))
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
