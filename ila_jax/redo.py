"""What `--redo` throws away, and when the map goes without being named."""

from collections.abc import Iterable

from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.run import stage_record
from ila_jax.run import stages as stages_lib
from ila_jax.run.disk import differences
from ila_jax.score.gradients import of_target, warmup
from ila_jax.score.signals import gradients
from ila_jax.selection import needs

# Signals and sets that are made from another one, and go with it.
_MADE_FROM = {warmup.NAME: (gradients.NAME, of_target.NAME)}


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
  before = landscape.get("inputs", {}).get("config", {})
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


def cells_by(config: config_lib.Config) -> str:
  """What makes the number of cells follow the budget, in words."""
  if config.landscape.cells == "kmeans":
    return "config.landscape.clusters is None"
  return "config.landscape.grid is 'auto'"


def _is_begun(workdir: epath.Path, stage: str) -> bool:
  """Whether a stage holds what took time: `select` does so once it is done."""
  record = stage_record.read_record(workdir / stage)
  return bool(record.get("done") if stage == "select" else record)
