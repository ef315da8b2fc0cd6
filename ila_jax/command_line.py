"""What is wrong with a command line or a config file, in the user's words."""

import os
import re
import sysconfig
import traceback
from collections.abc import Sequence

from absl import flags

from ila_jax import errors, presets

_SEE = "ila --help has the flags, and says where every field stands"
_CONFIG = ("--config", "-config")
_ALLOWED = (
  ("int()", "a whole number"),
  ("float", "a number"),
  ("boolean", "true or false"),
  ("ConfigDict", "no value, for it is a section; set one of its fields"),
)
# What a wrong flag raises where it meets the fields of a config.
_OF_FIELDS = (AttributeError, KeyError, TypeError, ValueError)


def config_path(argv: Sequence[str]) -> str | None:
  """The config file that a command line names last; None: it names none.

  >>> config_path(["ila_jax", "--config", "a.py", "--config.seed=1"])
  'a.py'
  """
  found = None
  for word, after in zip(argv, [*argv[1:], None], strict=True):
    name, equals, value = word.partition("=")
    if name in _CONFIG:
      found = value if equals else after
  return found


def expand(argv: Sequence[str]) -> list[str]:
  """Returns a command line with all that stands for something else replaced.

  The name of a preset becomes its path, a hyphen in a flag of two words the
  underscore under which it is known, and `~` behind an equals sign, which no
  shell replaces, the home folder.

  >>> expand(["ila", "--config=quickstart", "--dry-run"])
  ['ila', '--config=/.../configs/quickstart.py', '--dry_run']
  """
  found: list[str] = []
  for word in argv:
    name, equals, value = word.partition("=")
    if name in ("--dry-run", "--copy-preset"):
      name = f"--{name[2:].replace('-', '_')}"
    if name in _CONFIG and equals:
      value = presets.find(os.path.expanduser(value))
    elif found and found[-1] in _CONFIG:
      name, equals, value = presets.find(word), "", ""
    found.append(f"{name}{equals}{value}")
  return found


def fault(
  error: BaseException, argv: Sequence[str]
) -> errors.InputError | None:
  """What the user can mend where flags or a config file were not read.

  Args:
    error: what was raised; by absl, by ml_collections or by the config file,
      which is a program of the user and may raise anything.
    argv: the command line.

  Returns:
    The error to show; None where the fault is none of the user's.

  >>> print(fault(flags.UnrecognizedFlagError("stage", "", ["stages"]),
  ...             ["--stage=pool"]))
  --stage is no flag; did you mean --stages? ila --help has the flags, ...
  """
  if isinstance(error, errors.InputError):
    return error
  config = config_path(argv)
  said = _of_path(config) or _of_file(error, config)
  if not said and _is_ours(error):
    return None
  said = said or _of_flag(error, argv)
  return errors.InputError(said) if said else None


def _of_path(config: str | None) -> str:
  """What is wrong with the path of a config file."""
  if config is None:
    return ""
  if not config:
    return (
      "--config is empty: a shell variable that is not set? Name a config file."
    )
  # ml_collections hands what stands behind a colon to get_config.
  path = config if os.path.exists(config) else config.rpartition(":")[0]
  wrong = ""
  if not os.path.exists(path or config):
    if re.fullmatch(r"[\w-]+", config):
      return f"--config is {config!r}, {presets.unknown(config)}"
    wrong = f"no such file from {os.getcwd()}"
  elif not os.path.isfile(path):
    wrong = "a folder"
  return wrong and (
    f"--config is {config}: {wrong}. Allowed: a Python file with a function "
    f"get_config(), such as {presets.copy_command()} makes, or a preset: "
    f"{', '.join(presets.names())}."
  )


def _of_file(error: BaseException, config: str | None) -> str:
  """Where a config file fails, and how; "": it is not the file that fails."""
  if config is None:
    return ""
  if isinstance(error, SyntaxError) and error.filename:
    place = f"{error.filename} line {error.lineno}"
    return f"{place}: SyntaxError: {error.msg}. Correct the config file."
  if "has no attribute 'get_config'" in str(error):
    return (
      f"{config} has no function get_config(), which returns the config. Start "
      f"from a copy of a preset: {presets.copy_command()}."
    )
  # absl raises some errors of a config file again, as its own.
  while error is not None:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_users(frame.filename)]
    if own and not _is_ours(error):
      place = f"{own[-1].filename} line {own[-1].lineno}"
      said = f"{type(error).__name__}: {_first_line(error)}"
      return f"{place}: {said}. Correct the config file; {_SEE}."
    error = error.__context__
  return ""


def _first_line(error: BaseException) -> str:
  """What an error says, without the list of all fields of a config."""
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


def _is_ours(error: BaseException) -> bool:
  """Whether an error was raised in this package, below the command line."""
  frames = traceback.extract_tb(error.__traceback__)
  if not frames:
    return False
  folder, name = os.path.split(os.path.realpath(frames[-1].filename))
  is_here = f"{folder}{os.sep}".startswith(os.path.dirname(__file__) + os.sep)
  return is_here and name != "main.py"


def _of_flag(error: BaseException, argv: Sequence[str]) -> str:
  """What is wrong with a flag; "": the error is of no flag."""
  text = str(error)
  if isinstance(error, flags.UnrecognizedFlagError):
    name = error.flagname
    if name.startswith("config."):
      return f"--{name} needs a config file. Set --config. {_SEE}."
    near = re.search(r"Did you mean: (\S+)", text)
    near = f"; did you mean --{near[1].rstrip('?')}?" if near else "."
    return f"--{name} is no flag{near} {_SEE}."
  if isinstance(error, flags.IllegalFlagValueError):
    found = re.match(r"flag --([\w.]+)=(.*?): (.*)", text, re.DOTALL)
    if found:
      name, value, why = found.groups()
      allowed = [what for sign, what in _ALLOWED if sign in why]
      said = f"allowed: {allowed[0]}" if allowed else why
      return f"--{name} is {value!r}; {said}. {_SEE}."
  if isinstance(error, flags.Error):
    missing = re.match(r"Missing value for flag (\S+)", text)
    said = f"{missing[1]} has no value" if missing else text.rstrip(".")
    return f"command line: {said}. {_SEE}."
  if not isinstance(error, _OF_FIELDS):
    return ""
  near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text)
  name = near[2] if near else re.sub(r"\W", "", text)
  words = [
    word.partition("=")[0] for word in argv if word.startswith("--config.")
  ]
  from ila_jax import config  # Not needed to tell how far a run is.

  for word in words:
    moved = config.MOVED.get(word.removeprefix("--"))
    if moved:
      return f"{word} is now --{moved}: set that. {_SEE}."
  wrong = [word for word in words if name in word.split(".")]
  if not wrong:
    return f"command line: {_first_line(error)}. {_SEE}."
  hint = f"; did you mean {near[1]}?" if near else "."
  if not near and wrong[0].startswith("--config.select.options."):
    hint = ": they stand by method, as select.options.METHOD.FIELD."
  return f"{wrong[0]}: no such field{hint} {_SEE}."
