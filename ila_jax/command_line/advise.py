"""Runs `ila advise DIR`: whether a selection is worth a tuning."""

import argparse
import json
from collections.abc import Sequence

from ila_jax.export import command as export

USAGE = "ila advise DIR [--json]"
HELP = f"""Tells whether a selection is worth a tuning, before any tuning on it.

  {USAGE}

DIR     the --workdir of a run whose stages pool, embed, score, landscape and
        select are done; nothing is trained, and nothing is written there
--json  the same as one JSON object

First the verdict: by how much dev loss the selection is expected to beat a
random one of equal response tokens, or to take random, or what would make it
known. Then nine lines, each with its number, its threshold and the reason.
Exit status: 0, whatever the advice is; 2 DIR is no such run, or a word is
wrong.
"""


def _parse(words: Sequence[str]) -> argparse.Namespace:
  parser = export.Parser("ila advise", USAGE)
  parser.add_argument("dir", metavar="DIR")
  parser.add_argument("--json", action="store_true")
  return parser.parse_args(list(words))


def run(words: Sequence[str]) -> str:
  """Advises on the run that a command line names.

  Args:
    words: of the command line, after `ila advise`.

  Returns:
    The advice, in words or as JSON.

  Raises:
    errors.InputError: a word is wrong, or the folder is that of no run that
      has selected.
  """
  import jax
  from etils import epath

  # Numbers on the disk need no accelerator, and a run may hold it.
  jax.config.update("jax_platforms", "cpu")
  from ila_jax import config_parsing
  from ila_jax.advice import finished_run, told
  from ila_jax.compute import mesh
  from ila_jax.run import context, progress, status
  from ila_jax.run.disk import paths
  from ila_jax.verify import records

  flags = _parse(words)
  workdir = epath.Path(paths.of_folder(flags.dir, name="DIR", schemes=("gs",)))
  status.check(workdir)
  finished_run.check(workdir)
  with progress.if_slow("  the pool's losses are read ..."):
    found, _ = records.read(workdir)
    config = config_parsing.build(records.config(workdir, found))
    advice = finished_run.advise(context.Run(config, workdir, mesh.make()))
  if flags.json:
    return json.dumps(told.plain(advice), ensure_ascii=False, indent=2)
  return told.text(advice)
