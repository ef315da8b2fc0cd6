"""One run of the laboratory after the other: choose, tune, measure."""

import dataclasses
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Float, Int

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.laboratory import budgets, choices, estimates, held_out
from ila_jax.laboratory import runs as runs_lib
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import token_set
from ila_jax.run import (
  context,
  interrupts,
  progress,
  stage_record,
  tables,
)
from ila_jax.run.disk import files
from ila_jax.sections import selection
from ila_jax.training import base, loop, together, trial
from ila_jax.training import recipe as recipe_lib


class Bench:
  """What the runs of one laboratory share."""

  def __init__(
    self,
    run: context.Run,
    stage: stage_record.Stage,
    arms: Mapping[str, selection.Select],
    made_from: Mapping[str, str],
  ):
    """Loads the pool and the dev set.

    Args:
      run: the run.
      stage: accounts for the work.
      arms: what each arm selects by.
      made_from: fingerprint of what each arm's choice follows from.
    """
    self.run, self.stage = run, stage
    self.arms, self.made_from = arms, made_from
    self.choices = choices.Choices(run, arms)
    self.held_out = held_out.load(run)
    held_out.say_sparse(self.held_out)

  def train(self, planned: list[runs_lib.Planned]) -> None:
    """Trains the runs that have no line yet, and writes their lines."""
    path = tables.LABORATORY.path(self.run.workdir)
    # The first host looks: what is to be done, all must do together.
    kept = self._whole(path) if mesh_lib.is_writer() else []
    kept = json.loads(mesh_lib.tell(json.dumps(kept))[0])
    done = {line["name"]: line for line in kept}
    todo = [one for one in planned if one.name not in done]
    base_losses = tables.LABORATORY_BASE.path(self.run.workdir)
    has_base = mesh_lib.first_host_says([base_losses.exists()])[0]
    if not todo and has_base:
      return
    self.choices.check(todo)
    decoder = base.load(self.run, self.stage.account)
    if not has_base:  # What there is to gain.
      measured = self._measured(trial.Tuned(decoder))[1]
      if mesh_lib.is_writer():
        files.write_json(base_losses, measured)
    size = self.run.config.train.runs_at_once(self.run.mesh.size)
    with progress.counter(len(todo), desc="laboratory", unit="runs") as advance:
      for group in runs_lib.groups(todo, size):
        for line in self._lines(decoder, group, done):
          done[line["name"]] = line
          files.append_jsonl(path, line)
          self.stage.save_progress()
          advance(1)
        interrupts.point()

  def _whole(self, path: epath.Path) -> list[dict[str, Any]]:
    """The lines that stand; one whose losses were damaged is taken out."""
    lines = files.read_jsonl(path)
    whole = [
      line
      for line in lines
      if "failed" in line or self._losses(line["name"]).exists()
    ]
    if len(whole) < len(lines):
      files.write_jsonl(path, whole)
    return whole

  def _losses(self, name: str) -> epath.Path:
    return tables.LABORATORY_LOSSES.path(self.run.workdir, name=name)

  def _lines(
    self,
    decoder: decoder_lib.Decoder,
    group: list[runs_lib.Planned],
    done: Mapping[str, dict[str, Any]],
  ) -> Iterator[dict[str, Any]]:
    """Chooses, trains and measures; one run, or several side by side."""
    began = time.monotonic()
    chosen = [self.choices.of(one) for one in group]
    lines = [
      {
        "name": one.name,
        **dataclasses.asdict(one),
        "strategy": self.arms[one.arm].strategy,
        "made_from": self.made_from[one.arm],
        **self.choices.about(subset),
      }
      for one, subset in zip(group, chosen, strict=True)
    ]
    try:
      made = self._tuned(decoder, group, [one.rows for one in chosen], done)
    except errors.NotFiniteError as error:
      if len(group) == 1:
        yield self._failed(lines[0], error)
        return
      for one in group:  # Alone, each tells what becomes of it.
        yield from self._lines(decoder, [one], done)
        interrupts.point()
      return
    spent = (time.monotonic() - began) / len(group)
    for line, (tuned, steps) in zip(lines, made, strict=True):
      began = time.monotonic()
      try:
        nll, measured = self._measured(tuned)
      except errors.NotFiniteError as error:
        yield self._failed(line, error)
        continue
      if mesh_lib.is_writer():
        files.write_array(self._losses(line["name"]), nll)
      seconds = round(spent + time.monotonic() - began, 3)
      yield line | {"steps": steps, **measured, "seconds": seconds}

  def _failed(
    self, line: dict[str, Any], error: errors.NotFiniteError
  ) -> dict[str, Any]:
    progress.say(f"  {line['name']} failed: {error}")
    return line | {"failed": str(error)}

  def _measured(
    self, tuned: trial.Tuned
  ) -> tuple[Float[np.ndarray, " n"], dict[str, Any]]:
    """Loss of each held-out example, and the means of them.

    Raises:
      errors.NotFiniteError: one of them is not finite.
    """
    nll = trial.dev_losses(
      tuned, self.held_out.data, run=self.run, account=self.stage.account
    ).nll
    wrong = int((~np.isfinite(nll)).sum())
    if wrong:
      raise errors.NotFiniteError(
        f"the loss of {wrong} of {len(nll)} held-out examples is not finite. "
        "Use --config.model.dtype=float32, a lower "
        "config.finetune.learning_rate, or another base."
      )
    means = estimates.losses(nll[None], self.held_out.about)
    domains = estimates.by_domain(nll[None], self.held_out.about)[0]
    return nll, {
      **{name: float(value[0]) for name, value in means.items()},
      "domains": {
        name: None if np.isnan(loss) else float(loss)
        for name, loss in zip(self.held_out.names, domains, strict=True)
      },
    }

  def _tuned(
    self,
    decoder: decoder_lib.Decoder,
    group: list[runs_lib.Planned],
    rows: list[Int[np.ndarray, " _"]],
    done: Mapping[str, dict[str, Any]],
  ) -> Iterable[tuple[trial.Tuned, int]]:
    """The base tuned on rows of the scored pool, and the steps that it took.

    Raises:
      errors.NotFiniteError: a loss is not, or that of a run's random subset.
    """
    run = self.run
    recipes = [self._recipe(one, done) for one in group]
    data = [
      token_set.of_rows(run.workdir, self.choices.pool.row[own]) for own in rows
    ]
    if run.config.train.runs_a_device is not None:
      return together.tune(
        decoder, data, recipes, mesh=run.mesh, account=self.stage.account
      )
    taken = 0

    def count(step: loop.Metrics) -> None:
      nonlocal taken
      taken = int(step["step"])

    tuned = trial.fit(
      decoder,
      data[0],
      recipes[0],
      run=run,
      stage=self.stage,
      name=group[0].name,
      keep=False,
      record=count,
    )
    return [(tuned, taken)]

  def _recipe(
    self, one: runs_lib.Planned, done: Mapping[str, dict[str, Any]]
  ) -> recipe_lib.Recipe:
    recipe = dataclasses.replace(
      trial.tuning(self.run.config), seed=self.run.config.seed + one.draw
    )
    if one.equal != budgets.STEPS:
      return recipe
    steps = done.get(one.chance.name, {}).get("steps")
    if steps is None:
      raise errors.NotFiniteError("its random subset failed")
    return dataclasses.replace(recipe, epochs=None, total_steps=steps)
