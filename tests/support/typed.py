"""Types and shapes of every call, checked for as little as each can cost.

jaxtyping's decorator prepares two checkers a function and remembers shapes at
each call, also where no argument has one; functions within functions pay for
the former whenever they are made. Here only what has arrays is left to it: all
other types are checked by beartype alone, which is what jaxtyping asks, too,
and a checker of a function within a function is written once.
"""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import beartype
import jaxtyping

_with_shapes = jaxtyping.jaxtyped
# Per function within a function: its globals, its annotations, its checker.
_written: dict[tuple[str, types.CodeType], tuple[dict, dict, Callable]] = {}


def install(package: str) -> None:
  """Checks what is imported of a package from now on, at every call."""
  jaxtyping.jaxtyped = _checked
  jaxtyping.install_import_hook(package, "beartype.beartype")


def _checked(function: Any = None, *, typechecker: Any) -> Any:
  """Takes the place of `jaxtyping.jaxtyped`; same checks, if not of shapes."""
  if function is None:
    return lambda function: _checked(function, typechecker=typechecker)
  if inspect.isclass(function):
    if dataclasses.is_dataclass(function) and "__init__" in vars(function):
      function.__init__ = _checked(function.__init__, typechecker=typechecker)
    return function
  annotations = inspect.get_annotations(function)
  if not annotations:
    return function
  # What a generator gives is not known before it is asked for.
  if inspect.isgeneratorfunction(function) or any(
    map(_needs_shapes, annotations.values())
  ):
    return _with_shapes(function, typechecker=typechecker)
  if "<locals>" in function.__qualname__:
    return _within(function, annotations)
  return beartype.beartype(function)


def _within(function: types.FunctionType, annotations: dict) -> Callable:
  """Checks a function within a function by the checker of its first making."""
  key = function.__qualname__, function.__code__
  around, names, checker = _written.get(key, (None, None, None))
  if around is not function.__globals__ or names != annotations:
    checker = beartype.beartype(_emptied(function))
    _written[key] = function.__globals__, annotations, checker
  # Where nothing can be wrong, beartype gives back what it was given.
  if "__beartype_func" not in (checker.__kwdefaults__ or {}):
    return function
  made = types.FunctionType(
    checker.__code__, checker.__globals__, function.__name__
  )
  made.__kwdefaults__ = {**checker.__kwdefaults__, "__beartype_func": function}
  functools.update_wrapper(made, function)
  made.__dict__.update(vars(checker), __wrapped__=function)
  return made


def _emptied(function: types.FunctionType) -> types.FunctionType:
  """The same but for the variables around it, which it would keep alive."""
  cells = tuple(types.CellType() for _ in function.__closure__ or ())
  empty = types.FunctionType(
    function.__code__,
    function.__globals__,
    function.__name__,
    function.__defaults__,
    cells,
  )
  empty.__kwdefaults__ = function.__kwdefaults__
  functools.update_wrapper(empty, function)
  del empty.__wrapped__
  return empty


def _needs_shapes(annotation: Any) -> bool:
  """Whether there is an array in it, or a name that is not yet known."""
  if isinstance(annotation, str | typing.ForwardRef):
    return True
  if isinstance(annotation, list | tuple):  # The arguments of a Callable.
    return any(map(_needs_shapes, annotation))
  if type(annotation).__module__.startswith("jaxtyping"):
    return True
  return any(map(_needs_shapes, typing.get_args(annotation)))
