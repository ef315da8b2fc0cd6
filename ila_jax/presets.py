"""Config files: the shipped ones by name, copies of them, and the user's."""

import ast
import difflib
import importlib
import os
import pathlib
import re
import runpy
import sysconfig
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import ml_collections

from ila_jax import errors

# What the other files of the folder are made from; no run by itself.
_NO_PRESETS = {"__init__", "common"}
# How the names of functions begin that are sweeps.
_SWEEP = "sweep_"

_T = TypeVar("_T")


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
  'The scaling law: 36 subsets and what is fitted on them.'
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


def load(
  config: str | os.PathLike[str], *, place: str = "config"
) -> ml_collections.ConfigDict:
  """Returns what `get_config()` of a preset or a config file returns, locked.

  Args:
    config: a preset's name, or a path; what stands behind a colon after a path
      is handed to `get_config`.
    place: where it is named, for messages.

  Raises:
    errors.InputError: there is none of this name, it raises, or it returns no
      ConfigDict.

  >>> load("quickstart").encoder.path
  'lsa'
  """

  def made(
    path: str, names: dict[str, Any], arguments: list[str]
  ) -> ml_collections.ConfigDict:
    get_config = names.get("get_config")
    if not callable(get_config):
      raise errors.InputError(
        f"{path} has no function get_config(), which returns the config. Start "
        f"from a copy of a preset: {copy_command()}."
      )
    found = get_config(*arguments)
    if not isinstance(found, ml_collections.ConfigDict):
      raise errors.InputError(
        f"get_config() of {path} returns a {type(found).__name__}; allowed: a "
        f"ConfigDict. Start from a copy of a preset: {copy_command()}."
      )
    return found

  found = _use(config, place, made)
  return found if found.is_locked else found.lock()


def sweeps(
  config: str | os.PathLike[str], *, place: str = "--config"
) -> dict[str, list[Any]]:
  """Returns the sweeps of a preset or a config file, and what each yields.

  A sweep is a function `sweep_NAME()` that yields dicts: values by the dotted
  names of fields.

  Args:
    config: as of `load`.
    place: where it is named, for messages.

  Raises:
    errors.InputError: as `load`.

  >>> sweeps("scaling")["depth"]
  [{'landscape.depth': 'ila'}, {'landscape.depth': 'ila_length'}]
  """

  def yielded(
    path: str, names: dict[str, Any], arguments: list[str]
  ) -> dict[str, list[Any]]:
    del path, arguments
    return {
      name.removeprefix(_SWEEP): list(function())
      for name, function in names.items()
      if name.startswith(_SWEEP) and callable(function)
    }

  return _use(config, place, yielded)


def _use(
  config: str | os.PathLike[str],
  place: str,
  use: Callable[[str, dict[str, Any], list[str]], _T],
) -> _T:
  """Runs a config file, and uses its path, its names and its arguments."""
  name = os.path.expanduser(os.fspath(config))
  path, arguments = find(name), []
  if not os.path.exists(path) and ":" in path:
    path, *arguments = path.split(":", 1)
  _check_file(path, name, place)
  try:
    return use(path, runpy.run_path(path), arguments)
  # The file is the user's program: it may raise anything, or end.
  except (Exception, SystemExit) as error:
    if isinstance(error, errors.InputError) or is_ours(error):
      raise
    raise errors.InputError(_said(error, path)) from error


def _check_file(path: str, name: str, place: str) -> None:
  if os.path.isfile(path):
    return
  if not path:
    raise errors.InputError(
      f"{place} is empty: a shell variable that is not set? Name a config file."
    )
  if re.fullmatch(r"[\w-]+", name) and not os.path.exists(path):
    raise errors.InputError(f"{place} is {name!r}, {unknown(name)}")
  wrong = "a folder" if os.path.exists(path) else "no such file"
  wrong += "" if os.path.exists(path) else f" from {os.getcwd()}"
  raise errors.InputError(
    f"{place} is {name}: {wrong}. Allowed: a Python file with a function "
    f"get_config(), such as {copy_command()} makes, or a preset: "
    f"{', '.join(names())}."
  )


def _said(error: BaseException, path: str) -> str:
  """What a config file raised, and in which line of the user's."""
  own = [
    frame
    for frame in traceback.extract_tb(error.__traceback__)
    if _is_users(frame.filename)
  ]
  place, said = path, first_line(error)
  if isinstance(error, SyntaxError) and error.filename:
    place, said = f"{error.filename} line {error.lineno}", error.msg
  elif own:
    place = f"{own[-1].filename} line {own[-1].lineno}"
  said = of_field(error) or f"{type(error).__name__}: {said}."
  return (
    f"{place}: {said} Correct the config file; ila --fields has the fields of "
    "a config."
  )


def of_field(error: BaseException, name: str = "") -> str | None:
  """Returns what is wrong where a config does not take a field or its value.

  Args:
    error: what was raised.
    name: of the field, where it is known; else the error has its last part.

  Returns:
    A sentence; None where the error is of no field.
  """
  from ila_jax import config_fields  # Needed for what is wrong alone.

  text = str(error).strip("'")
  wrong = re.match(r"Could not override field '(\w+)' \(reference\)\. ", text)
  missing = re.match(r'Key "(\w+)" does not exist', text)
  if wrong is None and missing is None:
    return None
  last = (wrong or missing)[1]
  said = config_fields.remedy(name or last, is_there=missing is None)
  if missing is not None:
    return f"{last!r}: {said}"
  value = text[wrong.end() :].partition(" is of original type")[0]
  return f"{last!r} is {value!r}; {said}"


def first_line(error: BaseException) -> str:
  """Returns what an error says, without the list of all fields of a config.

  >>> first_line(ValueError("a.\\nb")), first_line(ValueError())
  ('a', 'no message')
  """
  line = str(error).strip().partition("\n")[0]
  line = line.partition(". Other fields present")[0].rstrip(". ")
  if line[:1] in ("'", '"') and not line.endswith(line[0]):
    line = line[1:]  # It was a key, and is cut.
  return line or "no message"


def _is_users(path: str) -> bool:
  """Whether a file is neither of this package nor of an installed one."""
  path = os.path.realpath(path)
  libraries = {sysconfig.get_path(n) for n in ("stdlib", "purelib", "platlib")}
  libraries |= {os.path.dirname(__file__)}
  return os.path.isfile(path) and not any(
    path.startswith(os.path.realpath(folder) + os.sep) for folder in libraries
  )


def is_ours(error: BaseException) -> bool:
  """Returns whether an error was raised in this package: it is a bug.

  >>> is_ours(ValueError("raised by nobody"))
  False
  """
  frames = traceback.extract_tb(error.__traceback__)
  if not frames:
    return False
  path = os.path.realpath(frames[-1].filename)
  package = os.path.dirname(os.path.realpath(__file__)) + os.sep
  # What is called here is the function of the user.
  return path.startswith(package) and path != os.path.realpath(__file__)


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
