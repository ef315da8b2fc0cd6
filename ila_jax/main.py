"""Runs ILA: ila --config CONFIG --workdir DIR [flags].

CONFIG is the name of a preset or a config file of your own, such as
`ila --copy-preset=quickstart my.py` makes. --config.SECTION.FIELD=VALUE sets
a field. `ila status DIR` tells how far a run is, `ila verify DIR` whether it is
what was written, and `ila export DIR --to FORMAT` writes what it has selected
for a trainer. `ila advise DIR` tells, before any tuning, whether a selection is
worth one. `ila latents DIR` shows records by the features of the model.
`ila sweep` runs a config once for each point of one of its sweeps.
`ila pool --tasks i/N` with these flags reads share i of N of a large pool
before. Without the command `ila` on PATH: python -m ila_jax.
"""

import contextlib
import os
import shlex
import sys

from absl import flags
from ml_collections import config_flags

from ila_jax import errors, presets, version
from ila_jax.command_line import endings, words

_PROGRAM = "ila"  # As setup.py installs it.
_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "A preset, such as quickstart, or the path of a config file."
)
flags.FLAGS["config"].parser = words.ConfigParser()
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the artifacts; made if absent."
)
_STAGES = flags.DEFINE_list(
  "stages", None, "Stages to run, in any order; default: all nine."
)
_REDO = flags.DEFINE_string(
  "redo",
  None,
  "A stage, or a signal of a method, to throw away and make anew, with those "
  "after it.",
)
_REUSE = flags.DEFINE_multi_string(
  "reuse",
  [],
  "Folder of another run: its finished stages are copied where they were made "
  "of the same. May be given several times.",
)
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed", False, "Join the other hosts of a pod or a Slurm job first."
)
_DRY_RUN = flags.DEFINE_bool(
  "dry_run", False, "Print time, FLOPs and memory, and run nothing."
)
_TOPOLOGY = flags.DEFINE_string(
  "topology",
  None,
  "With --dry-run: chips that need not be here, such as v5e:4x4 or h100:8.",
)
_BY_SHAPES = flags.DEFINE_bool(
  "by_shapes",
  False,
  "With --topology: the memory of TPUs by shapes, without their compiler.",
)
_COPY_PRESET = flags.DEFINE_string(
  "copy_preset", None, "A preset to copy into the file named after it."
)
_QUIET = flags.DEFINE_bool(
  "quiet",
  False,
  "Show only warnings, errors and the answer; log.txt in the workdir has all.",
)
_FIELDS = flags.DEFINE_bool(
  "fields",
  False,
  "Print the fields of a config, or those of the sections named after it: "
  "default, meaning and what is allowed; with --config its values, too.",
)
_TASKS = flags.DEFINE_string(
  "tasks", None, "With `ila pool`: i/N, the share to read, i from 0."
)
_VERSION = flags.DEFINE_bool(
  "version", False, "Print version and commit, and run nothing."
)


def main() -> int:
  """Runs the command line; returns the exit status.

  0: done. 1, of `ila verify`: something differs. 2: bad input, to be mended.
  75: another host of the run is gone, or a disk does not answer; start it
  again. 130 and 143: stopped by SIGINT or SIGTERM. Whatever else goes wrong is
  a bug, and is left to be seen.
  """
  if {"--help", "-h", "--helpfull"} & set(sys.argv):
    with contextlib.suppress(BrokenPipeError):  # Of `head`, which has enough.
      print(_help(), flush=True)
    return 0
  try:
    command = words.command(sys.argv)
    if command is not None:
      return command(sys.argv[2:])
    _run(sys.argv)
  except BaseException as error:
    status, message = endings.explain(error, _command())
    if message is None:
      raise
    print(f"ila_jax: {message}", file=sys.stderr)
    return status
  return 0


def _help() -> str:
  of_command = words.command_help(sys.argv)
  if of_command is not None:
    return of_command
  presets_text = "".join(
    f"  {name:12} {presets.about(name)}\n" for name in presets.names()
  )
  return (
    f"{__doc__}\nPresets, in {presets.folder()}:\n{presets_text}\n"
    "Every field of a config, its default, its meaning and what it may be:\n"
    "  ila --fields, or of some sections: ila --fields landscape select\n"
    "  The options of the methods: ila --fields select.options\n"
    f"{flags.FLAGS.module_help(sys.modules[__name__])}"
  )


def _command() -> str:
  """The command that goes on: a --redo has begun, and is not begun again."""
  typed = sys.argv[1:]
  kept = [
    word
    for before, word in zip(["", *typed], typed, strict=False)
    if "--redo" not in (before, word) and not word.startswith("--redo=")
  ]
  is_command = os.path.basename(sys.argv[0]) == _PROGRAM
  program = sys.argv[0] if is_command else "python -m ila_jax"
  return f"{program} {shlex.join(kept)}"


def _run(argv: list[str]) -> None:
  reads_pool = argv[1:2] == ["pool"]
  rest = _parse_flags([argv[0], *argv[2:]] if reads_pool else argv)
  if reads_pool != (_TASKS.value is not None):
    raise errors.InputError(
      "`ila pool` and --tasks go together. Example: ila pool --tasks 0/16 ..."
    )
  if reads_pool:
    _check_only_reads()
  if _VERSION.value:
    print(version.describe())
    return
  if _COPY_PRESET.value is not None:
    _copy_preset(rest)
    return
  if _FIELDS.value:
    from ila_jax import config_fields

    text = config_fields.lines(rest, _CONFIG.value)
    with contextlib.suppress(BrokenPipeError):
      print(text, flush=True)
    return
  if _QUIET.value:
    os.environ["TQDM_DISABLE"] = "1"  # Bars of others, such as of downloads.
  if _TOPOLOGY.value is not None:
    # Nothing runs on an accelerator, and what is here may be busy. JAX is
    # imported by now, and does not look at its environment again.
    import jax

    jax.config.update("jax_platforms", "cpu")
  from ila_jax.compute import hardware
  from ila_jax.run import hosts, interrupts, progress

  if _QUIET.value:
    progress.be_quiet()
  if _DISTRIBUTED.value:
    hardware.join_hosts()
  interrupts.listen()
  hosts.watch()
  try:
    if reads_pool:
      _run_share()
    else:
      _run_stages()
  except BaseException as error:
    if isinstance(error, interrupts.Stopped) and not error.is_alone:
      hosts.rest()  # All hosts stop at the same place.
    else:
      status, message = endings.explain(error, _command())
      hosts.leave(status, message or f"{type(error).__name__}: {error}")
    raise
  hosts.rest()


def _run_stages() -> None:
  from ila_jax import config_parsing, pipeline
  from ila_jax.run import stages as stages_lib
  from ila_jax.run.disk import paths
  from ila_jax.run.reuse import finished

  workdir = _workdir()
  stages = stages_lib.NAMES if _STAGES.value is None else _STAGES.value
  if _DRY_RUN.value:
    from ila_jax.dry_run import dry_run

    config = config_parsing.parse(_CONFIG.value)
    wanted = {"topology": _TOPOLOGY.value, "by_shapes": _BY_SHAPES.value}
    dry_run.run(config, workdir, stages=stages, **wanted)
    return
  others = [
    paths.of_folder(one, name="--reuse", schemes=("gs",))
    for one in _REUSE.value
  ]
  config = config_parsing.parse(_CONFIG.value)
  with finished.from_runs(workdir, others):
    pipeline.run(config, workdir, stages=stages, redo=_REDO.value)


def _run_share() -> None:
  import jax

  # Text needs no accelerator, and another process may hold it.
  jax.config.update("jax_platforms", "cpu")
  from ila_jax import config_parsing
  from ila_jax.pool.splits import shares
  from ila_jax.run import progress

  parsed = config_parsing.parse(_CONFIG.value)
  progress.answer(shares.run(parsed, _workdir(), _TASKS.value))


def _copy_preset(rest: list[str]) -> None:
  name = _COPY_PRESET.value
  if len(rest) != 1:
    raise errors.InputError(
      f"--copy-preset={name} wants the name of one file to write, and has "
      f"{len(rest)}. Example: {presets.copy_command()}"
    )
  presets.copy(name, rest[0])
  print(
    f"wrote {rest[0]}; edit it, then run: ila --config {shlex.quote(rest[0])} "
    "--workdir DIR"
  )


def _parse_flags(argv: list[str]) -> list[str]:
  """Reads the flags; returns the words that belong to none."""
  argv = words.expand(argv)
  try:
    rest = flags.FLAGS(argv)[1:]
    needed = (_CONFIG, _WORKDIR)
    takes_words = _FIELDS.value or _COPY_PRESET.value is not None
    if _VERSION.value or takes_words:
      needed = ()
    missing = [flag.name for flag in needed if flag.value is None]
  except Exception as error:
    told = words.fault(error, argv)
    if told is None:
      raise
    raise told from error
  _check_values()
  if missing:
    raise errors.InputError(
      f"--{missing[0]} is not set. Example: ila --config quickstart --workdir "
      "runs/first"
    )
  if rest and not takes_words:
    raise errors.InputError(words.stray(rest[0], argv))
  return rest


def _workdir() -> str:
  from ila_jax.run.disk import paths

  return paths.of_folder(_WORKDIR.value, name="--workdir", schemes=("gs",))


def _check_only_reads() -> None:
  """Refuses flags of a run, which `ila pool` would not heed."""
  for flag in (_STAGES, _REDO, _REUSE, _DRY_RUN, _DISTRIBUTED):
    if flag.value:
      raise errors.InputError(
        f"--{flag.name} does not go with `ila pool`, which reads a share of "
        "the pool and nothing else. Leave it out, and give it to the run."
      )


def _check_values() -> None:
  """Refuses flags that are given and empty, and a workdir that is no folder."""
  if _TOPOLOGY.value is not None and not _DRY_RUN.value:
    raise errors.InputError(
      f"--topology={_TOPOLOGY.value} names chips that need not be here: "
      "nothing can run on them. Add --dry-run, or leave --topology out."
    )
  if _REUSE.value and _REDO.value is not None:
    raise errors.InputError(
      f"--redo={_REDO.value} makes a stage anew, and --reuse would copy it. "
      "Leave one of them out."
    )
  if _BY_SHAPES.value and _TOPOLOGY.value is None:
    raise errors.InputError("--by-shapes wants --topology, such as v5e:4x4.")
  for flag in (_WORKDIR, _STAGES, _REDO, _TOPOLOGY):
    if flag.value is not None and not "".join(flag.value).strip():
      raise errors.InputError(
        f"--{flag.name} is empty: a shell variable that is not set? Give it a "
        "value, or leave the flag out."
      )
  if _WORKDIR.value is not None:
    _workdir()
