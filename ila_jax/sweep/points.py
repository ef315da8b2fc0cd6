"""The points of a sweep: what each overrides, and what its folder is called."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ila_jax import errors, presets

# File systems and buckets take more, and nobody reads more.
_LONGEST = 100


# The point that sets nothing but what all set.
_PLAIN = "plain"


class Point(NamedTuple):
  """One run of a sweep.

  Attributes:
    name: of its folder; says what it overrides, and other points do not.
    overrides: values by the dotted names of their fields.
  """

  name: str
  overrides: dict[str, Any]

  @property
  def flags(self) -> list[str]:
    """The overrides as the command line has them."""
    return [f"--config.{name}={v}" for name, v in self.overrides.items()]


def of_sweep(config: str, sweep: str) -> tuple[Point, ...]:
  """The points of one sweep of a config, checked.

  Args:
    config: a preset's name, or the path of a config file.
    sweep: name of one of its functions `sweep_NAME`, without `sweep_`.

  Raises:
    errors.InputError: no sweep has this name; it yields nothing, or something
      else than values of fields; or two of its points are one.

  >>> [point.name for point in of_sweep("scaling", "depth")]
  ['depth=ila', 'depth=ila_length']
  """
  sweeps = presets.sweeps(config)
  if sweep not in sweeps:
    there = (
      ", ".join(sweeps) or "none; a sweep is a function sweep_NAME() that "
    )
    there += "" if sweeps else "yields dicts of fields and values"
    raise errors.InputError(
      f"--sweep is {sweep!r}; allowed, of the config {config}: {there}."
    )
  found: dict[str, Point] = {}
  every = list(sweeps[sweep])
  for overrides in every:
    _check(config, sweep, overrides)
  for overrides, own in zip(every, _own(every), strict=True):
    point = Point(name(own), dict(overrides))
    if point.name in found:
      raise errors.InputError(
        f"sweep_{sweep} of {config} has the point {name(overrides)} twice; "
        "each must set other values. Leave one of them out."
      )
    found[point.name] = point
  if not found:
    raise errors.InputError(
      f"sweep_{sweep} of {config} yields no point; allowed: one or more."
    )
  return tuple(found.values())


def _own(every: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
  """What each point overrides, but for what all override alike."""
  first = every[0] if every else {}
  shared = {
    field
    for field, value in first.items()
    if len(every) > 1
    and all(field in one and one[field] == value for one in every)
  }
  return [
    {field: value for field, value in one.items() if field not in shared}
    for one in every
  ]


def _check(config: str, sweep: str, overrides: Any) -> None:
  place = f"sweep_{sweep} of {config}"
  if not isinstance(overrides, Mapping) or not overrides:
    raise errors.InputError(
      f"{place} yields {overrides!r}; allowed: a dict such as "
      "{'landscape.depth': 'ila_length'}."
    )
  fields = presets.load(config)
  for field, value in overrides.items():
    try:
      fields.update_from_flattened_dict({field: value})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
      said = presets.of_field(error, field) or f"{presets.first_line(error)}."
      raise errors.InputError(
        f"{place} sets {field!r} to {value!r}: {said} `ila --fields` lists all "
        "fields."
      ) from error


def name(overrides: Mapping[str, Any]) -> str:
  """The name of a folder for what is overridden.

  Fields go by the last part of their names, where no other one has it.

  >>> name({})
  'plain'
  >>> name({"landscape.depth": "ila_length", "select.budget": 50.0})
  'depth=ila_length,budget=50.0'
  >>> name({"score.epochs": 1.0, "finetune.epochs": 2.0})
  'score.epochs=1.0,finetune.epochs=2.0'
  """
  last = [field.rpartition(".")[2] for field in overrides]
  words = [
    f"{short if last.count(short) == 1 else field}={_text(value)}"
    for short, (field, value) in zip(last, overrides.items(), strict=True)
  ]
  plain = ",".join(words) or _PLAIN
  safe = re.sub(r"[^\w.,=+-]+", "-", plain, flags=re.ASCII)
  if safe == plain and len(safe) <= _LONGEST:
    return safe
  # What was left out must not make two points one.
  digest = hashlib.sha256(plain.encode()).hexdigest()[:8]
  return f"{safe[: _LONGEST - 9].strip('-')}-{digest}"


def _text(value: Any) -> str:
  is_many = isinstance(value, Iterable) and not isinstance(value, str)
  return "+".join(map(str, value)) if is_many else str(value)
