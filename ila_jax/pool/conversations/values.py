"""Values: whether a field holds anything, and what its text writes.

A text may write a number, a switch, a list or calls, or stand for nothing.

Tables write numbers and switches as texts, and a union of data sets has null
or blank fields beside those that are filled.
"""

import ast
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from ila_jax.pool import records

# A value nested deeper than that holds something.
_DEPTH = 8
# What stands between the items of a list in a text.
_BETWEEN = re.compile(r"[\[\](),;\s\"']")
_NUMBER = re.compile(r"[-+]?(\d+(?:\.\d*)?|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
# Texts that switch something on or off.
_SWITCHES = {
  **dict.fromkeys(("true", "yes", "on", "t", "y"), True),
  **dict.fromkeys(("false", "no", "off", "f", "n"), False),
}

# What annotators wrote where there was nothing, in whatever marks.
_NO_INPUT = re.compile(
  r"no ?inputs?(?: (?:is )?(?:required|needed|necessary|provided|given))?"
  r"|none|n/a|nan|not applicable",
  re.IGNORECASE,
)
_NO_RESPONSE = re.compile(
  r"<\s*no[\s_-]?(?:output|input|response|answer)\b[^<>]*>[\s.,!]*"
  r"|nooutput|noinput",
  re.IGNORECASE,
)


# Longer calls are not read as Python, which takes much memory.
_CALL_CHARACTERS = 1 << 16
_JSON_NAMES = {"true": True, "false": False, "null": None}


def is_no_input(text: str) -> bool:
  """Whether a text stands for an input that is not there.

  >>> is_no_input("<noinput>"), is_no_input("N/A"), is_no_input("No entry")
  (True, True, False)
  """
  words = re.sub(r"[^\w/]+|_", " ", text[:40]).strip()
  return len(text) < 40 and bool(_NO_INPUT.fullmatch(words))


def is_no_response(text: str) -> bool:
  """Whether a text stands for an answer that is not there.

  `None` and `N/A` may be answers.

  >>> is_no_response("<no output>"), is_no_response("None")
  (True, False)
  """
  return bool(_NO_RESPONSE.fullmatch(text.strip()))


def is_blank(value: Any, depth: int = _DEPTH) -> bool:
  """Whether a value is null, a blank text or NaN, or holds nothing but such.

  >>> is_blank(" "), is_blank({"text": [None, ""]}), is_blank(0)
  (True, True, False)
  """
  if isinstance(value, str):
    return not value or value.isspace()
  if value is None or value is records.MISSING:
    return True
  if isinstance(value, Mapping | list):
    held = value.values() if isinstance(value, Mapping) else value
    return depth > 0 and all(is_blank(item, depth - 1) for item in held)
  return value != value  # NaN is a table's empty cell.


def name(holder: Mapping[str, Any], names: Iterable[str]) -> str | None:
  """The first of some names that holds something; else the first there is.

  >>> name({"text": None, "value": "a"}, ("text", "value", "content"))
  'value'
  >>> name({"text": None}, ("text", "value")), name({}, ("text", "value"))
  ('text', None)
  """
  blank = None
  for candidate in names:
    if candidate in holder:
      if not is_blank(holder[candidate]):
        return candidate
      blank = candidate if blank is None else blank
  return blank


def first(holder: Mapping[str, Any], names: Iterable[str]) -> Any:
  """What the first of some fields holds that holds something; else None.

  >>> first({"from": "", "role": "user"}, ("from", "role"))
  'user'
  """
  found = name(holder, names)
  return None if found is None else holder[found]


def items(text: str) -> list[Any] | None:
  """The items of a list that a text writes; None: it writes no list.

  >>> items("[0, 1]"), items("0 1"), items("[x, 1]"), items("0.5")
  ([0, 1], ['0', '1'], ['x', '1'], None)
  """
  held = records.literal(text)
  if held is None:
    words = _BETWEEN.sub(" ", text).split()
    held = words if len(words) > 1 else None
  return held if isinstance(held, list) else None


def objects(texts: list[Any]) -> list[Any] | None:
  """The objects that the texts of a list write; None: not all of them do.

  >>> objects(['{"role": "user"}', "{'role': 'bot'}"]), objects(["{a}"])
  ([{'role': 'user'}, {'role': 'bot'}], None)
  """
  if not all(isinstance(t, str) and t.lstrip()[:1] == "{" for t in texts):
    return None
  held = [records.literal(text) for text in texts]
  return held if all(isinstance(item, Mapping) for item in held) else None


def number(value: Any) -> int | float | None:
  """The finite number that a value is or writes; whole ones as integers.

  >>> number("2.0"), number(" 1 "), number(0.5), number("two"), number(True)
  (2, 1, 0.5, None, None)
  """
  if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
    whole = value.strip().lstrip("+-").isdecimal()
    value = int(value) if whole and len(value) < 20 else float(value)
  if isinstance(value, bool) or not isinstance(value, int | float):
    return None
  if isinstance(value, float) and not math.isfinite(value):
    return None
  is_whole = isinstance(value, float) and value.is_integer()
  return int(value) if is_whole else value


def switch(value: Any) -> bool | None:
  """Whether a value says yes or no; None: it says neither.

  >>> switch("False"), switch("1.0"), switch(0), switch("maybe"), switch(3)
  (False, True, False, None, None)
  """
  if isinstance(value, str):
    value = _SWITCHES.get(value.strip().lower(), value)
  if isinstance(value, bool):
    return value
  held = number(value)
  return bool(held) if held in (0, 1) else None


def calls(text: str) -> list[Any] | None:
  """The calls that a text writes as Python does; None: it writes no such.

  Each stands in its own line, or all in a list; their arguments have names.

  >>> calls('get(city="Paris", days=[1, 2])')
  [{'name': 'get', 'arguments': {'city': 'Paris', 'days': [1, 2]}}]
  >>> calls("get the weather"), calls("get('Paris')")
  (None, None)
  """
  if len(text) > _CALL_CHARACTERS:
    return None
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # Of backslashes, in what is no Python.
      body = ast.parse(text.strip()).body
    lines = [line.value for line in body if isinstance(line, ast.Expr)]
    nodes = [node for held in lines for node in getattr(held, "elts", [held])]
    made = [*map(_call, nodes)] if len(lines) == len(body) else []
    json.dumps(made, allow_nan=False)
  except (SyntaxError, ValueError, TypeError, AttributeError):
    return None
  except (MemoryError, RecursionError):
    return None
  return made or None


def _call(node: Any) -> dict[str, Any]:
  """A call as an object; of anything else an error."""
  if isinstance(node, ast.Dict):  # It is an object already.
    return ast.literal_eval(node)
  name = ast.unparse(node.func)
  if node.args or not re.fullmatch(r"[\w.]+", name):
    raise ValueError(name)
  given = {k.arg: _JsonNames().visit(k.value) for k in node.keywords}
  if None in given:
    raise ValueError("**")
  return {
    "name": name,
    "arguments": {k: ast.literal_eval(held) for k, held in given.items()},
  }


class _JsonNames(ast.NodeTransformer):
  """Reads the names that JSON has as what they mean."""

  def visit_Name(self, node: ast.Name) -> ast.AST:
    known = node.id in _JSON_NAMES
    return ast.Constant(_JSON_NAMES[node.id]) if known else node
