"""Flags to config to stages. Short, so that all logic is importable."""

import sys
from collections.abc import Sequence

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
# A locked ConfigDict reports an unknown field as an AttributeError.
_FLAG_ERRORS = (flags.Error, AttributeError, KeyError, TypeError, ValueError)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status: 0, or 2 for bad input."""
  try:
    _run(list(argv if argv is not None else sys.argv))
  except errors.InputError as error:
    print(f"ila_jax: {error}", file=sys.stderr)
    return 2
  except OSError as error:
    if error.filename is None and error.errno is None:
      raise
    print(
      f"ila_jax: {error.strerror}: {error.filename or 'the disk'}. Nothing "
      "that was whole is lost: mend it and run the same command again, which "
      "goes on from here.",
      file=sys.stderr,
    )
    return 2
  return 0


def _run(argv: list[str]) -> None:
  _parse_flags(argv)
  import jax

  if _DISTRIBUTED.value:
    jax.distributed.initialize()
  from ila_jax import config as config_lib
  from ila_jax import pipeline

  pipeline.run(
    config_lib.parse(_CONFIG.value),
    _WORKDIR.value,
    stages=_STAGES.value or config_lib.STAGES,
    redo=_REDO.value,
  )


def _parse_flags(argv: list[str]) -> None:
  try:
    rest = flags.FLAGS(argv)
    missing = [flag.name for flag in (_CONFIG, _WORKDIR) if flag.value is None]
  except (
    flags.Error,
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
  ) as error:
    # A locked ConfigDict reports an unknown field as an AttributeError.
    raise errors.InputError(
      f"command line: {error}. See configs/common.py for every field, and "
      "python -m ila_jax --help for the flags."
    ) from error
  except OSError as error:
    raise errors.InputError(f"--config: {error}.") from error
  if missing:
    raise errors.InputError(
      f"--{missing[0]} is not set. Example: python -m ila_jax --config "
      "configs/quickstart.py --workdir runs/first"
    )
  if len(rest) > 1:
    raise errors.InputError(
      f"command line: {rest[1]!r} is no flag; flags begin with --."
    )
