"""Stage `select`: the total order of the pool, cut at the budget."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath
from jax.sharding import Mesh

from ila_jax import (
  artifacts,
  errors,
  landscape,
  metrics,
  provenance,
  report,
  selection,
  shards,
)
from ila_jax import config as config_lib
from ila_jax import mesh as mesh_lib
from ila_jax.stages import duplicates, embedding
from ila_jax.stages import landscape as landscape_stage
from ila_jax.stages import scoring as scoring_stage

# Budgets at which the coverage curves are drawn.
_CURVE_POINTS = 40
# Rows whose text is held while the selection is written.
_WRITE_ROWS = 200_000


@dataclasses.dataclass(frozen=True)
class ScoredPool:
  """What was scored, one entry a row: where it lies and what it costs."""

  row: np.ndarray
  ids: np.ndarray
  candidates: selection.Candidates


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
  pool = load(config, workdir)
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
  coverage = _compare(config, workdir, mesh, pool)
  artifacts.write_json(stage.folder / "coverage.json", coverage)
  ours = coverage["table"][0]
  metrics.say(
    f"  {k:,} of {int(pool.candidates.candidate.sum()):,} candidates, "
    f"{pool.candidates.n_tokens[chosen].sum():,} response tokens, "
    f"{ours['pool_cells']:.1%} of the pool's cells"
  )
  warning = report.length_warning(pool.candidates.n_tokens, chosen)
  if warning:
    metrics.say(f"  warning: {warning}")
  # What it is compared with is no part of the selection.
  stage.finish(output=inputs, selected=k)


def load(config: config_lib.Config, workdir: epath.Path) -> ScoredPool:
  """The scored examples as candidates; dev and reference are set apart."""
  workdir = epath.Path(workdir)
  cells = artifacts.read_table(workdir / "landscape/cells.parquet")
  index = artifacts.read_table(
    workdir / "pool/index.parquet", ["n_response_tokens"]
  )
  row = cells["row"]
  free = scoring_stage.candidates(config, workdir, row)
  return ScoredPool(
    row=row,
    ids=cells["id"],
    candidates=selection.candidates(
      cells["id"],
      cell=cells["cell"],
      depth=cells["depth"],
      relative_depth=cells["relative_depth"],
      n_tokens=index["n_response_tokens"][row],
      domain=cells["domain"],
      candidate=duplicates.kept(config, workdir, cells, free),
      seed=config.seed,
    ),
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
  """How many of the order the budget pays for."""
  return selection.budget_prefix(
    ranking.order,
    pool.candidates.n_tokens,
    budget=config.select.budget,
    unit=config.select.unit,
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


def _compare(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: Mesh,
  pool: ScoredPool,
) -> dict[str, Any]:
  """Coverage of the strategy and its rivals, each cut at the same budget."""
  cell = pool.candidates.cell
  cells = artifacts.read_json(workdir / "landscape" / landscape_stage.MAP)
  embeddings = mesh_lib.put_rows(embedding.load(workdir, pool.row), mesh)
  total = int(pool.candidates.candidate.sum())
  budgets = np.unique(np.geomspace(1, total, _CURVE_POINTS).astype(np.int64))
  table, curves = [], {}
  strategies = dict.fromkeys((config.select.strategy, *config.select.compare))
  for strategy in metrics.progress(
    list(strategies), desc="coverage", unit="strategies"
  ):
    ranking = rank(config, pool, strategy)
    order, k = ranking.order, cut(config, pool, ranking)
    found = landscape.coverage(cell, order[:k], num_cells=cells["num_cells"])
    distance = mesh_lib.fetch(landscape.nearest_distance(embeddings, order[:k]))
    summary = landscape.distance_summary(distance[: len(cell)])
    table.append(
      {
        "strategy": strategy,
        "n_examples": k,
        "n_tokens": int(pool.candidates.n_tokens[order[:k]].sum()),
        "pool_cells": found["coverage"],
        "all_cells": found["coverage_all"],
        "effective_cells": found["effective_cells"],
        "mean_distance": summary["mean"],
        "p95_distance": summary["p95"],
      }
    )
    budgets = np.union1d(budgets, [k])
    curves[strategy] = {
      "budgets": budgets.tolist(),
      "coverage": landscape.coverage_curve(cell, order, budgets).tolist(),
    }
  return {"table": table, "curves": curves}
