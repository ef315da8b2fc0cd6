"""Options: what a method may be told, with types, defaults and bounds.

A method's options are a frozen dataclass beside its `rank`:

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options(options.Options):
      quantile: float = options.field(0.5, "share set aside", low=0, high=1)

and are set by `config.select.options.METHOD.FIELD`.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from ila_jax import errors


def field(
  default: Any,
  meaning: str,
  *,
  low: float | int | None = None,
  high: float | int | None = None,
  choices: Sequence[str] = (),
) -> Any:
  """A field of a method's options, which says what it may be.

  Args:
    default: its value if nobody sets it.
    meaning: what it does, in a few words.
    low: the smallest number that is allowed; None: no bound.
    high: the largest number that is allowed.
    choices: what is allowed, of a text.
  """
  about = {"meaning": meaning, "low": low, "high": high, "choices": choices}
  return dataclasses.field(default=default, metadata=about)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """The options of a method that has none, and the base of all others.

  Raises:
    errors.InputError: a value of another type, or out of its bounds.
  """

  def __post_init__(self) -> None:
    hints = typing.get_type_hints(type(self))
    for one in dataclasses.fields(self):
      _check(one, hints[one.name], getattr(self, one.name))


def build(
  kind: type[Options], values: Mapping[str, Any], place: str
) -> Options:
  """Makes the options of a method from plain values; the rest are defaults.

  Args:
    kind: the dataclass of the method.
    values: by field; an int may stand for a float, a list for a tuple.
    place: where they are set, for messages, such as
      "config.select.options.trim".

  Raises:
    errors.InputError: an unknown field, or a value that is not allowed.

  >>> from ila_jax.methods import trim
  >>> build(trim.Options, {"quantile": 1}, "config.select.options.trim")
  Options(rank_by='depth', quantile=1.0)
  >>> build(trim.Options, {"quantil": 1}, "config.select.options.trim")
  ... # doctest: +NORMALIZE_WHITESPACE
  Traceback (most recent call last):
  ila_jax.errors.InputError: config.select.options.trim.quantil is 1, and there
  is no such field; allowed: rank_by, quantile. Did you mean 'quantile'?
  """
  hints = typing.get_type_hints(kind)
  for name, value in values.items():
    if name not in hints:
      allowed = f"allowed: {', '.join(hints)}" if hints else "there is none"
      raise errors.InputError(
        f"{place}.{name} is {value!r}, and there is no such field; {allowed}."
        f"{errors.did_you_mean(name, hints)}"
      )
  plain = {name: _plain(hints[name], value) for name, value in values.items()}
  try:
    for one in dataclasses.fields(kind):
      if one.name in plain:
        _check(one, hints[one.name], plain[one.name])
    return kind(**plain)
  except errors.InputError as error:
    raise errors.InputError(f"{place}.{error}") from None


def fits(hint: Any, value: Any) -> bool:
  """Whether a value has a type: plain, `a | b`, a tuple or a dict of types.

  >>> fits(tuple[tuple[int, int], ...], ((1, 2), (3, 4)))
  True
  >>> fits(int, True)  # A bool is an int in Python, and a mistake here.
  False
  """
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if origin is tuple:
    if not isinstance(value, tuple):
      return False
    kinds = [args[0]] * len(value) if args[-1] is Ellipsis else args
    return len(kinds) == len(value) and all(map(fits, kinds, value))
  if origin is dict:
    return isinstance(value, dict) and all(
      fits(args[0], k) and fits(args[1], v) for k, v in value.items()
    )
  if args:
    return any(fits(arg, value) for arg in args)
  return hint is Any or type(value) is hint


def _plain(hint: Any, value: Any) -> Any:
  """What JSON and a command line make of a value, as its type has it."""
  if isinstance(value, list | tuple):
    return tuple(_plain(None, one) for one in value)
  return float(value) if hint is float and type(value) is int else value


def _check(one: dataclasses.Field, hint: Any, value: Any) -> None:
  about = one.metadata
  if not fits(hint, value):
    kind = hint.__name__ if isinstance(hint, type) else str(hint)
    raise errors.InputError(
      f"{one.name} is {value!r}, of type {type(value).__name__}; allowed: "
      f"{kind}."
    )
  if about.get("choices") and value not in about["choices"]:
    raise errors.InputError(
      f"{one.name} is {value!r}; allowed: {', '.join(about['choices'])}."
      f"{errors.did_you_mean(value, about['choices'])}"
    )
  low, high = about.get("low"), about.get("high")
  if (low is not None and not value >= low) or (
    high is not None and not value <= high
  ):
    if high is None:
      what = f"{low:.12g} or more"
    elif low is None:
      what = f"at most {high:.12g}"
    else:
      what = f"{low:.12g} to {high:.12g}"
    raise errors.InputError(f"{one.name} is {value!r}; allowed: {what}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByDepth(Options):
  """The options that all methods share which go by depth."""

  rank_by: str = field(
    "depth", "the depth that counts", choices=("depth", "relative_depth")
  )
