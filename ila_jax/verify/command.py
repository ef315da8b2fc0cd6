"""Runs `ila verify DIR`: reads a run again, and tells what differs in it."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ila_jax import errors
from ila_jax.export import command as export

USAGE = "ila verify DIR [--no-scores] [--share 0.01] [--seed N]"
# Examples that are computed again, however small their share of the pool.
_LEAST = 64
HELP = f"""Reads a run again, and tells what differs from what was written.

  {USAGE}

DIR          the --workdir of a run, finished or not; nothing is written there
--no-scores  computes no losses and no embeddings again: needs no model
--share      the share of the examples that are, at random, and {_LEAST} at
             least; default: 0.01
--seed       of that draw; default: 0

It looks at the checksum of every file, at every shard, at the columns of all
tables, at the versions, at all counts, ids, ranks and chosen records, and
computes some losses and embeddings again with the models of the run.
Exit status: 0 all is well; 1 something differs or cannot be known; 2 DIR is no
run, or a word is wrong.
"""


def _parse(words: Sequence[str]) -> argparse.Namespace:
  parser = export.Parser("ila verify", USAGE)
  parser.add_argument("dir", metavar="DIR")
  parser.add_argument("--no-scores", action="store_true")
  parser.add_argument("--share", default="0.01")
  parser.add_argument("--seed", default="0")
  flags = parser.parse_args(list(words))
  if not flags.seed.isdecimal():
    raise errors.InputError(
      f"--seed is {flags.seed!r}; allowed: a whole number, 0 or more."
    )
  try:
    flags.share = float(flags.share)
  except ValueError:
    flags.share = -1.0
  if not 0 <= flags.share <= 1:
    raise errors.InputError(
      "--share is not a number from 0 to 1. Example: --share 0.01"
    )
  return flags


def run(words: Sequence[str]) -> tuple[str, bool]:
  """Looks at the run that a command line names.

  Args:
    words: of the command line, after `ila verify`.

  Returns:
    What was found, in words; whether all is well.

  Raises:
    errors.InputError: a word is wrong, or the folder is no run's.
  """
  from etils import epath

  from ila_jax.run import status
  from ila_jax.run.disk import paths
  from ila_jax.verify import findings

  flags = _parse(words)
  workdir = epath.Path(paths.of_folder(flags.dir, name="DIR", schemes=("gs",)))
  status.check(workdir)
  checks: list[findings.Check] = []
  for one in _checks(workdir, flags, checks):
    checks.append(one)
  said = findings.told(flags.dir, checks, _notes(workdir))
  return said, findings.is_well(checks)


def _notes(workdir: Any) -> list[str]:
  """What may make a run look other than it is."""
  from ila_jax.run.disk import folders
  from ila_jax.run.disk.lock import holder

  lock = workdir / folders.LOCK
  note = holder.read(lock)
  if note is None or holder.life(lock, note) == "dead":
    return []
  return [
    f"  note: {holder.told(note)} is at work there; what it writes meanwhile "
    "may look as if it differed"
  ]


def _checks(
  workdir: Any, flags: argparse.Namespace, before: list[Any]
) -> Iterator[Any]:
  from ila_jax.verify import (
    artifacts,
    findings,
    finished_run,
    records,
    scores,
    shard_files,
  )

  found, of_records = records.read(workdir)
  done = {name for name in found if found[name]["done"]}
  yield artifacts.whole(workdir, found)
  yield of_records
  yield records.versions(found)
  yield artifacts.forms(workdir)
  try:
    of_run = _run(workdir, found)
  except errors.InputError as error:
    if done:  # The settings come with the first stage that is.
      yield findings.unknown("settings", error)
    of_run = None

  def check(
    name: str, stage: str, function: Callable[..., Any], *more: Any
  ) -> Any:
    if stage not in done:
      return findings.left_out(name, f"stage {stage} is not done")
    if of_run is None:
      return findings.left_out(name, "the settings are not known")
    try:
      return function(of_run, *more)
    except errors.InputError as error:
      return findings.unknown(name, error)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
      if findings.is_well(before):
        raise  # A bug, and no fault of the run.
      said = f"what is there does not fit together ({error!r:.200})"
      return findings.unknown(name, errors.InputError(said))

  yield check("shards", "pool", shard_files.check, done)
  yield check("counts", "pool", finished_run.counted, found.get("pool"))
  yield check("losses", "score", finished_run.scored)
  yield check("landscape", "landscape", finished_run.placed)
  yield check("selection", "select", finished_run.ranked, found.get("select"))
  draw = {"share": flags.share, "least": _LEAST, "seed": int(flags.seed)}
  yield check("texts", "pool", scores.contents, draw)
  again = {
    "models": ("pool", scores.models, found),
    "scores": ("score", scores.losses_again, draw),
    "embeddings": ("embed", scores.embeddings_again, draw),
  }
  for name, (stage, function, given) in again.items():
    if flags.no_scores:
      yield findings.left_out(name, "--no-scores")
    else:
      yield check(name, stage, function, given)


def _run(workdir: Any, found: Any) -> Any:
  """The run as its stages were given it, on the devices that are here."""
  from ila_jax import config_parsing
  from ila_jax.compute import mesh
  from ila_jax.run import context
  from ila_jax.verify import records

  config = config_parsing.build(records.config(workdir, found))
  axes = config.mesh
  try:
    devices = mesh.make(axes.data, axes.fsdp, axes.tensor)
  except errors.InputError:  # Of another machine.
    devices = mesh.make()
  return context.Run(config, workdir, devices)
