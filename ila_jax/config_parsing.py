"""A ConfigDict becomes a `Config`: types first, then the values."""

import dataclasses
import os
import typing
from typing import Any

import ml_collections

from ila_jax import config as config_lib
from ila_jax import config_checks, errors
from ila_jax.methods import options
from ila_jax.run.disk import paths


def parse(config: ml_collections.ConfigDict) -> config_lib.Config:
  """Turns a ConfigDict into a checked `Config`; `~` is the home folder.

  Raises:
    errors.InputError: a field is missing, unknown, of another type, or holds
      a value that is not allowed; the message names it.
  """
  parsed = _build(config_lib.Config, config.to_dict(), "config")
  config_checks.check(parsed)
  return parsed


def _build(cls: type, values: dict[str, Any], name: str) -> Any:
  hints = typing.get_type_hints(cls)
  for key in values.keys() - hints.keys():
    moved = config_lib.MOVED.get(f"{name}.{key}")
    raise errors.InputError(
      f"{name}.{key} is {values[key]!r}, and that field is now {moved}: set it "
      "there."
      if moved
      else f"{name}.{key} is not a field; {name} has: "
      f"{', '.join(sorted(hints))}.{errors.did_you_mean(key, hints)}"
    )
  for key in hints.keys() - values.keys():
    raise errors.InputError(
      f"{name}.{key} is missing. Start from ila_jax.configs.common, which has "
      "every field."
    )
  return cls(
    **{
      key: _convert(hint, values[key], f"{name}.{key}")
      for key, hint in hints.items()
    }
  )


def _convert(hint: Any, value: Any, name: str) -> Any:
  if dataclasses.is_dataclass(hint):
    if not isinstance(value, dict):
      raise errors.InputError(f"{name} is {value!r}; it must be a section.")
    return _build(hint, value, name)
  if isinstance(value, list):
    value = tuple(value)
  if hint is float and type(value) is int:
    value = float(value)
  if name in config_lib.SOURCES and isinstance(value, tuple):
    value = tuple(map(_expanded, value))
  elif name in config_lib.SOURCES:
    value = _expanded(value)
  elif name in config_lib.FOLDERS and isinstance(value, str) and value.strip():
    is_model = name != "config.landscape.map"
    value = paths.of_folder(value, name=name, is_model=is_model)
  if not options.fits(hint, value):
    allowed = getattr(hint, "__name__", None) if hint in _PLAIN else str(hint)
    raise errors.InputError(
      f"{name} is {value!r}, of type {type(value).__name__}; allowed: "
      f"{allowed}."
    )
  return value


def _expanded(path: Any) -> Any:
  """The home folder for a leading `~`, which no shell has seen in a flag."""
  return os.path.expanduser(path) if isinstance(path, str) else path


_PLAIN = (str, int, float, bool)
