"""Words of the command line: how they are read, and what is wrong with them."""

import contextlib
import itertools
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from ila_jax import errors, presets
from ila_jax.sections import checked

_SEE = "ila --help has the flags, ila --fields the fields of a config"
_OR_NONE = ", or None"
_ALLOWED = (
  ("int()", "a whole number"),
  ("float", "a number"),
  ("boolean", "true or false"),
  ("ConfigDict", "no value, for it is a section; set one of its fields"),
)
# What a wrong flag raises where it meets the fields of a config.
_OF_FIELDS = (AttributeError, KeyError, TypeError, ValueError)


class ConfigParser(flags.ArgumentParser):
  """Reads the config file that --config names, as `ila_jax.select` does."""

  def parse(self, argument: str) -> ml_collections.ConfigDict:
    """Returns the config; raises errors.InputError where there is none."""
    return presets.load(argument, place="--config")

  def flag_type(self) -> str:
    """The type of the flag in the list of flags."""
    return "config file"


class _NoneOr(flags.ArgumentParser):
  """Reads None, or what another parser reads."""

  def __init__(self, parser: flags.ArgumentParser):
    self._parser = parser

  def parse(self, argument: Any) -> Any:
    if argument is None or argument == "None":
      return None
    try:
      return self._parser.parse(argument)
    except ValueError as error:
      raise ValueError(f"{error}{_OR_NONE}") from None

  def flag_type(self) -> str:
    """The type of the flag in the list of flags."""
    return f"{self._parser.flag_type()} or None"


for _kind, _parser in (
  (int, flags.IntegerParser()),
  (float, flags.FloatParser()),
  (str, flags.ArgumentParser()),
):
  config_flags.register_flag_parser_for_type(
    checked.none_or(_kind), _NoneOr(_parser)
  )


def expand(argv: Sequence[str]) -> list[str]:
  """Returns a command line with its flags as absl knows them.

  A hyphen in a flag of two words becomes the underscore under which it is
  known, what --fields is to show stands behind it as a word of its own, and
  the config file comes before its fields, wherever it was typed.

  >>> expand(["ila", "--config.seed=1", "--dry-run", "--config", "quickstart"])
  ['ila', '--config', 'quickstart', '--config.seed=1', '--dry_run']
  >>> expand(["ila", "--fields=pool"])
  ['ila', '--fields', 'pool']
  """
  words: list[str] = []
  for word in _config_first(argv):
    name, equals, value = word.partition("=")
    if name in ("--dry-run", "--copy-preset", "--by-shapes"):
      name = f"--{name[2:].replace('-', '_')}"
    if name == "--fields" and equals and value not in ("true", "false"):
      words += [name, value]
    else:
      words.append(f"{name}{equals}{value}")
  return words


def _config_first(argv: Sequence[str]) -> Sequence[str]:
  """The same words; absl reads fields only behind the file that has them."""
  for place, word in enumerate(argv):
    if word == "--":
      break
    if word == "--config" or word.startswith("--config="):
      end = place + (1 if "=" in word else 2)
      first = min(place, 1)  # Behind the program.
      return [
        *(*argv[:first], *argv[place:end]),
        *(*argv[first:place], *argv[end:]),
      ]
  return argv


def fault(error: Exception, argv: Sequence[str]) -> errors.InputError | None:
  """What the user can mend where flags or a config file were not read.

  Args:
    error: what was raised; by absl, by ml_collections or by `presets.load`.
    argv: the command line.

  Returns:
    The error to show; None where the fault is none of the user's.

  >>> print(fault(flags.UnrecognizedFlagError("stage", "", ["stages"]),
  ...             ["--stage=pool"]))
  --stage is no flag; did you mean --stages? ila --help has the flags, ...
  """
  if isinstance(error, errors.InputError):
    return error
  said = "" if presets.is_ours(error) else _of_flag(error, argv)
  return errors.InputError(said) if said else None


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
    illegal = re.match(r"flag --([\w.]+)=(.*?): (.*)", text, re.DOTALL)
    if illegal:
      name, value, why = illegal.groups()
      allowed = [what for sign, what in _ALLOWED if sign in why]
      said = f"allowed: {allowed[0]}" if allowed else why
      if allowed and why.endswith(_OR_NONE):
        said += _OR_NONE
      return f"--{name} is {value!r}; {said}. {_SEE}."
  if isinstance(error, flags.Error):
    section = re.match(r"Type .*ConfigDict'> of field ([\w.]+) is not", text)
    if section:  # As ml_collections says it before version 1.1.
      given = f"--{section[1]}="
      value = next((w for w in argv if w.startswith(given)), given)
      said = dict(_ALLOWED)["ConfigDict"]
      return (
        f"--{section[1]} is {value.removeprefix(given)!r}; allowed: {said}. "
        f"{_SEE}."
      )
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
    removed = config.REMOVED.get(word.removeprefix("--"))
    if removed:
      return f"{word} is gone: {removed}. Leave it out."
  wrong = [word for word in words if name in word.split(".")]
  if not wrong:
    return f"command line: {presets.first_line(error)}. {_SEE}."
  hint = f"; did you mean {near[1]}?" if near else "."
  if not near and wrong[0].startswith("--config.select.options."):
    from ila_jax import config_fields

    named = wrong[0].removeprefix("--config.")
    hint = f": {config_fields.options_of(named)}."
  return f"{wrong[0]}: no such field{hint} {_SEE}."


def stray(word: str, argv: Sequence[str]) -> str:
  """Says what is wrong with a word that belongs to no flag.

  >>> stray("8", ["ila", "--config.landscape.grid", "8"])
  "command line: '8' is no flag; write --config.landscape.grid=8."
  """
  remedy = "flags begin with --"
  for before, behind in itertools.pairwise(argv):
    if behind == word and before.startswith("--config.") and "=" not in before:
      remedy = f"write {before}={shlex.quote(word)}"
  return f"command line: {word!r} is no flag; {remedy}."


def command(words: Sequence[str]) -> Callable[[list[str]], int] | None:
  """The command that a command line begins with; None where that is a run.

  Args:
    words: of the command line, the program first.

  Returns:
    A function from the words behind the command to the exit status.

  >>> command(["ila", "--config", "quickstart"]) is None
  True
  """
  return _COMMANDS.get(words[1]) if len(words) > 1 else None


def command_help(words: Sequence[str]) -> str | None:
  """What a command says of itself; None where it is none, or says no more.

  >>> print(command_help(["ila", "verify", "--help"]).splitlines()[0])
  Reads a run again, and tells what differs from what was written.
  """
  found = command(words)
  if found is _export:
    from ila_jax.export import command as export

    return export.help_text()
  if found is _verify:
    from ila_jax.verify import command as verify

    return verify.HELP
  if found is _sweep:
    from ila_jax.sweep import command as sweep

    return sweep.HELP
  if found is _advise:
    from ila_jax.command_line import advise

    return advise.HELP
  if found is _latents:
    from ila_jax.score.sae import look

    return look.HELP
  return None


def _export(words: list[str]) -> int:
  from ila_jax.export import command as export
  from ila_jax.run import interrupts

  interrupts.listen()
  print(export.run(words), flush=True)
  return 0


def _status(words: list[str]) -> int:
  from ila_jax.run import status
  from ila_jax.run.disk import paths

  if len(words) != 1 or words[0].startswith("-"):
    raise errors.InputError(
      f"ila status has {words}; allowed: the folder of one run. Example: ila "
      "status runs/first"
    )
  folder = paths.of_folder(words[0], name="DIR", schemes=("gs",))
  with contextlib.suppress(BrokenPipeError):  # Of `head`, which has enough.
    print(status.told(status.find(folder)), flush=True)
  return 0


def _verify(words: list[str]) -> int:
  from ila_jax.run import interrupts
  from ila_jax.verify import command as verify

  interrupts.listen()
  said, is_well = verify.run(words)
  with contextlib.suppress(BrokenPipeError):
    print(said, flush=True)
  return 0 if is_well else 1


def _latents(words: list[str]) -> int:
  from ila_jax.run.disk import paths
  from ila_jax.score.sae import look

  if not words or words[0].startswith("-"):
    raise errors.InputError(
      f"ila latents has {words}; allowed: the folder of one run, and numbers "
      "of latents. Example: ila latents runs/first 17"
    )
  folder = paths.of_folder(words[0], name="DIR", schemes=("gs",))
  with contextlib.suppress(BrokenPipeError):
    print(look.told(folder, words[1:]), flush=True)
  return 0


def _sweep(words: list[str]) -> int:
  import jax

  # The runs have processes of their own, and want the devices for themselves.
  jax.config.update("jax_platforms", "cpu")
  from ila_jax.sweep import command as sweep

  return sweep.run(words)


def _advise(words: list[str]) -> int:
  from ila_jax.command_line import advise
  from ila_jax.run import interrupts

  interrupts.listen()
  said = advise.run(words)
  with contextlib.suppress(BrokenPipeError):
    print(said, flush=True)
  return 0


_COMMANDS = {
  "advise": _advise,
  "export": _export,
  "latents": _latents,
  "status": _status,
  "sweep": _sweep,
  "verify": _verify,
}
