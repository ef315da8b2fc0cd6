"""The fields of a config.json, checked as they are read.

What is not implemented is refused by name, never read as something else.
"""

import pathlib
import reprlib
import sys
from typing import Any

from ila_jax import errors

# Sizes are int32 on devices.
_LARGEST = 2**31 - 1
# Layers are counted before a file is opened, in lists that have an entry for
# each, and heads are multiplied by their width: no model has this many, or
# this wide.
MOST_LAYERS = MOST_HEADS = 10_000


class Fields:
  """An object of a JSON file. A field that is null is as if absent.

  >>> fields = Fields("config.json", {"layers": 2, "bias": None})
  >>> fields.integer("layers"), fields.only("bias", False, True)
  (2, False)
  >>> fields.integer("width")
  Traceback (most recent call last):
  ila_jax.errors.InputError: config.json: width is None; allowed: a whole num...
  """

  def __init__(
    self, file: str | pathlib.Path, values: dict[str, Any], prefix: str = ""
  ) -> None:
    self.file = file
    self.values = values
    self.prefix = prefix

  def get(self, name: str, default: Any = None) -> Any:
    """The value, whatever it is."""
    value = self.values.get(name)
    return default if value is None else value

  def inner(self, name: str, default: Any = None) -> "Fields":
    """The object within the object."""
    value = self.get(name, default)
    if not isinstance(value, dict):
      raise self.reject(name, value, "an object")
    return Fields(self.file, value, f"{self.prefix}{name}.")

  def reject(self, name: str, value: Any, allowed: str) -> errors.InputError:
    """The error that names the field, its value and what is allowed."""
    found = reprlib.repr(value)
    return errors.InputError(
      f"{self.file}: {self.prefix}{name} is {found}; allowed: {allowed}. Use "
      "a model that has it so; others are not implemented."
    )

  def only(self, name: str, *allowed: Any) -> Any:
    """A field that may have these values; the first is the format's default."""
    value = self.get(name, allowed[0])
    if value not in allowed:
      raise self.reject(name, value, " or ".join(map(repr, allowed)))
    return value

  def integer(
    self,
    name: str,
    default: int | None = None,
    *,
    least: int = 1,
    most: int = _LARGEST,
  ) -> int:
    """A whole number from `least` to `most`."""
    value = self.get(name, default)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
      allowed = f"a whole number, {least} or more"
      if whole and value > most:
        allowed = f"a whole number, {least} to {most}"
      raise self.reject(name, value, allowed)
    return value

  def number(self, name: str, default: float | None = None) -> float:
    """A finite number above 0."""
    value = self.get(name, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and value > 0):
      raise self.reject(name, value, "a number above 0")
    if value > sys.float_info.max:
      raise self.reject(name, value, "a finite number above 0")
    return float(value)

  def maybe(self, name: str) -> float | None:
    """A number above 0, or None."""
    return None if self.get(name) is None else self.number(name)
