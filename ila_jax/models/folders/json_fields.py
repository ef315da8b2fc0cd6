"""JSON files of models, whose fields are checked as they are read.

What is not implemented is refused by name, never read as something else.
"""

import json
import pathlib
import reprlib
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from etils import epath

from ila_jax import errors
from ila_jax.models.folders.gguf import container

# Sizes are int32 on devices.
_LARGEST = 2**31 - 1
# Layers are counted before a file is opened, in lists that have an entry for
# each, and heads are multiplied by their width: no model has this many, or
# this wide.
MOST_LAYERS = MOST_HEADS = 10_000

_Entry = TypeVar("_Entry")


class Fields:
  """An object of a JSON file; a field that is null counts as absent.

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
    """Returns the value of a field, whatever it is."""
    value = self.values.get(name)
    return default if value is None else value

  def inner(self, name: str, default: Any = None) -> "Fields":
    """Returns the object that a field holds."""
    value = self.get(name, default)
    if not isinstance(value, dict):
      raise self.reject(name, value, "an object")
    return Fields(self.file, value, f"{self.prefix}{name}.")

  def reject(self, name: str, value: Any, allowed: str) -> errors.InputError:
    """Makes the error that names a field, its value and what is allowed."""
    given = reprlib.repr(value)
    return errors.InputError(
      f"{self.file}: {self.prefix}{name} is {given}; allowed: {allowed}. Use "
      "a model that has it so; others are not implemented."
    )

  def only(self, name: str, *allowed: Any) -> Any:
    """Returns a field that may have these values; the first is its default."""
    value = self.get(name, allowed[0])
    if value not in allowed:
      raise self.reject(name, value, " or ".join(map(repr, allowed)))
    return value

  def entry(self, name: str, table: Mapping[str, _Entry]) -> _Entry:
    """Returns the entry of a table that a field names.

    >>> Fields("config.json", {"unit": "cm"}).entry("unit", {"m": 1, "km": 9})
    Traceback (most recent call last):
    ila_jax.errors.InputError: config.json: unit is 'cm'; allowed: 'm' or 'km...
    """
    value = self.get(name)
    if not isinstance(value, str) or value not in table:
      raise self.reject(name, value, " or ".join(map(repr, table)))
    return table[value]

  def integer(
    self,
    name: str,
    default: int | None = None,
    *,
    least: int = 1,
    most: int = _LARGEST,
  ) -> int:
    """Returns a whole number from `least` to `most`."""
    value = self.get(name, default)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
      allowed = f"a whole number, {least} or more"
      if whole and value > most:
        allowed = f"a whole number, {least} to {most}"
      raise self.reject(name, value, allowed)
    return value

  def number(self, name: str, default: float | None = None) -> float:
    """Returns a finite number above 0."""
    value = self.get(name, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and value > 0):
      raise self.reject(name, value, "a number above 0")
    if value > sys.float_info.max:
      raise self.reject(name, value, "a finite number above 0")
    return float(value)

  def maybe(self, name: str) -> float | None:
    """Returns a number above 0, or None where the field is absent."""
    return None if self.get(name) is None else self.number(name)


def read_json(file: epath.PathLike, kind: type) -> Any:
  """Reads a JSON file of the kind `dict` or `list`.

  Raises:
    errors.InputError: it cannot be read, or holds something else.

  >>> read_json("nowhere.json", dict)
  Traceback (most recent call last):
  ila_jax.errors.InputError: nowhere.json cannot be read as JSON (...
  """
  try:
    values = json.loads(epath.Path(file).read_text())
  except (OSError, ValueError, RecursionError) as error:
    raise errors.InputError(
      f"{file} cannot be read as JSON ({error}). Fetch it again."
    ) from error
  if not isinstance(values, kind):
    raise errors.InputError(
      f"{file} is no JSON {kind.__name__}. Fetch it again."
    )
  return values


def read_config(folder: pathlib.Path) -> Fields:
  """Reads the config.json of a model's folder.

  Raises:
    errors.InputError: it cannot be read, or the folder holds an adapter alone,
      or it is a GGUF file.

  >>> read_config(pathlib.Path("nowhere"))
  Traceback (most recent call last):
  ila_jax.errors.InputError: nowhere has no config.json: it is not a model's ...
  """
  if container.is_gguf(folder):
    raise errors.InputError(
      f"{folder} is a GGUF file, which is read as a causal language model "
      "alone. Give it as config.model.path; for config.encoder.path give an "
      "encoder's folder with safetensors, or 'base', or 'lsa'."
    )
  file = folder / "config.json"
  if not file.exists() and (folder / "adapter_config.json").exists():
    raise errors.InputError(
      f"{folder} holds an adapter and no model (adapter_config.json, but no "
      "config.json). Merge it into its base with peft's merge_and_unload and "
      "save_pretrained, and give that folder."
    )
  if not file.exists():
    raise errors.InputError(
      f"{folder} has no config.json: it is not a model's folder. Give the "
      "folder that holds config.json, tokenizer and weights."
    )
  return Fields(file, read_json(file, dict))
