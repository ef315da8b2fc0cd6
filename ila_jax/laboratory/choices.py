"""What each arm of the laboratory chooses, and what these subsets are like."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from ila_jax import errors
from ila_jax.compute import quantiles
from ila_jax.laboratory import budgets, held_out, runs
from ila_jax.landscape import coverage
from ila_jax.methods import candidates
from ila_jax.pool import index
from ila_jax.run import context, draws, progress
from ila_jax.score.signals import scores
from ila_jax.sections import laboratory, selection
from ila_jax.selection import budget, scored_pool

# Of each domain, for arms that equal chance in lengths: fifths.
LENGTHS = 5


class Choices:
  """What the arms choose from, and by what."""

  def __init__(self, run: context.Run, arms: Mapping[str, selection.Select]):
    """Loads the scored pool.

    Args:
      run: the run.
      arms: what each arm selects by.
    """
    self.run, self.arms = run, arms
    self._told: set[str] = set()
    self.pool = scored_pool.load(run)
    c = self.pool.candidates
    names, domain = held_out.domains(run.workdir, self.pool.row, c.domain)
    self.names, self.domain = names, domain
    known = [one["name"] for one in scores.noted(run.workdir)]
    self.scores = scores.read(run.workdir, known, self.pool.row)
    # Blocks of the map are no domains: to hold them fixed would hold coverage.
    has_names = len(index.names(run.workdir, "domain")[0]) > 1
    kind = domain if has_names else np.zeros(len(domain), np.int64)
    self.stratum = quantiles.length_strata(c.n_tokens, kind, bins=LENGTHS)

  def check(self, planned: Iterable[runs.Planned]) -> None:
    """Refuses budgets that a draw cannot give: before the first run, not after.

    Raises:
      errors.InputError: tells how much the draw has.
    """
    sizes: dict[int, set[int]] = {}
    for one in planned:
      sizes.setdefault(one.draw, set()).add(one.budget)
    for draw, of_draw in sizes.items():
      for size in (min(of_draw), max(of_draw)):
        self._chance(self._drawn(draw), size)

  def of(self, one: runs.Planned) -> budgets.Chosen:
    """The rows that an arm is tuned on, of the candidates of its draw.

    Raises:
      errors.InputError: the draw has too few tokens.
    """
    config = self.run.config
    c, drawn = self.pool.candidates, self._drawn(one.draw)
    chance = self._chance(drawn, one.budget)
    if one.arm == laboratory.CHANCE:
      return budgets.Chosen(chance)
    arm = dataclasses.replace(config, select=self.arms[one.arm])
    drawn = self._wanting(drawn, one, chance)
    pool = dataclasses.replace(
      self.pool, candidates=drawn, n_candidates=int(drawn.candidate.sum())
    )
    mine = dataclasses.replace(self.run, config=arm)
    pool = scored_pool.weighed(mine, pool)
    found = scored_pool.rank(arm, pool, arm.select.strategy)
    if found.warning and one.arm not in self._told:
      progress.say(f"  warning: {one.arm}: {found.warning}")
      self._told.add(one.arm)
    chosen = budgets.choose(
      found.order,
      c.n_tokens,
      equal=one.equal,
      chance=chance,
      stratum=self.stratum,
    )
    return chosen._replace(warning=found.warning)

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

  def _wanting(
    self,
    drawn: candidates.Candidates,
    one: runs.Planned,
    chance: Int[np.ndarray, " r"],
  ) -> candidates.Candidates:
    """A draw for an arm: as many rows as it needs, and the tokens it gets."""
    n_tokens = drawn.n_tokens[drawn.candidate]
    wanted, tokens = len(chance), None
    if one.equal != budgets.EXAMPLES:
      tokens = int(drawn.n_tokens[chance].sum(dtype=np.int64))
      most = budget.most_rows(n_tokens, budget=one.budget, unit="tokens")
      wanted = max(most, wanted)
    if one.equal == budgets.LENGTHS:
      wanted = len(n_tokens)
    return candidates.with_inputs(
      drawn, drawn.inputs, wanted=wanted, tokens=tokens
    )

  def about(self, chosen: budgets.Chosen) -> dict[str, Any]:
    """What a subset is like: of how much, of which domains, how deep."""
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
      "warning": chosen.warning,
      "coverage": coverage.coverage(c.cell, rows, num_cells=1)["coverage"],
      "depth": float(np.mean(c.relative_depth[rows], dtype=np.float64)),
      "examples_of": dict(named),
      "tokens_of": {
        name: int(count) for name, count in zip(self.names, spent, strict=True)
      },
      "scores": scored,
    }
