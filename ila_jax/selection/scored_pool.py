"""The pool with its scores, as the strategies read it."""

import dataclasses
from typing import Any

import numpy as np
from etils import epath
from jax.sharding import Mesh

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.landscape.duplicates import write
from ila_jax.methods import candidates as candidates_lib
from ila_jax.methods import table as table_lib
from ila_jax.run import tables
from ila_jax.run.disk import files
from ila_jax.score import split
from ila_jax.selection import budget as budget_lib
from ila_jax.selection import streaming


@dataclasses.dataclass(frozen=True)
class ScoredPool:
  """What was scored, one entry a row: where it lies and what it costs.

  Attributes:
    row: of the pool [n].
    ids: of the examples [n].
    candidates: the pool as selection sees it, or what is kept of it [n].
    n_candidates: of the whole pool.
    occupied: cells of examples that are not held here; empty for all of them.
  """

  row: np.ndarray
  ids: np.ndarray
  candidates: candidates_lib.Candidates
  n_candidates: int
  occupied: np.ndarray


def load_all(
  config: config_lib.Config, workdir: epath.Path, mesh: Mesh
) -> dict[str, ScoredPool]:
  """What each strategy orders: the pool, or the rows that it keeps of it."""
  strategies = dict.fromkeys((config.select.strategy, *config.select.compare))
  if config.select.kept_per_cell is None:
    return dict.fromkeys(strategies, load(config, workdir))
  pools = {}
  for strategy, kept in streaming.keep(
    config, workdir, mesh, strategies
  ).items():
    candidate = np.ones(len(kept.columns["row"]), np.bool_)
    pools[strategy] = _scored(
      config, workdir, kept.columns, candidate, kept.n_candidates, kept.occupied
    )
  return pools


def load(config: config_lib.Config, workdir: epath.Path) -> ScoredPool:
  """The scored examples as candidates; dev and reference are set apart."""
  cells = files.read_table(tables.CELLS.path(workdir))
  free = split.candidates(config, workdir, cells["row"])
  candidate = write.kept(config, workdir, cells, free)
  nowhere = np.zeros(0, np.int64)
  return _scored(
    config, workdir, cells, candidate, int(candidate.sum()), nowhere
  )


def _scored(
  config: config_lib.Config,
  workdir: epath.Path,
  cells: dict[str, np.ndarray],
  candidate: np.ndarray,
  n_candidates: int,
  occupied: np.ndarray,
) -> ScoredPool:
  index = files.read_table(tables.INDEX.path(workdir), ["n_response_tokens"])
  return ScoredPool(
    row=cells["row"],
    ids=cells["id"],
    candidates=candidates_lib.candidates(
      cells["id"],
      cell=cells["cell"],
      depth=cells["depth"],
      relative_depth=cells["relative_depth"],
      n_tokens=index["n_response_tokens"][cells["row"]],
      domain=cells["domain"],
      candidate=candidate,
      seed=config.seed,
    ),
    n_candidates=n_candidates,
    occupied=occupied,
  )


def rank(
  config: config_lib.Config, pool: ScoredPool, strategy: str
) -> candidates_lib.Ranking:
  """The total order of one strategy, with the settings of the config."""
  settings: dict[str, Any] = {}
  if strategy == "trim":
    settings["quantile"] = config.select.trim_quantile
  return table_lib.STRATEGIES[strategy](pool.candidates, **settings)


def cut(
  config: config_lib.Config, pool: ScoredPool, ranking: candidates_lib.Ranking
) -> int:
  """How many of the order the budget pays for.

  Raises:
    errors.InputError: the budget is above the pool, or above what is kept.
  """
  budget, unit = config.select.budget, config.select.unit
  n_tokens = pool.candidates.n_tokens
  kept = len(ranking.order)
  if kept < pool.n_candidates:
    if unit == "fraction":
      budget, unit = round(budget * pool.n_candidates), "examples"
    holds = {"examples": kept, "tokens": n_tokens.sum(dtype=np.int64)}
    if budget > holds[unit]:
      raise errors.InputError(
        f"config.select.kept_per_cell is {config.select.kept_per_cell}, which "
        f"keeps {kept:,} examples of {holds['tokens']:,} response tokens; "
        f"config.select.budget wants {budget:,.12g} {unit}. Raise "
        "kept_per_cell, or lower the budget."
      )
  return budget_lib.budget_prefix(
    ranking.order, n_tokens, budget=budget, unit=unit
  )


def scored_rows(workdir: epath.Path) -> np.ndarray:
  """Rows of the pool that have a cell, in order."""
  cells = files.read_table(tables.CELLS.path(workdir), ["row"])
  return cells["row"]
