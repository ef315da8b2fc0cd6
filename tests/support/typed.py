"""Types and shapes of every call, checked for as little as each can cost.

jaxtyping's decorator prepares two checkers a function and remembers shapes at
each call, also where no argument has one; functions within functions pay for
the former whenever they are made. Here only what has arrays is left to it: all
other types are checked by beartype alone, which is what jaxtyping asks, too.
"""

import dataclasses
import inspect
import typing
from typing import Any

import beartype
import jaxtyping

_with_shapes = jaxtyping.jaxtyped


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
  return beartype.beartype(function)


def _needs_shapes(annotation: Any) -> bool:
  """Whether there is an array in it, or a name that is not yet known."""
  if isinstance(annotation, str | typing.ForwardRef):
    return True
  if isinstance(annotation, list | tuple):  # The arguments of a Callable.
    return any(map(_needs_shapes, annotation))
  if type(annotation).__module__.startswith("jaxtyping"):
    return True
  return any(map(_needs_shapes, typing.get_args(annotation)))
