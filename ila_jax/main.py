"""Runs ILA: python -m ila_jax --config CONFIG.py --workdir DIR [flags].

Any field of configs/common.py is set with --config.SECTION.FIELD=VALUE.
"""

import errno
import os
import sys

from absl import flags
from ml_collections import config_flags

from ila_jax import errors

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Path of a config file, such as configs/quickstart.py."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the artifacts; made if absent."
)
_STAGES = flags.DEFINE_list(
  "stages", None, "Stages to run, in any order; default: all eight."
)
_REDO = flags.DEFINE_string(
  "redo", None, "A stage to throw away and make anew, with those after it."
)
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed", False, "Join the other hosts of a pod or a Slurm job first."
)
_DRY_RUN = flags.DEFINE_bool(
  "dry_run", False, "Print time, FLOPs and memory, and run nothing."
)
# What the system says of a disk or a folder that is the user's to mend.
_MENDABLE = frozenset(
  (
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
  )
)


def main() -> int:
  """Runs the command line; returns the exit status: 0, or 2 for bad input.

  Whatever else goes wrong is a bug, and is left to be seen.
  """
  if {"--help", "-h", "--helpfull"} & set(sys.argv):
    print(__doc__ + flags.FLAGS.module_help(sys.modules[__name__]))
    return 0
  try:
    _run(sys.argv)
  except errors.InputError as error:
    return _refuse(str(error))
  except OSError as error:
    if error.errno not in _MENDABLE:
      raise
    return _refuse(
      f"{error.strerror}: {error.filename or 'the disk'}. Nothing that was "
      "whole is lost: mend it and run the same command again, which goes on "
      "from here."
    )
  except RuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return _refuse(
      f"the device's memory is full ({str(error).splitlines()[0][:200]}). "
      "Lower --config.score.batch_tokens or --config.encoder.batch_tokens, set "
      "--config.train.remat=True, or shard the weights with "
      "--config.mesh.fsdp: the run goes on from here. A lower "
      "--config.train.batch_tokens makes other models, and asks for --redo."
    )
  return 0


def _refuse(message: str) -> int:
  print(f"ila_jax: {message}", file=sys.stderr)
  return 2


def _run(argv: list[str]) -> None:
  _parse_flags(argv)
  import jax

  if _DISTRIBUTED.value:
    jax.distributed.initialize()
  from ila_jax import config as config_lib
  from ila_jax import pipeline

  workdir = os.path.expanduser(_WORKDIR.value)
  stages = config_lib.STAGES if _STAGES.value is None else _STAGES.value
  if _DRY_RUN.value:
    from ila_jax import dry_run

    dry_run.run(config_lib.parse(_CONFIG.value), workdir, stages=stages)
    return
  pipeline.run(
    config_lib.parse(_CONFIG.value),
    workdir,
    stages=stages,
    redo=_REDO.value,
  )


def _parse_flags(argv: list[str]) -> None:
  # Flags of two words are read with either hyphen, and no shell replaces a ~
  # that stands behind an equals sign.
  argv = ["--dry_run" if word == "--dry-run" else word for word in argv]
  home = os.path.expanduser("~/")
  argv = [word.replace("--config=~/", f"--config={home}", 1) for word in argv]
  try:
    rest = flags.FLAGS(argv)
    # A config file that cannot be loaded tells so when it is first looked at.
    if _CONFIG.value is not None:
      _CONFIG.value.to_dict()
    missing = [flag.name for flag in (_CONFIG, _WORKDIR) if flag.value is None]
  # A locked ConfigDict reports an unknown field as an AttributeError, and the
  # config file is the user's program: it may raise anything.
  except Exception as error:
    raise errors.InputError(
      f"command line or config file: {type(error).__name__}: {error}. See "
      "configs/common.py for every field, and python -m ila_jax --help for "
      "the flags; run from the folder that holds configs/."
    ) from error
  _check_values()
  if missing:
    raise errors.InputError(
      f"--{missing[0]} is not set. Example: python -m ila_jax --config "
      "configs/quickstart.py --workdir runs/first"
    )
  if len(rest) > 1:
    raise errors.InputError(
      f"command line: {rest[1]!r} is no flag; flags begin with --."
    )


def _check_values() -> None:
  """Refuses flags that are given and empty, and a workdir that is a URL."""
  for flag in (_WORKDIR, _STAGES, _REDO):
    if flag.value is not None and not flag.value:
      raise errors.InputError(
        f"--{flag.name} is empty: a shell variable that is not set? Give it a "
        "value, or leave the flag out."
      )
  place, colon, _ = (_WORKDIR.value or "").partition("://")
  if colon and place != "gs":
    raise errors.InputError(
      f"--workdir is {_WORKDIR.value}; allowed: a local folder, or one "
      "whose name begins with gs://."
    )
