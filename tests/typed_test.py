"""Calls are checked: types by beartype, shapes by jaxtyping."""

import dataclasses
import gc
import weakref
from collections.abc import Callable, Iterator

import beartype
import jaxtyping
import numpy as np
import pytest
from jaxtyping import Float, PyTree

from ila_jax.compute import neighbours
from ila_jax.pool.shapes import fields
from tests.support import typed

_ERRORS = (
  beartype.roar.BeartypeCallHintViolation,
  jaxtyping.TypeCheckError,
)
_Row = Float[np.ndarray, " n"]


def _checked(function):
  return typed._checked(function, typechecker=beartype.beartype)


def _names(count: int, name: str = "") -> list[str]:
  return [name] * count if count < 9 else "many"


def _product(x: _Row, y: _Row | None = None) -> _Row:
  return x if y is None else x * y


@dataclasses.dataclass
class _Pair:
  name: str
  rows: tuple[_Row, _Row]


@dataclasses.dataclass(frozen=True)
class _Count:
  count: int


X, Y, HALF = np.ones(3, np.float32), np.ones(4, np.float32), np.ones(3, int)


@pytest.mark.parametrize(
  ("function", "good", "bad"),
  [
    (_names, [(1,), (2, "a")], [("a",), (1, 2), (9,)]),
    (_product, [(X,), (X, X), (Y, Y)], [(X, Y), (HALF,), (X[None],), (1,)]),
    (_Pair, [("a", (X, X))], [("a", (X, Y)), ("a", (X,)), (1, (X, X))]),
    (_Count, [(1,)], [("1",), (1.5,)]),
  ],
)
def test_what_is_not_of_its_type_is_refused(function, good, bad):
  checked = _checked(function)
  for arguments in good:
    checked(*arguments)
  for arguments in bad:
    with pytest.raises(_ERRORS):
      checked(*arguments)


@pytest.mark.parametrize(
  ("annotation", "needs"),
  [
    (int, False),
    (dict[str, list[int]] | None, False),
    (np.ndarray, False),
    (Callable[[int], str], False),
    (_Row, True),
    (list[_Row] | None, True),
    (PyTree, True),
    (dict[str, PyTree[int]], True),
    (Callable[[_Row], str], True),
    ("_Row", True),
    (list["_Row"], True),
  ],
)
def test_shapes_are_checked_where_there_are_some(annotation, needs):
  assert typed._needs_shapes(annotation) == needs


def test_what_says_nothing_costs_nothing():
  def says_nothing(x, y=1):
    return x + y

  def gives(x: int) -> Iterator[int]:
    yield x

  assert _checked(says_nothing) is says_nothing
  assert list(_checked(gives)(3)) == [3]
  with pytest.raises(_ERRORS):
    _checked(gives)("3")


@pytest.mark.parametrize("kind", [int, str])
def test_functions_within_functions_are_themselves_each_time(kind):
  def make(said, default=None):
    def within(x: kind, *, y: int = 1) -> str:
      """Says what it is given."""
      return said(x, y) if default is None else default

    return _checked(within)

  good, bad = (3, "3") if kind is int else ("3", 3)
  first, second = make(lambda x, y: f"{x}{y}"), make(lambda x, y: f"{y}{x}")
  assert first(good) == "31"
  assert second(good, y=2) == "23"
  assert make(None, default="d")(good) == "d"
  for function in (first, second, make(str, default=3)):
    assert function.__doc__ == "Says what it is given."
    with pytest.raises(_ERRORS, match="within"):
      function(bad)
  with pytest.raises(_ERRORS):
    second(good, y="1")
  with pytest.raises(_ERRORS):
    make(None, default=3)(good)


def test_what_is_within_a_function_is_not_kept_alive():
  class Held:
    pass

  def make(held):
    def within(x: int) -> int:
      return x if held else 0

    return _checked(within)

  held = Held()
  gone = weakref.ref(held)
  assert make(held)(3) == 3
  del held
  gc.collect()
  assert gone() is None


def test_the_package_is_checked():
  with pytest.raises(_ERRORS):
    fields.check_names(3, where="here")
  with pytest.raises(_ERRORS):
    neighbours.nearest(X[:, None], np.ones((4, 2), np.float32), k=1)
