"""The nine stages in their order, run on a folder: the whole of ILA.

From a notebook, as from the command line:

    config = config_parsing.parse(presets.load("quickstart"))
    run(config, "runs/first")

`ila_jax.select` is the shorter way to a selection.
"""

import contextlib
import dataclasses
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

import ila_jax
from ila_jax import config as config_lib
from ila_jax import errors, version
from ila_jax import redo as redo_lib
from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.dry_run import disk
from ila_jax.embed import encoders
from ila_jax.landscape import join
from ila_jax.pool import index
from ila_jax.run import (
  context,
  hosts,
  interrupts,
  log,
  progress,
  stage_record,
  tables,
)
from ila_jax.run import stages as stages_lib
from ila_jax.run.disk import files, folders, programs, run_folder
from ila_jax.selection import needs

_VERSIONS_OF = (
  *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
  *("transformers", "tokenizers", "pyarrow", "scikit-learn"),
)


def run(
  config: config_lib.Config,
  workdir: str | os.PathLike[str],
  *,
  stages: Sequence[str] = stages_lib.NAMES,
  redo: str | None = None,
) -> None:
  """Runs stages in their order; finished ones are skipped, others resume.

  Args:
    config: from `config_parsing.parse`.
    workdir: folder of the artifacts, local or gs://; made if absent.
    stages: names of the stages to run.
    redo: a stage, or a signal or set that one reads, which is removed first,
      with all after it.

  Raises:
    errors.InputError: an unknown stage, a folder that another run made or
      works in, or whatever is wrong with the pool, the models or the numbers.
  """
  workdir = epath.Path(workdir)
  given = {"config": config.plain(), "--stages": [*stages], "--redo": redo}
  hosts.check_same(given | stage_record.VERSIONS)
  _check_names(config, workdir, stages, redo)
  log.begin()
  progress.say(f"{hardware.describe()}; folder {workdir}")
  hardware.check_devices()
  if redo != "pool":
    index.check_version(workdir)
  encoders.check(config, stages)
  if "landscape" in stages:
    made_anew = redo is not None and "landscape" in redo_lib.gone(config, redo)
    join.check(config, workdir, copied=not made_anew)
  mesh = mesh_lib.make(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
  with contextlib.ExitStack() as stack:
    stack.enter_context(run_folder.claim(workdir, stages_lib.RECORDED))
    if mesh_lib.is_writer():
      stack.enter_context(log.kept(workdir))
    _run_claimed(context.Run(config, workdir, mesh), stages, redo)


def _check_names(
  config: config_lib.Config,
  workdir: epath.Path,
  stages: Sequence[str],
  redo: str | None,
) -> None:
  """Refuses names of no stage, and a redo that nothing makes again."""
  needed = needs.of_all(config, stages)
  if needs.is_known(redo) and redo not in needed:
    raise errors.InputError(
      f"--redo={redo} names a set or a signal that no stage of --stages="
      f"{','.join(stages)} needs. Leave --redo out."
    )
  wanted = [*stages, *([redo] if redo and redo not in needed else [])]
  stages_lib.check(wanted, also=needed)
  gone = [redo] if redo else []
  if redo in needed:  # With it goes what was ranked by it.
    gone = [n for n in redo_lib.readers(config, redo) if _record(workdir, n)]
  for name in gone:
    if name not in stages:
      raise errors.InputError(
        f"--redo={redo} throws {name!r} away, and --stages="
        f"{','.join(stages)} does not make it again. Add {name} to --stages, "
        "or leave --redo out."
      )


def _check_unread(workdir: epath.Path, stage: str, name: str) -> None:
  """Refuses a signal or a set for a stage that is done without it.

  Stage `laboratory` is none of them: it goes on where arms are added. What
  config.select.strategy reads is told by `select` for `finetune`, too.
  """
  if stage == "laboratory":
    return
  readers = (stage, "select") if stage == "finetune" else (stage,)
  inputs = [_record(workdir, reader).get("inputs") for reader in readers]
  # What was read and is lost is made again.
  was_read = f'"{name}"' in json.dumps(inputs)
  late = bool(_record(workdir, stage).get("done")) and not was_read
  if mesh_lib.first_host_says([late])[0]:
    raise errors.InputError(
      f"--stages: {stage!r} in {workdir} was made without {name!r}, and "
      f"this config needs it. Add --redo={stage}, or use another "
      "--workdir; nothing was changed."
    )


def _run_claimed(
  run: context.Run, stages: Sequence[str], redo: str | None
) -> None:
  config, workdir = run.config, run.workdir
  _throw_away(workdir)
  begun = any((workdir / n).exists() for n in _set_aside_names(workdir))
  if not mesh_lib.first_host_says([begun])[0]:
    # A --redo was killed before it had begun anything.
    mesh_lib.first_host_does(_put_back, workdir)
  if mesh_lib.first_host_does(
    redo_lib.has_cells_of_another_budget, config, workdir, stages, redo
  ):
    progress.say(
      f"the cells of the map follow the budget ({redo_lib.cells_by(config)}): "
      "with another config.select.budget the map is made anew, too"
    )
    redo = "landscape"
  mesh_lib.first_host_does(redo_lib.check_kept, config, workdir, stages)
  if redo:
    mesh_lib.first_host_does(_set_aside, config, workdir, redo)
  try:
    kept = programs.kept(tables.COMPILED.path(workdir))
    with jax.set_mesh(run.mesh), kept:
      mesh_lib.first_host_does(needs.check_beside, config, workdir, stages)
      names = stages_lib.in_order(stages)
      after_pool = [name for name in names if name != "pool"]
      there: set[str] = set()  # Signals and sets that were looked at.
      for name in names:
        if name in after_pool[:1]:
          _after_pool(run, after_pool, there)
        for needed in needs.before(config, name):
          _check_unread(workdir, name, needed)
          _run_needed(run, needed, there)
        _run_stage(run, name)
        interrupts.point()
  except errors.InputError:
    # The others may not be here: this host alone may have been refused.
    is_made = not redo or _record(workdir, needs.folder(redo)).get("done")
    if mesh_lib.is_writer() and not is_made:
      _put_back(workdir)
    raise
  _throw_away(workdir)


def _after_pool(
  run: context.Run, stages: Sequence[str], there: set[str]
) -> None:
  """Refuses what would end the run later, on all hosts; reads scores.

  A disk that will be full, a target set of no use, a condition too narrow.
  """

  def check_room() -> None:
    disk.check(run.config, run.workdir, stages)
    needs.check(run, stages)

  mesh_lib.first_host_does(check_room)
  for name in needs.early(run.config):
    _run_needed(run, name, there)
  mesh_lib.first_host_does(needs.check_choice, run, stages)


def _run_needed(run: context.Run, name: str, there: set[str]) -> None:
  if name in there:
    return
  there.add(name)
  folder = needs.folder(name)
  log.enter(folder)
  progress.say(f"[{folder}]")
  before = _record(run.workdir, folder)
  needs.make(run, name)
  if _record(run.workdir, folder) != before:
    _write_manifest(run.config, run.workdir)


def _names(workdir: epath.Path) -> list[str]:
  """Folders of the stages, and of what is made for them, in their order."""
  places = workdir, workdir / run_folder.OLD
  names = []
  for name in stages_lib.GRAPH:
    looked = () if name in stages_lib.NAMES else places
    of_kind = {one for at in looked for one in folders.on_demand(at, [name])}
    names += sorted(of_kind) if looked else [name]
  return names


def _run_stage(run: context.Run, name: str) -> None:
  log.enter(name)
  progress.say(f"[{name}]")
  before = _record(run.workdir, name)
  code = stages_lib.GRAPH[name].code
  importlib.import_module(f"ila_jax.{code}.stage").run(run)
  # A run that only skipped has nothing to tell, and maybe other flags.
  if _record(run.workdir, name) != before:
    _write_manifest(run.config, run.workdir)


def _set_aside(
  config: config_lib.Config, workdir: epath.Path, redo: str
) -> None:
  """Moves a stage and what was made from it out of the way, on the first host.

  They go for good when the run has ended well, and come back when the stage
  could not be made anew. What a killed attempt left is thrown away: the whole
  one was set aside before.

  Raises:
    errors.InputError: one of them holds what no run recorded; nothing moves.
  """
  gone = redo_lib.gone(config, redo)
  names = [
    name
    for name in reversed(_names(workdir))
    if {name, name.partition("/")[0]} & gone
  ]
  # All are looked at before the first one moves.
  names = [name for name in names if stage_record.read_record(workdir / name)]
  for name in names:
    stage_record.check_all_ours(workdir / name)
  for name in names:
    if (workdir / run_folder.OLD / name).exists():
      folders.remove(workdir / name)
    else:
      folders.move(workdir / name, workdir / run_folder.OLD / name)


def _set_aside_names(workdir: epath.Path) -> list[str]:
  """The stages that are set aside, in their order; for the first host."""
  old = workdir / run_folder.OLD
  if not mesh_lib.is_writer():
    return []
  return [n for n in _names(workdir) if stage_record.read_record(old / n)]


def _put_back(workdir: epath.Path) -> None:
  """Undoes `_set_aside`; on the first host alone."""
  for name in _set_aside_names(workdir):
    if (workdir / name).exists():
      folders.remove(workdir / name)
    folders.move(workdir / run_folder.OLD / name, workdir / name)
  run_folder.drop_old(workdir)


def _throw_away(workdir: epath.Path) -> None:
  """Removes what was set aside, once the first of it is made anew."""
  names = _set_aside_names(workdir)
  if names and _record(workdir, names[0]).get("done"):
    # The first goes last: what is left by a kill is known as thrown away.
    for name in reversed(names):
      folders.remove(workdir / run_folder.OLD / name)
    run_folder.drop_old(workdir)


def _record(workdir: epath.Path, name: str) -> dict[str, Any]:
  # Another host may be at work there: what is there is not judged here.
  path = tables.RECORD.path(workdir, stage=name)
  try:
    return files.read_json(path) if path.exists() else {}
  except errors.InputError:
    return {}  # The stage itself says what is wrong with it.


def _write_manifest(config: config_lib.Config, workdir: epath.Path) -> None:
  names = (*_names(workdir), stages_lib.BASE)
  records = {name: _record(workdir, name) for name in names}
  records = {name: record for name, record in records.items() if record}
  now = datetime.datetime.now(datetime.UTC)
  manifest: dict[str, Any] = {
    "ila_jax": ila_jax.__version__,
    "commit": version.commit(),
    "written": now.isoformat(timespec="seconds"),
    "config": config.plain(),
    "seeds": {
      "seed": config.seed,
      "reference_seeds": list(config.score.reference_seeds),
    },
    "pool_fingerprint": records.get("pool", {}).get("output"),
    "device_kind": jax.devices()[0].device_kind,
    "device_count": jax.device_count(),
    "process_count": jax.process_count(),
    "mesh": dataclasses.asdict(config.mesh),
    "versions": {
      "python": platform.python_version(),
      **{name: importlib.metadata.version(name) for name in _VERSIONS_OF},
    },
    "stages": records,
  }
  files.write_json(tables.MANIFEST.path(workdir), manifest)
