"""Runs `ila export DIR --to FORMAT`: the selection of a run for a trainer."""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any, NoReturn

from ila_jax import errors

USAGE = "ila export DIR --to FORMAT [--out FOLDER] [--first N]"


class Parser(argparse.ArgumentParser):
  """Reads the words of a command, and refuses as the rest of the line does.

  >>> Parser("ila verify", "ila verify DIR").parse_args(["--speed"])
  Traceback (most recent call last):
  ila_jax.errors.InputError: ila verify: unrecognized arguments: --speed. It ...
  """

  def __init__(self, name: str, usage: str):
    """Takes the name of the command, and how it is written."""
    super().__init__(prog=name, add_help=False, allow_abbrev=False)
    self._how = usage

  def error(self, message: str) -> NoReturn:
    """Raises errors.InputError."""
    raise errors.InputError(
      f"{self.prog}: {message}. It is: {self._how}. {self.prog} --help has the "
      "rest."
    )


def help_text() -> str:
  """What the command does, and the formats."""
  from ila_jax.export import formats

  lines = "".join(
    f"  {name:14}{one.about}\n" for name, one in formats.FORMATS.items()
  )
  return f"""Writes the selection of a finished run as a trainer reads it.

  {USAGE}

DIR      the --workdir of a run that has selected
--to     the format:
{lines}
--out    the folder to write; default: DIR/export/FORMAT. It must be new or
         empty, or that of an earlier export, which is replaced.
--first  the first N of the selection alone; default: all

The rows stand in the order of rank: the first N are a selection on this map
(not with tshirt, which chooses others for a smaller budget). The folder has a
README.md, with the numbers of the run and the command that trains on it.
DIR/select/selected.jsonl stays as it is: the chosen records, exactly as they
were read. docs/export.md has a section for each trainer.
"""


def _parse(words: Sequence[str]) -> argparse.Namespace:
  parser = Parser("ila export", USAGE)
  parser.add_argument("dir", metavar="DIR")
  parser.add_argument("--to", required=True)
  parser.add_argument("--out")
  parser.add_argument("--first")
  return parser.parse_args(list(words))


def run(words: Sequence[str]) -> str:
  """Writes the export that a command line asks for.

  Args:
    words: of the command line, after `ila export`.

  Returns:
    What was done, in words.

  Raises:
    errors.InputError: a word is wrong, the run has not selected, the folder
      holds something else, or no record can be written in this format.
  """
  from ila_jax.export import finished_run, folder, formats
  from ila_jax.run.disk import paths

  flags = _parse(words)
  formats.find(flags.to)
  workdir = paths.of_folder(flags.dir, name="DIR", schemes=("gs",))
  target = _target(workdir, flags.to, flags.out)
  folder.check_free(target)
  examples = finished_run.Selection(workdir, _count(flags.first))
  facts = finished_run.facts(examples)
  with folder.replacing(target) as fresh:
    count, left_out = formats.write(
      flags.to,
      examples,
      fresh,
      place=str(target),
      facts=facts,
    )
  return _told(flags.to, target, examples, facts, count, left_out.reasons())


def _count(text: str | None) -> int | None:
  if text is None:
    return None
  if not text.isdecimal() or not int(text):
    raise errors.InputError(
      f"--first is {text!r}; allowed: a whole number, 1 or more."
    )
  return int(text)


def _target(workdir: str, to: str, out: str | None) -> pathlib.Path:
  """The folder to write, as an absolute path."""
  from ila_jax.run import tables
  from ila_jax.run.disk import paths

  if out is None:
    if paths.is_url(workdir):
      raise errors.InputError(
        f"--out is not set, and DIR is {workdir}: exports are written to a "
        "local disk. Give --out a local folder."
      )
    out = str(tables.EXPORT.path(workdir, name=to))
  else:
    out = paths.of_folder(out, name="--out", schemes=())
  return pathlib.Path(out).resolve()


def _told(
  to: str,
  target: pathlib.Path,
  examples: Any,
  facts: Any,
  count: int,
  reasons: dict[str, int],
) -> str:
  from ila_jax.export import card, formats, openai

  of_all = ""
  if examples.count < examples.selected:
    of_all = f", the first {examples.count:,} of {examples.selected:,} selected"
  lines = [f"{count:,} records in the order of rank{of_all}: {target}"]
  if reasons:
    total = sum(reasons.values())
    lines.append(f"{total:,} left out, named in {target / formats.LEFT_OUT}:")
    lines += [f"  {number:,}: {reason}" for reason, number in reasons.items()]
  if to == "openai" and count < openai.LEAST_EXAMPLES:
    lines.append(
      f"warning: a job wants {openai.LEAST_EXAMPLES} examples at least"
    )
  lines += ["Train on it:", "", formats.train(to, str(target), facts.longest)]
  if formats.has_length(to):
    lines += ["", *card.lengths(facts)]
  return "\n".join(lines)
