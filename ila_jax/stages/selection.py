"""Stage `select`: the total order of the pool, cut at the budget."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from ila_jax import (
  artifacts,
  errors,
  landscape,
  metrics,
  neighbours,
  provenance,
  report,
  selection,
  shards,
)
from ila_jax import config as config_lib
from ila_jax import mesh as mesh_lib
from ila_jax.stages import duplicates, embedding, streaming
from ila_jax.stages import landscape as landscape_stage
from ila_jax.stages import scoring as scoring_stage

# Budgets at which the coverage curves are drawn.
_CURVE_POINTS = 40
# Rows whose text is held while the selection is written.
_WRITE_ROWS = 200_000


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
  candidates: selection.Candidates
  n_candidates: int
  occupied: np.ndarray


def run(config: config_lib.Config, workdir: epath.Path, mesh: Mesh) -> None:
  """Writes `select/ranking.parquet`, `selected.jsonl` and `coverage.json`.

  Raises:
    errors.InputError: the budget is above what the pool has.
  """
  settings = config.section("select")["select"]
  compare = settings.pop("compare")
  inputs = {
    "config": {"select": settings},
    "exclude_reference": config.score.exclude_reference,
    "landscape": provenance.output(workdir, "landscape"),
    "seed": config.seed,
  }
  stage = provenance.Stage(workdir, "select", inputs | {"compare": compare})
  if stage.open():
    return
  pools = _load_all(config, workdir, mesh)
  pool = pools[config.select.strategy]
  ranking = rank(config, pool, config.select.strategy)
  k = cut(config, pool, ranking)
  if not k:
    raise errors.InputError(
      f"config.select.budget is {config.select.budget:g} "
      f"{config.select.unit}, which does not pay for the first example of "
      f"{config.select.strategy}. Raise it."
    )
  chosen = ranking.order[:k]
  _write_ranking(stage.folder, pool, ranking)
  artifacts.write_lines(
    stage.folder / "selected.jsonl", _records(workdir, pool.row[chosen])
  )
  coverage = _compare(config, workdir, mesh, pools)
  artifacts.write_json(stage.folder / "coverage.json", coverage)
  ours = coverage["table"][0]
  metrics.say(
    f"  {k:,} of {pool.n_candidates:,} candidates, "
    f"{pool.candidates.n_tokens[chosen].sum():,} response tokens, "
    f"{ours['pool_cells']:.1%} of the pool's cells"
  )
  n_tokens, places = _lengths(workdir, pool.row[chosen])
  warning = report.length_warning(n_tokens, places)
  if warning:
    metrics.say(f"  warning: {warning}")
  # What it is compared with is no part of the selection.
  stage.finish(output=inputs, selected=k)


def _load_all(
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
  workdir = epath.Path(workdir)
  cells = artifacts.read_table(workdir / "landscape/cells.parquet")
  free = scoring_stage.candidates(config, workdir, cells["row"])
  candidate = duplicates.kept(config, workdir, cells, free)
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
  index = artifacts.read_table(
    workdir / "pool/index.parquet", ["n_response_tokens"]
  )
  return ScoredPool(
    row=cells["row"],
    ids=cells["id"],
    candidates=selection.candidates(
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
) -> selection.Ranking:
  """The total order of one strategy, with the settings of the config."""
  settings: dict[str, Any] = {}
  if strategy == "trim":
    settings["quantile"] = config.select.trim_quantile
  return selection.STRATEGIES[strategy](pool.candidates, **settings)


def cut(
  config: config_lib.Config, pool: ScoredPool, ranking: selection.Ranking
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
  return selection.budget_prefix(
    ranking.order, n_tokens, budget=budget, unit=unit
  )


def _write_ranking(
  folder: epath.Path, pool: ScoredPool, ranking: selection.Ranking
) -> None:
  order = ranking.order
  artifacts.write_table(
    folder / "ranking.parquet",
    {
      "row": pool.row[order],
      "id": pool.ids[order],
      "rank": np.arange(1, len(order) + 1),
      "cell": pool.candidates.cell[order],
      "round": ranking.round,
      "depth": pool.candidates.depth[order],
    },
  )


def _records(workdir: epath.Path, rows: np.ndarray) -> Iterator[str]:
  """The chosen records' own JSON text, in rank order, a part at a time."""
  for start in range(0, len(rows), _WRITE_ROWS):
    part = rows[start : start + _WRITE_ROWS]
    for text in shards.gather(workdir, part, ["record"])["record"].to_pylist():
      yield text + "\n"


def _lengths(
  workdir: epath.Path, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Response tokens of what was scored, and the places of the chosen there."""
  row = _scored_rows(workdir)
  index = artifacts.read_table(
    workdir / "pool/index.parquet", ["n_response_tokens"]
  )
  return index["n_response_tokens"][row], np.searchsorted(row, chosen)


def _scored_rows(workdir: epath.Path) -> np.ndarray:
  cells = artifacts.read_table(workdir / "landscape/cells.parquet", ["row"])
  return cells["row"]


def _compare(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: Mesh,
  pools: dict[str, ScoredPool],
) -> dict[str, Any]:
  """Coverage of the strategy and its rivals, each cut at the same budget."""
  cells = artifacts.read_json(workdir / "landscape" / landscape_stage.MAP)
  orders, chosen = {}, {}
  for strategy, pool in pools.items():
    ranking = rank(config, pool, strategy)
    orders[strategy] = ranking.order
    chosen[strategy] = ranking.order[: cut(config, pool, ranking)]
  distances = _distances(
    workdir,
    mesh,
    {name: pools[name].row[rows] for name, rows in chosen.items()},
  )
  table, curves = [], {}
  longest = len(orders[config.select.strategy])
  budgets = np.unique(np.geomspace(1, longest, _CURVE_POINTS).astype(np.int64))
  for strategy, pool in pools.items():
    # Cells of examples that are not held count as cells of the pool.
    cell = np.concatenate([pool.occupied, pool.candidates.cell])
    order = orders[strategy] + len(pool.occupied)
    k = len(chosen[strategy])
    found = landscape.coverage(cell, order[:k], num_cells=cells["num_cells"])
    summary = landscape.distance_summary(distances[strategy])
    table.append(
      {
        "strategy": strategy,
        "n_examples": k,
        "n_tokens": int(pool.candidates.n_tokens[chosen[strategy]].sum()),
        "pool_cells": found["coverage"],
        "all_cells": found["coverage_all"],
        "effective_cells": found["effective_cells"],
        "mean_distance": summary["mean"],
        "p95_distance": summary["p95"],
      }
    )
    at = np.union1d(budgets, [k])
    curves[strategy] = {
      "budgets": at.tolist(),
      "coverage": landscape.coverage_curve(cell, order, at).tolist(),
    }
  return {"table": table, "curves": curves}


def _distances(
  workdir: epath.Path, mesh: Mesh, chosen: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Distance of what was scored to the nearest chosen, a shard at a time."""
  scored = _scored_rows(workdir)
  nearest = {
    strategy: mesh_lib.put(
      embedding.load(workdir, np.sort(rows)), mesh, mesh_lib.REPLICATED
    )
    for strategy, rows in chosen.items()
  }
  found: dict[str, list] = {strategy: [] for strategy in chosen}
  paths = embedding.paths(workdir)
  start, size = 0, None
  for path in metrics.progress(paths, desc="coverage", unit="shards"):
    part = artifacts.read_array(path)
    begin, end = np.searchsorted(scored, [start, start + len(part)])
    wanted = scored[begin:end] - start
    start += len(part)
    # The last shard is filled up, so that one program serves all.
    size = size or len(part)
    filled = np.pad(part, ((0, size - len(part)), (0, 0)))
    queries = mesh_lib.put_rows(filled, mesh)
    for strategy, points in nearest.items():
      near = neighbours.nearest(queries, points, k=1)
      distance = mesh_lib.fetch(jnp.sqrt(near.squared[:, 0]))
      found[strategy].append(distance[wanted])
  return {name: np.concatenate(parts) for name, parts in found.items()}
