"""The fields of a config.json, checked as they are read.

What is not implemented is refused by name, never read as something else.
"""

import math
import pathlib
from typing import Any

from ila_jax import errors

# More than the positions, the vocabulary or a width of any known model.
_MOST = 2**24


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
    return errors.InputError(
      f"{self.file}: {self.prefix}{name} is {value!r}; allowed: {allowed}. Use "
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
    most: int = _MOST,
  ) -> int:
    """A whole number from `least` to `most`."""
    value = self.get(name, default)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not (is_whole and least <= value <= most):
      raise self.reject(name, value, f"a whole number, {least} to {most}")
    return value

  def number(self, name: str, default: float | None = None) -> float:
    """A finite number above 0."""
    value = self.get(name, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 < value < math.inf):
      raise self.reject(name, value, "a number above 0")
    return float(value)

  def maybe(self, name: str) -> float | None:
    """A number above 0, or None."""
    return None if self.get(name) is None else self.number(name)
