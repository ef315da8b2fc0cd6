"""What `--redo` throws away, and what a run may keep and go on from."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.methods import table
from ila_jax.run import stage_record
from ila_jax.run import stages as stages_lib
from ila_jax.run.disk import differences
from ila_jax.score.gradients import of_target, warmup
from ila_jax.score.signals import gradients
from ila_jax.sections import selection
from ila_jax.selection import needs

# Signals and sets that are made from another one, and go with it.
_MADE_FROM = {warmup.NAME: (gradients.NAME, of_target.NAME)}
# Fields that a record of a stage has in part only, or as another input.
_ELSEWHERE = {"pool": ("overrides",), "select": ("options", "compare")}


def readers(config: config_lib.Config, name: str) -> list[str]:
  """The stages that read a signal or a set."""
  return [n for n in stages_lib.NAMES if name in needs.before(config, n)]


def gone(config: config_lib.Config, redo: str) -> set[str]:
  """Folders that `--redo` throws away: of what it names, and of what follows.

  A stage, or a signal or a set; `signals` and `beside` stand for all in them.
  """
  if not needs.is_known(redo):
    return set(stages_lib.made_with(redo))
  names = {redo, *_MADE_FROM.get(redo, ())}
  found = {needs.folder(name) for name in names}
  for reader in {stage for name in names for stage in readers(config, name)}:
    found |= set(stages_lib.made_with(reader))
  return found


def has_cells_of_another_budget(
  config: config_lib.Config,
  workdir: epath.Path,
  stages: Iterable[str],
  redo: str | None,
) -> bool:
  """Whether the map is to be made anew, for its cells follow another budget.

  Nothing else of it has changed, and no stage would be lost with it that `redo`
  keeps: so it need not be asked for.

  Raises:
    errors.InputError: a stage would be lost.
  """
  after = stages_lib.made_with("landscape")
  if (
    not config.landscape.follows_budget
    or "landscape" not in stages
    or redo not in (None, *after[1:])
  ):
    return False
  landscape = stage_record.read_record(workdir / "landscape")
  # Scores that depth is made of are files: the stage looks at them.
  before = dict(landscape.get("inputs", {}).get("config", {}))
  before.pop("scores", None)
  budget = {name: getattr(config.select, name) for name in ("budget", "unit")}
  now = config.section("landscape") | {"select": budget}
  changed = {name for name, *_ in differences.find(before, now)}
  only_budget = {"select.budget", "select.unit"}
  if not (before and changed and changed <= only_budget):
    return False
  thrown = stages_lib.made_with(redo) if redo else ()
  kept = [n for n in after[1:] if n not in thrown and _is_begun(workdir, n)]
  if not kept:
    return True
  by_select = {*kept} <= {*stages_lib.made_with("select")}
  old, new = (
    f"{one['budget']:,.12g} {one['unit']}" for one in (before["select"], budget)
  )
  raise errors.InputError(
    f"config.select.budget was {old} and is now {new}: the cells of the map "
    f"follow it ({cells_by(config)}), and {workdir} has "
    f"{' and '.join(kept)}, made with the former cells. Add "
    f"--redo={'select' if by_select else 'landscape'}, which makes map and "
    f"{', '.join(kept)} anew and keeps embeddings and losses; or use another "
    "--workdir; nothing was changed."
  )


def check_kept(
  config: config_lib.Config, workdir: epath.Path, stages: Iterable[str]
) -> None:
  """Refuses to go on from a stage that another config made.

  A stage that is run compares its inputs itself. Those before it that are not
  in `stages` are not run: their settings are compared here. Files are not, for
  they may have moved away since.

  Raises:
    errors.InputError: names the fields.
  """
  stages = {*stages}
  leading = {name for one in stages for name in stages_lib.leading_to(one)}
  for name in stages_lib.in_order(leading - stages):
    record = stage_record.read_record(workdir / name)
    if not record.get("done"):
      continue  # Who needs it says so.
    settings = _settings(config, name, record["inputs"])
    # As the record has them: a tuple is a list there.
    before, now = json.loads(json.dumps(settings))
    changed = list(differences.find(before, now))
    if changed:
      raise errors.InputError(
        f"--stages: {workdir / name} was made by another run: "
        f"{differences.tell(changed)}. Give the settings that it was made "
        f"with, or add {name} to --stages and --redo={name}, or use another "
        "--workdir; nothing was changed."
      )


def _settings(
  config: config_lib.Config, stage: str, inputs: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """What the record of a stage has of the settings, and what they are now."""
  known = inputs.get("config", {})
  now: dict[str, Any] = {
    "seed": config.seed,
    "exclude_reference": config.score.exclude_reference,
  }
  now = {name: value for name, value in now.items() if name in inputs}
  before = {name: inputs[name] for name in now}
  for name in known:
    if hasattr(config, name):  # Scores beside are files.
      before[name], now[name] = _section(config, stage, name, known[name])
  strategy = config.select.strategy
  if stage == "select" and known["select"]["strategy"] == strategy:
    method = inputs["method"].get(strategy, {})
    options = table.options(strategy, config.select.options)
    before["options"] = method.get("options", {})
    now["options"] = dataclasses.asdict(options)
  return before, now


def _section(
  config: config_lib.Config, stage: str, name: str, held: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """The fields of a section that a record has, as they were and are now."""
  now = config.section(name)[name]
  if stage == name == "select":  # It notes no defaults of some of its own.
    select = config.select
    now |= {"where": select.where.strip(), "tie_break": select.tie_break}
    held = dataclasses.asdict(selection.Select()) | held
  kept = now.keys() & held.keys() - {*_ELSEWHERE.get(name, ())}
  return {n: held[n] for n in kept}, {n: now[n] for n in kept}


def cells_by(config: config_lib.Config) -> str:
  """What makes the number of cells follow the budget, in words."""
  if config.landscape.cells == "kmeans":
    return "config.landscape.clusters is None"
  return "config.landscape.grid is 'auto'"


def _is_begun(workdir: epath.Path, stage: str) -> bool:
  """Whether a stage holds what took time: `select` does so once it is done."""
  record = stage_record.read_record(workdir / stage)
  return bool(record.get("done") if stage == "select" else record)
