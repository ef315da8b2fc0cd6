"""Stage `laboratory`: arms beside each other, over budgets and draws."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from ila_jax import errors
from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.laboratory import bench, contrasts, held_out, verdict
from ila_jax.laboratory import runs as runs_lib
from ila_jax.landscape import ordering
from ila_jax.landscape.duplicates import write
from ila_jax.run import context, progress, stage_record, tables
from ila_jax.run.disk import files
from ila_jax.sections import laboratory, selection
from ila_jax.selection import filters, needs, scored_pool
from ila_jax.training import base

# Nats a token that tuning on chance must gain.
_LEAST_GAIN = 0.05


def run(run: context.Run) -> None:
  """Writes a line and the dev losses of each run, and `contrasts.json`.

  A killed stage goes on after its last run, and one that is done goes on where
  arms, draws or budgets were added. A run whose loss is not finite is noted,
  and the next one begins.

  Raises:
    errors.InputError: an arm that was another when its runs were made.
  """
  config, workdir = run.config, run.workdir
  arms = needs.laboratory_of(config)
  planned = runs_lib.planned(arms, config.laboratory) if arms else []
  inputs = _inputs(run, arms)
  scope = {
    "runs": [one.name for one in planned],
    "arms": {name: _identity(run, arm) for name, arm in arms.items()},
    "rivals": config.laboratory.rivals,
    "resamples": config.laboratory.resamples,
  }
  stage = stage_record.Stage(workdir, "laboratory", inputs, scope=scope)
  # One that was done without arms has nothing that could be lost.
  is_empty = stage_record.read_record(stage.folder).get("runs") == 0
  if stage.begin(replace="all" if is_empty else "nothing"):
    return
  if arms:
    made_from = {
      name: stage_record.fingerprint(_identity(run, arm))
      for name, arm in arms.items()
    }
    _check_arms(run, made_from)
    bench.Bench(run, stage, arms, made_from).train(planned)
    _compare(run, [one.name for one in planned])
  else:
    progress.say("  nothing is tried: config.laboratory.arms is empty")
  stage.finish(
    output=[inputs, scope],  # The report is of all arms.
    matrix_rate=hardware.matrix_rate(run.mesh, config.model.dtype),
    runs=len(planned),
  )


def _inputs(
  run: context.Run, arms: Mapping[str, selection.Select]
) -> dict[str, Any]:
  """What every run follows from, whatever its arm."""
  config, workdir = run.config, run.workdir
  settings = config.laboratory
  if not arms:
    return stage_record.parents(workdir, "laboratory")
  if any(arm.cell_weight == ordering.TARGET for arm in arms.values()):
    stage_record.output(workdir, "select")  # It places the target examples.
  return {
    "draw_share": settings.draw_share,
    "dev_half": settings.dev_half,
    "config": config.section("model", "train"),
    "finetune": {
      name: value
      for name, value in config.section("finetune")["finetune"].items()
      if name != "compare"
    },
    "model": base.signature(run),
    **stage_record.parents(workdir, "laboratory"),
    "exclude_reference": config.score.exclude_reference,
    "near_duplicates": write.settings(config),
    **needs.made_from(run, "laboratory"),
    **filters.made_from(workdir, config.select),
    "seed": config.seed,
  }


def _identity(run: context.Run, arm: selection.Select) -> dict[str, Any]:
  """What an arm's choice follows from."""
  config = dataclasses.replace(run.config, select=arm)
  mine = dataclasses.replace(run, config=config)
  return {
    "strategy": arm.strategy,
    "cell_weight": arm.cell_weight,
    "made_from": scored_pool.made_from(mine, [arm.strategy]),
    **needs.of_arm(mine),
  }


def _check_arms(run: context.Run, made_from: Mapping[str, str]) -> None:
  """Refuses an arm whose earlier runs chose otherwise.

  Raises:
    errors.InputError: names it.
  """
  for line in files.read_jsonl(tables.LABORATORY.path(run.workdir)):
    arm = line["arm"]
    if line["made_from"] != made_from.get(arm, line["made_from"]):
      raise errors.InputError(
        f"config.laboratory.arms.{arm}: what it chooses by (its fields, those "
        "of config.select, or a signal) is not what it was when its runs were "
        "made. Give the new arm another name, or add --redo=laboratory to make "
        "all runs anew."
      )


def _compare(run: context.Run, names: list[str]) -> None:
  """Writes the contrasts and the verdict, on the first host."""
  if not mesh_lib.is_writer():
    return
  config, workdir = run.config, run.workdir
  lines = {
    line["name"]: line
    for line in files.read_jsonl(tables.LABORATORY.path(workdir))
  }
  of_names = [lines[name] for name in names]
  failed = sum("failed" in line for line in of_names)
  short = sum(line["missing"] > 0 for line in of_names)
  if failed:
    progress.say(f"  {failed} of {len(names)} runs failed, and are left out")
  if short:
    progress.say(
      f"  {short} of {len(names)} runs have fewer examples than chance, for "
      "their method orders no more: they are left out of the comparison"
    )
  kept = [
    line for line in of_names if "failed" not in line and not line["missing"]
  ]
  about = held_out.load(run).about
  nll = np.zeros((len(kept), len(about.n_tokens)), np.float32)
  for place, line in enumerate(kept):
    path = tables.LABORATORY_LOSSES.path(workdir, name=line["name"])
    nll[place] = files.read_array(path)
  found = contrasts.contrasts(
    kept,
    nll,
    about,
    rivals=config.laboratory.rivals,
    resamples=config.laboratory.resamples,
    seed=config.seed,
  )
  arms = needs.laboratory_of(config)
  judged = verdict.verdicts(
    {"": found},
    arms=[name for name in arms if name != laboratory.CHANCE],
    rivals=config.laboratory.rivals,
    draws=config.laboratory.draws,
  )
  files.write_json(
    tables.CONTRASTS.path(workdir), {"contrasts": found, "verdict": judged}
  )
  _say_learned(workdir, kept, config.laboratory.budgets)
  for one in judged:
    progress.say(f"  {verdict.sentence(one)}")
  progress.say(f"  all contrasts: {tables.CONTRASTS.path(workdir)}")


def _say_learned(
  workdir: epath.Path, kept: list[dict[str, Any]], budgets: Sequence[int]
) -> None:
  """Tells what tuning on chance has gained: little, and no arm can differ."""
  before = files.read_json(tables.LABORATORY_BASE.path(workdir))["macro"]
  chance = [line for line in kept if line["arm"] == laboratory.CHANCE]
  for size in budgets:
    losses = [line["macro"] for line in chance if line["budget"] == size]
    if not losses:
      continue
    loss = float(np.mean(losses))
    progress.say(
      f"  {laboratory.CHANCE}, {size:,} tokens: macro loss {loss:.3f} nats a "
      f"token, {before - loss:.3f} below that of the base"
    )
    if before - loss < _LEAST_GAIN:
      progress.say(
        f"  warning: that is less than {_LEAST_GAIN}: the base learns too "
        "little from it for arms to differ. Take another base, or more tokens"
      )
