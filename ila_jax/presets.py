"""The shipped configs, by name, and copies of them to edit."""

import ast
import difflib
import importlib
import os
import pathlib
import runpy
from typing import Any

import ml_collections

from ila_jax import errors

# What the other files of the folder are made from; no run by itself.
_NO_PRESETS = {"__init__", "common"}


def folder() -> pathlib.Path:
  """Returns the folder of the shipped configs, installed or in a checkout.

  >>> (folder() / "common.py").exists()
  True
  """
  return pathlib.Path(importlib.import_module("ila_jax.configs").__path__[0])


def names() -> tuple[str, ...]:
  """Returns the names of the presets, in alphabetical order.

  >>> "quickstart" in names()
  True
  """
  files = sorted(path for path in folder().iterdir() if path.suffix == ".py")
  return tuple(path.stem for path in files if path.stem not in _NO_PRESETS)


def about(name: str) -> str:
  """Returns the first line of a preset's docstring.

  >>> about("scaling")
  'The scaling laboratory: 36 subsets and the law that is fitted on them.'
  """
  text = _file(name).read_text()
  return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def find(config: str) -> str:
  """Returns the path of a preset; what is no preset's name stays as it is.

  Args:
    config: a preset's name or the path of a config file, as in `--config`.

  >>> find("quickstart") == str(folder() / "quickstart.py"), find("my.py")
  (True, 'my.py')
  """
  return str(_file(config)) if config in names() else config


def load(config: str | os.PathLike[str]) -> ml_collections.ConfigDict:
  """Returns what `get_config()` of a preset or of a config file returns.

  Args:
    config: a preset's name, or a path.

  Raises:
    errors.InputError: there is none of this name, or it returns no ConfigDict.

  >>> load("quickstart").encoder.path
  'lsa'
  """
  path = find(os.fspath(config))
  if not os.path.isfile(path):
    raise errors.InputError(f"config is {path!r}, {unknown(path)}")
  made: Any = runpy.run_path(path)
  made = made["get_config"]() if "get_config" in made else None
  if not isinstance(made, ml_collections.ConfigDict):
    raise errors.InputError(
      f"{path} has no function get_config() that returns a ConfigDict. Start "
      f"from a copy of a preset: {copy_command()}."
    )
  return made


def copy(name: str, target: str | os.PathLike[str]) -> None:
  """Writes a preset's file to `target`, to be edited.

  Raises:
    errors.InputError: no preset has this name, `target` is there already, or
      it cannot be written.
  """
  if name not in names():
    raise errors.InputError(f"--copy-preset is {name!r}, {unknown(name)}")
  try:
    with open(target, "x") as file:
      file.write(_file(name).read_text())
  except FileExistsError as error:
    raise errors.InputError(
      f"{target} is there already, and is left as it is. Name another file: "
      f"ila --copy-preset={name} FILE."
    ) from error
  except OSError as error:
    raise errors.InputError(
      f"{target} cannot be written ({error.strerror}). Name a file in a folder "
      "that is there and that you may write to."
    ) from error


def unknown(name: str) -> str:
  """Returns what is said of a name that is neither a preset nor a file.

  >>> unknown("quickstrat").partition(".")[0]
  'which is neither a preset (did you mean quickstart?) nor a file'
  """
  near = difflib.get_close_matches(name, names(), n=1)
  near = f" (did you mean {near[0]}?)" if near else ""
  return (
    f"which is neither a preset{near} nor a file. Presets: "
    f"{', '.join(names())}. For a config of your own, copy one and name the "
    f"copy: {copy_command()}."
  )


def copy_command() -> str:
  """Returns an example of how a preset is copied."""
  return "ila --copy-preset=quickstart my.py"


def _file(name: str) -> pathlib.Path:
  return folder() / f"{name}.py"
