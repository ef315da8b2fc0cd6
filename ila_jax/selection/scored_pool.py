"""The pool with its scores, as the strategies read it."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.landscape.duplicates import write
from ila_jax.methods import candidates as candidates_lib
from ila_jax.methods import table as table_lib
from ila_jax.pool import index
from ila_jax.run import context, tables
from ila_jax.run.disk import files
from ila_jax.score import split
from ila_jax.score.signals import table as signals_table
from ila_jax.selection import budget as budget_lib
from ila_jax.selection import filters
from ila_jax.selection import inputs as inputs_lib


@dataclasses.dataclass(frozen=True)
class ScoredPool:
  """The scored examples, one entry a row: where each lies and what it costs.

  Attributes:
    row: of the pool [n].
    candidates: the pool as selection sees it [n].
    n_candidates: how many may be selected.
  """

  row: np.ndarray
  candidates: candidates_lib.Candidates
  n_candidates: int


_COLUMNS = ["row", "id", "cell", "depth", "relative_depth", "domain"]


def load(run: context.Run) -> ScoredPool:
  """The scored examples as candidates; dev and reference are set apart."""
  config, workdir = run.config, run.workdir
  cells = files.read_table(tables.CELLS.path(workdir), _COLUMNS)
  free = split.candidates(run, cells["row"])
  select = config.select
  # First the filter: of near-duplicates one that it lets in is to stay.
  candidate = filters.kept(workdir, select, cells, free)
  candidate = write.kept(run, cells, candidate)
  n_candidates = int(candidate.sum())
  n_tokens = index.column(workdir, "n_response_tokens")[cells["row"]]
  budget, unit = _in_examples(config, n_candidates)
  made = candidates_lib.candidates(
    cells["id"],
    cell=cells["cell"],
    depth=cells["depth"],
    relative_depth=cells["relative_depth"],
    n_tokens=n_tokens,
    domain=cells["domain"],
    candidate=candidate,
    seed=config.seed,
  )
  ties = filters.ties(workdir, select, cells, candidate)
  made = made if ties is None else candidates_lib.tied_by(made, ties)
  made = candidates_lib.with_inputs(
    made,
    inputs_lib.Inputs(epath.Path(workdir), cells["row"]),
    wanted=budget_lib.most_rows(n_tokens[candidate], budget=budget, unit=unit),
  )
  return ScoredPool(cells["row"], made, n_candidates)


def rank(
  config: config_lib.Config, pool: ScoredPool, strategy: str
) -> candidates_lib.Ranking:
  """The order of one method, with the options of the config."""
  options = table_lib.options(strategy, config.select.options)
  return table_lib.METHODS[strategy].run(pool.candidates, options)


def made_from(run: context.Run, strategies: Iterable[str]) -> dict[str, Any]:
  """The settings and signals that some methods' orders are made from.

  Returns:
    By method: its options, and the signals that it needs; without those that
    have neither.

  Raises:
    errors.InputError: a signal has not been computed.
  """
  config, workdir = run.config, run.workdir
  made = {}
  for name in strategies:
    options = table_lib.options(name, config.select.options)
    parts = {
      "options": dataclasses.asdict(options),
      "signals": signals_table.outputs(workdir, table_lib.METHODS[name].needs),
    }
    parts = {part: value for part, value in parts.items() if value}
    if parts:
      made[name] = parts
  return made


def cut(
  config: config_lib.Config,
  pool: ScoredPool,
  ranking: candidates_lib.Ranking,
  strategy: str,
) -> int:
  """The number of ranked examples that the budget pays for.

  Raises:
    errors.InputError: the budget is above the pool, or above what the method
      has ordered.
  """
  held = len(ranking.order)
  if held == pool.n_candidates:
    budget, unit = config.select.budget, config.select.unit
  else:
    budget, unit = _in_examples(config, pool.n_candidates)
    wants = f"config.select.budget: {strategy!r} is to order"
    check_held(config, pool, ranking, wants=wants, budget=budget, unit=unit)
  return budget_lib.budget_prefix(
    ranking.order, pool.candidates.n_tokens, budget=budget, unit=unit
  )


def check_held(
  config: config_lib.Config,
  pool: ScoredPool,
  ranking: candidates_lib.Ranking,
  *,
  wants: str,
  budget: float | int,
  unit: str,
) -> None:
  """Checks that the head of an order is long enough for a budget.

  Args:
    config: the run.
    pool: what was ordered.
    ranking: its order, or the head of one.
    wants: the field that asks, and for what; the budget follows.
    budget: in `unit`.
    unit: "examples" or "tokens".

  Raises:
    errors.InputError: it is too short.
  """
  held = len(ranking.order)
  tokens = pool.candidates.n_tokens[ranking.order].sum(dtype=np.int64)
  if budget <= {"examples": held, "tokens": tokens}[unit]:
    return
  raise errors.InputError(
    f"{wants} {budget:,.12g} {unit}; allowed: up to {held:,} examples of "
    f"{tokens:,} response tokens, for it orders no more of the "
    f"{pool.n_candidates:,} candidates. The rest is left out: {ranking.rest} "
    "Lower config.select.budget, or choose another method."
  )


def _in_examples(
  config: config_lib.Config, n_candidates: int
) -> tuple[float | int, str]:
  """The budget and its unit; a share becomes a number of examples."""
  budget, unit = config.select.budget, config.select.unit
  if unit == "fraction":
    return round(budget * n_candidates), "examples"
  return budget, unit
