"""One run of the laboratory after the other: choose, tune, measure."""

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Float, Int

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import quantiles
from ila_jax.laboratory import budgets, estimates, held_out
from ila_jax.laboratory import runs as runs_lib
from ila_jax.landscape import coverage
from ila_jax.methods import candidates
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import token_set
from ila_jax.pool import index, shards
from ila_jax.run import (
  context,
  draws,
  interrupts,
  progress,
  stage_record,
  tables,
)
from ila_jax.run.disk import files
from ila_jax.score.signals import scores
from ila_jax.sections import laboratory, selection
from ila_jax.selection import budget, scored_pool
from ila_jax.training import base, loop, together, trial
from ila_jax.training import recipe as recipe_lib

# Of each domain, for arms that equal chance in lengths: fifths.
LENGTHS = 5


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
    self.pool = scored_pool.load(run)
    c = self.pool.candidates
    self.held_out = held_out.load(run)
    names, domain = held_out.domains(run.workdir, self.pool.row, c.domain)
    self.names, self.domain = names, domain
    known = [one["name"] for one in scores.noted(run.workdir)]
    self.scores = scores.read(run.workdir, known, self.pool.row)
    # Blocks of the map are no domains: to hold them fixed would hold coverage.
    has_names = len(index.names(run.workdir, "domain")[0]) > 1
    kind = domain if has_names else np.zeros(len(domain), np.int64)
    self.stratum = quantiles.length_strata(c.n_tokens, kind, bins=LENGTHS)
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
    # What a draw cannot give is told before the first run, not after hours.
    for draw in {one.draw for one in todo}:
      sizes = [one.budget for one in todo if one.draw == draw]
      for size in (min(sizes), max(sizes)):
        self._chance(self._drawn(draw), size)
    decoder = base.load(self.run, self.stage.account)
    if not has_base:  # What there is to gain.
      measured = self._measured(trial.Tuned(decoder))[1]
      if mesh_lib.is_writer():
        files.write_json(base_losses, measured)
    size = (self.run.config.train.runs_a_device or 0) * self.run.mesh.size or 1
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
    chosen = [self._chosen(one) for one in group]
    try:
      made = self._tuned(decoder, group, [one.rows for one in chosen], done)
    except errors.NotFiniteError as error:
      if len(group) > 1:  # Alone, each tells what becomes of it.
        for one in group:
          yield from self._lines(decoder, [one], done)
        return
      made, failed = None, str(error)
      progress.say(f"  {group[0].name} failed: {failed}")
    spent = (time.monotonic() - began) / len(group)
    for at, (one, subset) in enumerate(zip(group, chosen, strict=True)):
      line = {
        "name": one.name,
        **dataclasses.asdict(one),
        "strategy": self.arms[one.arm].strategy,
        "made_from": self.made_from[one.arm],
        **self._about(subset),
      }
      if made is None:
        yield line | {"failed": failed}
        continue
      began = time.monotonic()
      tuned, steps = made[at]
      nll, measured = self._measured(tuned)
      if mesh_lib.is_writer():
        files.write_array(self._losses(one.name), nll)
      seconds = round(spent + time.monotonic() - began, 3)
      yield line | {"steps": steps, **measured, "seconds": seconds}

  def _measured(
    self, tuned: trial.Tuned
  ) -> tuple[Float[np.ndarray, " n"], dict[str, Any]]:
    """Loss of each held-out example, and the means of them."""
    nll = trial.dev_losses(
      tuned, self.held_out.data, run=self.run, account=self.stage.account
    ).nll
    means = estimates.losses(nll[None], self.held_out.about)
    domains = estimates.by_domain(nll[None], self.held_out.about)[0]
    return nll, {
      **{name: float(value[0]) for name, value in means.items()},
      "domains": {
        name: None if np.isnan(loss) else float(loss)
        for name, loss in zip(self.held_out.names, domains, strict=True)
      },
    }

  def _chosen(self, one: runs_lib.Planned) -> budgets.Chosen:
    """The rows that an arm is tuned on, of the candidates of its draw."""
    config = self.run.config
    c, drawn = self.pool.candidates, self._drawn(one.draw)
    chance = self._chance(drawn, one.budget)
    if one.arm == laboratory.CHANCE:
      return budgets.Chosen(chance)
    arm = dataclasses.replace(config, select=self.arms[one.arm])
    wanted = self._wanted(drawn, one, chance)
    drawn = candidates.with_inputs(drawn, drawn.inputs, wanted=wanted)
    pool = dataclasses.replace(
      self.pool, candidates=drawn, n_candidates=int(drawn.candidate.sum())
    )
    mine = dataclasses.replace(self.run, config=arm)
    pool = scored_pool.weighed(mine, pool)
    order = scored_pool.rank(arm, pool, arm.select.strategy).order
    return budgets.choose(
      order,
      c.n_tokens,
      equal=one.equal,
      chance=chance,
      stratum=self.stratum,
    )

  def _drawn(self, draw: int) -> candidates.Candidates:
    """The candidates of a draw."""
    config, c = self.run.config, self.pool.candidates
    seed = config.seed + draw
    uniform = draws.keyed_uniform(c.ids, seed=seed, purpose="laboratory draw")
    inside = c.candidate & (uniform < config.laboratory.draw_share)
    return candidates.drawn(c, inside, seed=seed)

  def _chance(
    self, drawn: candidates.Candidates, size: int
  ) -> Int[np.ndarray, " r"]:
    """The random subset of a draw.

    Raises:
      errors.InputError: the draw has fewer tokens.
    """
    order = candidates.ranking(drawn, (drawn.uniform,)).order
    held = int(drawn.n_tokens[order].sum(dtype=np.int64))
    if size > held:
      raise errors.InputError(
        f"config.laboratory.budgets and curve ask for {size:,} response "
        f"tokens; allowed: up to {held:,}, which a draw of the candidates has. "
        "Lower them, or raise config.laboratory.draw_share."
      )
    k = budget.budget_prefix(order, drawn.n_tokens, budget=size, unit="tokens")
    if not k:
      raise errors.InputError(
        f"config.laboratory.budgets and curve ask for {size:,} response "
        "tokens, which is less than one example has. Raise them."
      )
    return order[:k]

  def _wanted(
    self,
    drawn: candidates.Candidates,
    one: runs_lib.Planned,
    chance: Int[np.ndarray, " r"],
  ) -> int:
    """Rows that an arm needs at most, of a method that cannot order all."""
    count = int(drawn.candidate.sum())
    if one.equal == budgets.LENGTHS:
      return count
    n_tokens = drawn.n_tokens[drawn.candidate]
    most = budget.most_rows(n_tokens, budget=one.budget, unit="tokens")
    return max(most, len(chance))

  def _about(self, chosen: budgets.Chosen) -> dict[str, Any]:
    """What a subset is like."""
    c, rows = self.pool.candidates, chosen.rows
    tokens = int(c.n_tokens[rows].sum(dtype=np.int64))
    counts = np.bincount(self.domain[rows], minlength=len(self.names))
    named = zip(self.names, counts.tolist(), strict=True)
    spent = np.bincount(
      self.domain[rows], weights=c.n_tokens[rows], minlength=len(self.names)
    )
    scored = {
      name: float(np.nanmean(values[rows]))
      for name, values in self.scores.items()
      if np.isfinite(values[rows]).any()
    }
    return {
      "examples": len(rows),
      "tokens": tokens,
      "missing": chosen.missing,
      "coverage": coverage.coverage(c.cell, rows, num_cells=1)["coverage"],
      "depth": float(np.mean(c.relative_depth[rows], dtype=np.float64)),
      "examples_of": dict(named),
      "tokens_of": {
        name: int(count) for name, count in zip(self.names, spent, strict=True)
      },
      "scores": scored,
    }

  def _tuned(
    self,
    decoder: decoder_lib.Decoder,
    group: list[runs_lib.Planned],
    rows: list[Int[np.ndarray, " _"]],
    done: Mapping[str, dict[str, Any]],
  ) -> list[tuple[trial.Tuned, int]]:
    """The base tuned on rows of the scored pool, and the steps that it took.

    Raises:
      errors.NotFiniteError: a loss is not, or that of a run's random subset.
    """
    run = self.run
    recipes = [self._recipe(one, done) for one in group]
    data = [
      token_set.tokens_of(
        shards.gather(
          run.workdir, self.pool.row[own], ["tokens", "is_response"]
        )
      )
      for own in rows
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
