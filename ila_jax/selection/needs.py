"""What must be there before a stage can do its work: signals, sets beside.

Both are made when a stage wants them, each in a folder with a record.
"""

import types
from collections.abc import Container, Iterable
from typing import Any

from etils import epath

from ila_jax import config as config_lib
from ila_jax.landscape import depth, ordering
from ila_jax.landscape.duplicates import near_evaluation
from ila_jax.landscape.trust import other_maps
from ila_jax.methods import table
from ila_jax.pool import index, reading
from ila_jax.pool.contamination import evaluation
from ila_jax.pool.scores import joined
from ila_jax.run import context, progress, stage_record
from ila_jax.run.disk import folders
from ila_jax.score import (
  dev_set,
  early_losses,
  split,
  tag_embeddings,
  target,
)
from ila_jax.score.gradients import of_target, warmup
from ila_jax.score.signals import example_signal, gradients, scores, tags
from ila_jax.score.signals import table as signals_table
from ila_jax.sections import selection
from ila_jax.selection import budget, filters, where

# The input of methods that the losses of `early_losses` make.
_EARLY_GAIN = "early_gain"
# The stages that choose among candidates.
_CHOOSING = ("select", "finetune", "scaling", "laboratory")
# Modules with `run`, `cost` and `need`, by the name of the set.
_SETS: dict[str, types.ModuleType] = {
  target.NAME: target,
  warmup.NAME: warmup,
  of_target.NAME: of_target,
  early_losses.NAME: early_losses,
  near_evaluation.NAME: near_evaluation,
  dev_set.NAME: dev_set,
  other_maps.NAME: other_maps,
  tag_embeddings.NAME: tag_embeddings,
}


def before(config: config_lib.Config, stage: str) -> list[str]:
  """Names of the signals and sets that a stage reads, each once."""
  by_score = {"landscape": bool(depth.score_name(config.landscape.depth))}
  by_score |= dict.fromkeys(_CHOOSING, bool(filters.scores(config.select)))
  needs = [scores.NAME] if by_score.get(stage) else []
  needs += sorted(_needs(config, stage))
  return [*sets(config, stage), *signals_table.among(dict.fromkeys(needs))]


def _needs(config: config_lib.Config, stage: str) -> set[str]:
  """All that the methods need by which a stage chooses."""
  return {
    need
    for name, options in choices(config, [stage])
    for need in table.needed(name, options)
  }


def choices(
  config: config_lib.Config, stages: Iterable[str] = _CHOOSING
) -> list[tuple[str, dict[str, Any]]]:
  """The methods by which some stages choose, with config.select.options."""
  select = config.select
  of_stage = {
    "select": [select.strategy, *select.compare],
    "finetune": [select.strategy, *config.finetune.compare],
  }
  found = [
    (name, select.options)
    for stage in stages
    for name in of_stage.get(stage, ())
  ]
  if "laboratory" in stages:
    arms = laboratory_of(config)
    found += [(arm.strategy, arm.options) for arm in arms.values()]
  return found


def laboratory_of(config: config_lib.Config) -> dict[str, selection.Select]:
  """What each arm of the laboratory selects by; {}: there is nothing to try."""
  settings = config.laboratory
  return settings.choices(config.select) if settings.arms else {}


def of_all(config: config_lib.Config, stages: Iterable[str]) -> list[str]:
  """The signals and sets that are made where some stages run, each once."""
  after_pool = [stage for stage in stages if stage != "pool"]
  found = early(config) if after_pool else []
  for stage in after_pool:
    found += before(config, stage)
  return list(dict.fromkeys(found))


def method_scores(config: config_lib.Config) -> dict[str, str]:
  """The scores that the chosen methods read, by the field that names each."""
  read = {}
  for name, options in choices(config):
    read |= table.scores(name, options)
  return read


def early(config: config_lib.Config) -> list[str]:
  """The signals that are computed right after the pool, whoever reads them.

  Scores and tags take seconds, and a field that is wrong is told before the
  models run; the report shows all scores.
  """
  named = config.pool.fields.scores.strip() or config.pool.score_files
  has_tags = any(tags.NAME in _needs(config, stage) for stage in _CHOOSING)
  return [scores.NAME] * bool(named) + [tags.NAME] * has_tags


def check(run: context.Run, stages: Iterable[str]) -> None:
  """Reads the target set that some stages need, before any model runs.

  Raises:
    errors.InputError: it cannot be used.
  """
  if target.NAME in of_all(run.config, stages):
    target.check(run)


def check_beside(
  config: config_lib.Config, workdir: epath.PathLike, stages: Iterable[str]
) -> None:
  """Opens the sets and scores beside a pool that is to be read.

  Raises:
    errors.InputError: one cannot be read, or has no score that is named.
  """
  if "pool" not in stages or _is_done(workdir, "pool"):
    return
  rules = reading.rules(config)
  for spec in config.pool.evaluations:
    next(evaluation.read([spec], overrides=rules.overrides), None)
  if config.pool.score_files:
    joined.paths(config.pool.score_files, rules)
    _check_names(config, stages, scores.paths(config.pool, rules))


def check_choice(run: context.Run, stages: Iterable[str]) -> None:
  """Checks what decides which examples are chosen, once scores are read.

  Raises:
    errors.InputError: there is no such score, or too few may be chosen.
  """
  config, workdir = run.config, run.workdir
  todo = [stage for stage in stages if not _is_done(workdir, stage)]
  if scores.NAME in early(config):
    _check_names(config, todo, [one["name"] for one in scores.noted(workdir)])
  if "landscape" in todo and "pool" not in todo:
    depth.check_labels(
      config.landscape.depth, index.column(workdir, "n_labels")
    )
  if "select" in todo:
    candidates = len(split.before_scores(run))
    for said in budget.check_shares(config.select, candidates):
      progress.say(f"  warning: {said}")
    if config.select.where.strip() or config.select.tie_break:
      score = depth.score_name(config.landscape.depth)
      row = split.before_scores(run)
      filters.check(workdir, config.select, row, depth=score)
    _say_unused(config)


def _is_done(workdir: epath.PathLike, stage: str) -> bool:
  record = stage_record.read_record(epath.Path(workdir) / stage)
  return bool(record.get("done"))


def _check_names(
  config: config_lib.Config, stages: Iterable[str], names: Iterable[str]
) -> None:
  """Checks that scores have the names by which some stages ask for them."""
  stages, names = list(stages), list(names)
  if "select" in stages:
    for field, asked in filters.asked(config.select).items():
      where.check_names(asked, names, field)
  if set(_CHOOSING) & set(stages):
    for field, score in method_scores(config).items():
      where.check_names([score], names, field, columns=())
  score = depth.score_name(config.landscape.depth)
  if score and "landscape" in stages:
    where.check_names([score], names, "config.landscape.depth", columns=())


def _say_unused(config: config_lib.Config) -> None:
  """Warns of a target set that changes nothing that is chosen."""
  select = config.select
  is_used = any(table.METHODS[n].wants_target for n, _ in choices(config))
  is_used |= select.cell_weight == ordering.TARGET
  if select.targets and not is_used:
    progress.say(
      "  warning: config.select.target changes nothing that is selected, for "
      f"config.select.strategy is {select.strategy!r} and "
      f"config.select.cell_weight is {select.cell_weight:g}: the run only "
      "tells how near the pool is to it. To select for it set "
      "--config.select.cell_weight=target or "
      "--config.select.strategy=target_nearest"
    )


def sets(config: config_lib.Config, stage: str) -> list[str]:
  """Names of the sets beside the pool that a stage needs."""
  wanted = {
    target.NAME: bool(config.select.targets) and stage != "scaling",
    near_evaluation.NAME: config.select.exclude_near_evaluation is not None,
    dev_set.NAME: stage == "laboratory"
    and bool(config.laboratory.arms and config.laboratory.dev_sources),
    **_read(_needs(config, stage)),
  }
  return [name for name in _SETS if wanted[name] and stage in _CHOOSING]


def _read(needs: Container[str]) -> dict[str, bool]:
  """Whether methods with some needs read each of the sets of methods."""
  by_gradients = gradients.NAME in needs or of_target.NAME in needs
  return {
    warmup.NAME: by_gradients,
    of_target.NAME: of_target.NAME in needs,
    early_losses.NAME: _EARLY_GAIN in needs,
    other_maps.NAME: "other_cells" in needs,
    tag_embeddings.NAME: tag_embeddings.NAME in needs,
  }


def made_from(run: context.Run, stage: str) -> dict[str, Any]:
  """What made the sets that a stage needs, for its inputs; {}: it needs none.

  Those that arms of the laboratory need are told by each arm (`of_arm`).

  Raises:
    errors.InputError: one of them has not been made.
  """
  names = sets(run.config, stage)
  if stage == "laboratory":
    names = [n for n in names if n in (near_evaluation.NAME, dev_set.NAME)]
  return _outputs(run, names)


def of_arm(run: context.Run) -> dict[str, Any]:
  """What made the sets by which config.select chooses; {}: it needs none.

  Raises:
    errors.InputError: one of them has not been made.
  """
  select = run.config.select
  needs = table.needed(select.strategy, select.options)
  wanted = _read(needs)
  by_target = select.cell_weight == ordering.TARGET
  wanted[target.NAME] = by_target or table.METHODS[select.strategy].wants_target
  return _outputs(run, [name for name in _SETS if wanted.get(name)])


def _outputs(run: context.Run, names: Iterable[str]) -> dict[str, Any]:
  beside = epath.Path(run.workdir) / folders.BESIDE
  made = {name: stage_record.output(beside, name) for name in names}
  return {"beside": made} if made else {}


def is_known(name: str | None) -> bool:
  """Whether this is a signal or a set.

  >>> is_known("target"), is_known("pool")
  (True, False)
  """
  return name in _SETS or name in signals_table.SIGNALS


def folder(name: str) -> str:
  """Where a stage, a signal or a set lies in the folder of the run.

  >>> folder("target"), folder("nll_without_prompt"), folder("pool")
  ('beside/target', 'signals/nll_without_prompt', 'pool')
  """
  if name in _SETS:
    return f"{folders.BESIDE}/{name}"
  is_signal = name in signals_table.SIGNALS
  return f"{folders.SIGNALS}/{name}" if is_signal else name


def make(run: context.Run, name: str) -> None:
  """Makes a signal or a set; what is done is skipped.

  Raises:
    errors.InputError: its folder was made from other inputs, or what it is
      made from cannot be read.
  """
  if name in _SETS:
    _SETS[name].run(run)
  else:
    example_signal.run(signals_table.SIGNALS[name], run)


def plan(name: str) -> Any:
  """What has the `cost` and the `need` of a signal or a set."""
  return _SETS.get(name) or signals_table.SIGNALS[name]
