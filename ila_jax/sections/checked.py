"""Checked fields: default, meaning and what is allowed, in one place.

The sections of a config and the options of a method are declared alike:

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options(checked.Checked):
      quantile: float = checked.field(0.5, "share set aside", low=0, high=1)

What is wrong is refused in the same words, whoever sets it: a config file, a
flag, or Python. The lists of `ila --fields` and of the guide are these fields.
"""

import abc
import dataclasses
import functools
import importlib
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ila_jax import errors

# What a field changes: what its section's stages write; nothing (it is a matter
# of speed, or of what is let pass); or what stages name on their own.
RESULTS, NOTHING, ELSEWHERE = "results", "nothing", "elsewhere"
# A path names a pool, sets beside it, a folder, or a model (or one of the Hub).
SOURCE, BESIDE, FOLDER, MODEL = "source", "beside", "folder", "model"


class Bounds(NamedTuple):
  """What a number may be: `low` to `high`, so neither infinity nor NaN.

  Attributes:
    low: the smallest value; None: no bound.
    high: the largest value; None: no bound.
    above: whether only what is above `low` is allowed.
  """

  low: float | int | None = None
  high: float | int | None = None
  above: bool = False

  def hold(self, value: float | int) -> bool:
    """Whether a number is allowed.

    >>> Bounds(0, 1).hold(1), Bounds(0, 1, above=True).hold(0)
    (True, False)
    """
    low = -math.inf if self.low is None else self.low
    high = math.inf if self.high is None else self.high
    # NaN is neither above nor below anything.
    return (low < value if self.above else low <= value) and value <= high

  def __str__(self) -> str:
    if self.above:
      return f"a number above {self.low:.12g}, up to {self.high:.12g}"
    if self.high is None:
      return f"{self.low:.12g} or more"
    if self.low is None:
      return f"at most {self.high:.12g}"
    return f"{self.low:.12g} to {self.high:.12g}"


def field(
  default: Any,
  meaning: str,
  *,
  low: float | int | None = None,
  high: float | int | None = None,
  above: bool = False,
  choices: Sequence[str] | str = (),
  changes: str = RESULTS,
  path: str = "",
) -> Any:
  """Declares a field, which says what it may be.

  Args:
    default: its value if nobody sets it.
    meaning: what it does, in a few words, with the unit.
    low: the smallest number that is allowed; None: no bound.
    high: the largest number that is allowed; None: no bound.
    above: whether only what is above `low` is allowed.
    choices: the texts that are allowed; or where they stand, such as
      "landscape.depth.CHOICES" of `ila_jax`, which is imported when a value is
      checked: the registry is the only list, and may come later in the reading
      order. One that ends in ":NAME" stands for all that begin so. Of a tuple
      each item is meant, here and by the bounds.
    changes: RESULTS, NOTHING or ELSEWHERE.
    path: SOURCE, BESIDE, FOLDER or MODEL where it is a path, which may begin
      with `~`.
  """
  is_bounded = low is not None or high is not None
  about = {
    "meaning": meaning,
    "bounds": Bounds(low, high, above) if is_bounded else None,
    "choices": choices,
    "changes": changes,
    "path": path,
  }
  if isinstance(default, dict):
    return dataclasses.field(
      default_factory=lambda: dict(default), metadata=about
    )
  return dataclasses.field(default=default, metadata=about)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
  """The base of dataclasses whose fields are checked when one is made.

  Raises:
    errors.InputError: a value of another type, or one that is not allowed.
  """

  def __post_init__(self) -> None:
    hints = typing.get_type_hints(type(self))
    for one in dataclasses.fields(self):
      _check(one, hints[one.name], getattr(self, one.name))


def build(kind: type[Checked], values: Mapping[str, Any], place: str) -> Any:
  """Makes a checked dataclass from plain values; the rest are defaults.

  Args:
    kind: the dataclass; its fields may be such dataclasses.
    values: by field; an int may stand for a float, a list for a tuple.
    place: where they are set, for messages, such as "config.landscape".

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
  fields = {one.name: one for one in dataclasses.fields(kind)}
  plain = {}
  for name, value in values.items():
    if name not in hints:
      allowed = f"allowed: {', '.join(hints)}" if hints else "there is none"
      raise errors.InputError(
        f"{place}.{name} is {value!r}, and there is no such field; {allowed}."
        f"{errors.did_you_mean(name, hints)}"
      )
    if not dataclasses.is_dataclass(hints[name]):
      plain[name] = _plain(hints[name], _split(fields[name], value))
    elif isinstance(value, Mapping):
      plain[name] = build(hints[name], value, f"{place}.{name}")
    else:
      raise errors.InputError(
        f"{place}.{name} is {value!r}; allowed: a section with the fields "
        f"{', '.join(typing.get_type_hints(hints[name]))}."
      )
  try:
    # Before the constructor, where a type checker has words of its own.
    for one in dataclasses.fields(kind):
      if one.name in plain:
        _check(one, hints[one.name], plain[one.name])
    return kind(**plain)
  except errors.InputError as error:
    raise errors.InputError(f"{place}.{error}") from None


class Entry(NamedTuple):
  """A field of a checked dataclass, or of one below it.

  Attributes:
    name: dotted, such as "landscape.grid".
    hint: its type.
    field: with default, and metadata as `field` has it.
  """

  name: str
  hint: Any
  field: dataclasses.Field

  @property
  def default(self) -> Any:
    """Its value if nobody sets it."""
    if self.field.default is dataclasses.MISSING:
      return self.field.default_factory()
    return self.field.default


def walk(kind: type[Checked], prefix: str = "") -> Iterator[Entry]:
  """Yields every field, those of the dataclasses below it in their place.

  Args:
    kind: the dataclass.
    prefix: of the names, with its dot.

  >>> from ila_jax.methods import trim
  >>> [(one.name, one.default) for one in walk(trim.Options, "trim.")]
  [('trim.rank_by', 'depth'), ('trim.quantile', 0.5)]
  """
  hints = typing.get_type_hints(kind)
  for one in dataclasses.fields(kind):
    name, hint = f"{prefix}{one.name}", hints[one.name]
    if dataclasses.is_dataclass(hint):
      yield from walk(hint, f"{name}.")
    else:
      yield Entry(name, hint, one)


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


def choices(one: dataclasses.Field) -> tuple[str, ...]:
  """Returns the texts that a field may be; none: any.

  >>> from ila_jax.sections import landscape
  >>> fields = {one.name: one.field for one in walk(landscape.Landscape)}
  >>> choices(fields["cells"]), choices(fields["depth"])[-1]
  (('grid', 'kmeans'), 'score:NAME')
  """
  names = one.metadata.get("choices", ())
  if isinstance(names, str):
    module, _, name = names.rpartition(".")
    names = getattr(importlib.import_module(f"ila_jax.{module}"), name)
  return tuple(names)


@functools.cache
def none_or(kind: type) -> type:
  """Returns the class whose instances are None and the values of a type.

  A ConfigDict and the command line know the type of an optional field by it.

  >>> isinstance(None, none_or(int)), isinstance("1", none_or(int))
  (True, False)
  """
  either = abc.ABCMeta(
    f"None or {kind.__name__}", (), {"__module__": "builtins"}
  )
  for one in (kind, types.NoneType, *((int,) if kind is float else ())):
    either.register(one)
  return either


def _split(one: dataclasses.Field, value: Any) -> Any:
  """Several names in one text, such as 'a,b'; not of fields that hold paths."""
  if isinstance(value, list | tuple) and not one.metadata.get("path"):
    texts = (re.split(" *, *", v) if isinstance(v, str) else [v] for v in value)
    return tuple(part for several in texts for part in several)
  return value


def _plain(hint: Any, value: Any) -> Any:
  """What JSON and a command line make of a value, as its type has it."""
  if isinstance(value, list | tuple):
    return tuple(_plain((*typing.get_args(hint), 0)[0], v) for v in value)
  kinds = (hint, *typing.get_args(hint))
  is_whole = type(value) is int and int not in kinds
  return float(value) if is_whole and float in kinds else value


_WORDS = {
  int: ("a whole number", "whole numbers"),
  float: ("a number", "numbers"),
  str: ("a text", "texts"),
  bool: ("True or False", "truths"),
  types.NoneType: ("None", ""),
}


def _in_words(hint: Any, *, several: bool = False) -> str:
  """What a type allows, as people say it."""
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if origin is tuple and args[-1] is Ellipsis:
    inner = _in_words(args[0], several=True)
    return f"tuples of {inner}" if several else f"a tuple of {inner}"
  if origin is tuple:
    return f"{'tuples' if several else 'a tuple'} of {len(args)}"
  if origin is dict or hint is dict:
    return "dicts" if several else "a dict"
  if args:
    return " or ".join(_in_words(arg, several=several) for arg in args)
  return _WORDS[hint][several] if hint in _WORDS else str(hint)


def _check(one: dataclasses.Field, hint: Any, value: Any) -> None:
  if not fits(hint, value):
    raise errors.InputError(
      f"{one.name} is {value!r}, of type {type(value).__name__}; allowed: "
      f"{_in_words(hint)}."
    )
  allowed, bounds = choices(one), one.metadata.get("bounds")
  for item in value if isinstance(value, tuple) else (value,):
    names = item, f"{str(item).partition(':')[0]}:NAME"
    if isinstance(item, str) and allowed and {*names}.isdisjoint(allowed):
      said = ", ".join(allowed)
      if bounds:
        kind = _WORDS[float if float in typing.get_args(hint) else int][0]
        said = f"{' or '.join(map(repr, allowed))} or {kind}, {bounds}"
      raise errors.InputError(
        f"{one.name} is {item!r}; allowed: {said}."
        f"{errors.did_you_mean(item, allowed)}"
      )
    is_number = isinstance(item, int | float) and not isinstance(item, bool)
    if is_number and bounds and not bounds.hold(item):
      raise errors.InputError(f"{one.name} is {item!r}; allowed: {bounds}.")
