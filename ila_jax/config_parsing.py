"""A ConfigDict becomes a `Config`: types first, then the values."""

import copy
import os
from collections.abc import Mapping
from typing import Any

import ml_collections

from ila_jax import config as config_lib
from ila_jax import config_checks, errors
from ila_jax.run.disk import paths
from ila_jax.sections import checked


def parse(config: ml_collections.ConfigDict) -> config_lib.Config:
  """Turns a ConfigDict into a checked `Config`; `~` is the home folder.

  Fields that it lacks have their defaults.

  Raises:
    errors.InputError: a field is unknown, of another type, or holds a value
      that is not allowed; the message names it.
  """
  parsed = build(config.to_dict())
  config_checks.check(parsed)
  return parsed


def build(values: Mapping[str, Any]) -> config_lib.Config:
  """Makes a `Config` whose fields are checked one by one, not together.

  Args:
    values: nested dicts of plain values, as `Config.plain` returns them.

  Raises:
    errors.InputError: as `parse`.

  >>> build({"seed": 7}).seed
  7
  """
  values = copy.deepcopy(values)
  for old, new in config_lib.MOVED.items():
    section, field = _place(values, old.removeprefix("config."))
    if field in section:
      raise errors.InputError(
        f"{old} is {section[field]!r}, and that field is now {new}: set it "
        "there."
      )
  for old, why in config_lib.REMOVED.items():
    section, field = _place(values, old.removeprefix("config."))
    if field in section:
      raise errors.InputError(
        f"{old} is {section[field]!r}, and that field is gone: {why}. Leave it "
        "out."
      )
  for name, renamed in config_lib.RENAMED.items():
    section, field = _place(values, name.removeprefix("config."))
    held = section.get(field)
    if isinstance(held, str) and held in renamed:
      section[field] = renamed[held]
  for one in checked.walk(config_lib.Config):
    section, field = _place(values, one.name)
    if one.field.metadata["path"] and field in section:
      section[field] = _expanded(one, section[field])
  return checked.build(config_lib.Config, values, "config")


def _place(values: Any, name: str) -> tuple[dict[str, Any], str]:
  """The section in which a dotted name stands, {} if there is none."""
  *sections, field = name.split(".")
  for section in sections:
    values = values.get(section) if isinstance(values, dict) else None
  return values if isinstance(values, dict) else {}, field


def _expanded(one: checked.Entry, path: Any) -> Any:
  """The home folder for a leading `~`, which no shell has seen in a flag."""
  if isinstance(path, list | tuple):
    return tuple(_expanded(one, part) for part in path)
  if not isinstance(path, str) or not path.strip():
    return path
  kind = one.field.metadata["path"]
  if kind in (checked.SOURCE, checked.BESIDE):
    return os.path.expanduser(path)
  is_model = kind == checked.MODEL
  return paths.of_folder(path, name=f"config.{one.name}", is_model=is_model)
