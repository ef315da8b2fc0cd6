"""Conditions on candidates: what config.select.where says.

A condition is written as Python writes comparisons, and is no program: it is
read into a tree, of which every node is one of those below. What has no score
is neither chosen by `quality >= 4` nor by `not quality >= 4`.
"""

import ast
import dataclasses
import itertools
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

import numpy as np

from ila_jax import errors
from ila_jax.pool.scores import names as names_lib
from ila_jax.selection import verdicts

FIELD = "config.select.where"
TEXTS = ("domain", "source")
ALLOWED = (
  "names of scores and columns, numbers, texts in quotes, == != < <= > >=, in "
  f"and not in a list, and, or, not, parentheses, {names_lib.KNOWN}(NAME)"
)
_MAX_CHARACTERS, _DEPTH = 10_000, 50
_LISTS = ast.List, ast.Tuple, ast.Set
# As SQL and C write the words.
_SHOUTED = re.compile(r"\b(AND|OR|NOT|IN)\b|&&|\|\|")
_HINTS: dict[type, str] = {
  ast.BinOp: "For both of two write `and`, for one of them `or`",
  ast.Call: f"The one call that there is says {names_lib.KNOWN}(NAME)",
  ast.Attribute: "Give the field a name with --config.pool.fields.scores",
  ast.NamedExpr: "Write == for equal",
  ast.Constant: "Compare it with a column, as in domain in ['a', 'b']",
}


@dataclasses.dataclass(frozen=True)
class Condition:
  """A condition that was read, and the names that it reads."""

  text: str
  tree: ast.expr
  names: tuple[str, ...]

  def __call__(
    self, columns: Mapping[str, np.ndarray | verdicts.Text]
  ) -> verdicts.Verdict:
    """Tells for which rows it holds, and for which it does not.

    Args:
      columns: by name, those of `names` among them: numbers [n], NaN where
        there is none, or texts.

    >>> found = parse("1 <= quality < 4 or not known(quality)")(
    ...   {"quality": np.array([0.0, 3.0, np.nan], np.float32)})
    >>> found.holds.tolist(), found.fails.tolist()
    ([False, True, True], [True, False, False])
    """
    return verdicts.verdict(self.tree, columns)


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
      tree = ast.parse(_source(text), mode="eval").body
    _check(text, tree)
    named = [
      node.id
      for node in ast.walk(tree)
      if isinstance(node, ast.Name) and node.id != names_lib.KNOWN
    ]
  except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
    what = getattr(error, "msg", None) or str(error) or "it is nested too deep"
    what += "; equal is written =="
    if _SHOUTED.search(text):
      what += ", and the words are and, or, not, in, in small letters"
    raise errors.InputError(
      f"{FIELD} is {text[:200]!r}, which cannot be read ({what}); allowed: "
      f"{ALLOWED}, such as 'quality >= 4 and domain == \"math\"'."
    ) from None
  return Condition(text, tree, tuple(dict.fromkeys(named)))


def texts(condition: Condition) -> Iterator[tuple[str, str]]:
  """The texts that a condition compares columns with, and those columns.

  >>> list(texts(parse("domain in ['math', 'code'] or 'gsm8k' != source")))
  [('domain', 'math'), ('domain', 'code'), ('source', 'gsm8k')]
  """
  for node in ast.walk(condition.tree):
    if isinstance(node, ast.Compare):
      sides = [node.left, *node.comparators]
      (column, *_) = [one.id for one in sides if isinstance(one, ast.Name)]
      lists = [s.elts if isinstance(s, _LISTS) else [s] for s in sides]
      found = map(verdicts.value, itertools.chain.from_iterable(lists))
      yield from ((column, text) for text in found if isinstance(text, str))


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


def _source(text: str) -> str:
  """A condition in parentheses: it may have several lines."""
  return f"({text.strip()}\n)" if text.strip() else text


def _refuse(text: str, node: ast.AST, why: str = "") -> NoReturn:
  part = (ast.get_source_segment(_source(text), node) or "")[:80]
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
    if not is_list and type(operator) not in verdicts.ORDER:
      _refuse(text, node, "Write == for equal, and known(NAME) for not None")
    if is_list and not isinstance(right, _LISTS):
      _refuse(text, node, "What follows `in` is a list, such as ['a', 'b']")
    items = right.elts if is_list else [right]
    kinds = {_kind(text, one) for one in (left, *items)}
    if len(kinds) > 1:
      _refuse(text, node, _unlike([left, *items]))
    if kinds == {str} and not isinstance(
      operator, ast.In | ast.NotIn | ast.Eq | ast.NotEq
    ):
      _refuse(text, node, "Texts are equal or not, and none is greater")
    if is_list and any(isinstance(one, ast.Name) for one in items):
      _refuse(text, node, "A list holds numbers, or texts in quotes")
    if not any(isinstance(one, ast.Name) for one in (left, right)):
      _refuse(text, node, "It compares no score and no column")
    left = right


def _unlike(sides: Sequence[ast.expr]) -> str:
  """What to say where a number is compared with a text."""
  names = [one.id for one in sides if isinstance(one, ast.Name)]
  numbers = [name for name in names if name not in TEXTS]
  if len(numbers) < len(names) and numbers:
    return f"A text stands in quotes: '{numbers[0]}'"
  return (
    "A number, which has no quotes, is never equal to a text; "
    f"columns of texts are {' and '.join(TEXTS)}"
  )


def _kind(text: str, node: ast.expr) -> type:
  """Whether what is compared is a number, float, or a text, str."""
  if isinstance(node, ast.Name):
    return str if node.id in TEXTS else float
  value = verdicts.value(node)
  if value is None:
    is_none = isinstance(node, ast.Constant) and node.value is None
    why = f"Ask {names_lib.KNOWN}(NAME) whether there is a score"
    _refuse(text, node, why if is_none else "")
  return type(value)
