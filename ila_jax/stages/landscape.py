"""Stage `landscape`: the map, its cells, depth and relative depth."""

from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from ila_jax import (
  artifacts,
  clusters,
  depth,
  draws,
  landscape,
  metrics,
  projection,
  provenance,
)
from ila_jax import config as config_lib
from ila_jax.stages import embedding
from ila_jax.stages import scoring as scoring_stage

# What the map and its cells are, for the report.
MAP = "map.json"
# Domains below this are merged into blocks of the map.
_MIN_DOMAIN_EXAMPLES = 50


def run(config: config_lib.Config, workdir: epath.Path, mesh: Mesh) -> None:
  """Writes `landscape/cells.parquet`, and `map.json`, which says what they are.

  The domain of an example is its own, or else a coarse block of the map.

  Raises:
    errors.InputError: settings that the pool cannot bear.
  """
  del mesh
  cells_from_budget = config.landscape.grid == "auto" or (
    config.landscape.cells == "kmeans" and config.landscape.clusters is None
  )
  budget = {"budget": config.select.budget, "unit": config.select.unit}
  stage = provenance.Stage(
    workdir,
    "landscape",
    {
      "config": config.section("landscape")
      | ({"select": budget} if cells_from_budget else {}),
      "embed": provenance.output(workdir, "embed"),
      "score": provenance.output(workdir, "score"),
      "exclude_reference": config.score.exclude_reference,
      "seed": config.seed,
    },
  )
  if stage.open():
    return
  scores = artifacts.read_table(workdir / "score/scores.parquet")
  index = artifacts.read_table(workdir / "pool/index.parquet")
  row = scores["row"]
  embeddings = embedding.load(workdir, row)
  found = _fit_map(config, embeddings, scores["id"])
  xy = np.asarray(found.place(embeddings))
  free = scoring_stage.candidates(config, workdir, row)
  max_cells = _budget_examples(config, scores["n_tokens"][free])
  if config.landscape.cells == "kmeans":
    cell, cells = _clusters(config, embeddings, scores["id"], max_cells)
  else:
    cell, cells = _grid(config, xy, max_cells)
  domain = _domains(config, index["domain"][row], xy)
  deep = _depths(config, scores, index["n_labels"][row], domain)
  artifacts.write_table(
    stage.folder / "cells.parquet",
    {
      "row": row,
      "id": scores["id"],
      "x": xy[:, 0],
      "y": xy[:, 1],
      "cell": cell,
      "depth": deep,
      "depth_std": _depth_std(config, scores, index["n_labels"][row]),
      "relative_depth": depth.relative_depth(deep, domain),
      "domain": domain,
    },
  )
  occupied = len(np.unique(cell))
  artifacts.write_json(
    stage.folder / MAP, cells | {"occupied": occupied, "notes": found.notes}
  )
  metrics.say(
    f"  {cells['description']}: {occupied:,} occupied; depth "
    f"{np.median(deep):.3f} in the median, below 0 for {(deep < 0).mean():.1%}"
  )
  stage.finish()


def _fit_map(
  config: config_lib.Config, embeddings: np.ndarray, ids: np.ndarray
) -> projection.Map:
  """The map, fitted on rows drawn by id, in the order of their ids."""
  settings = config.landscape
  name = settings.projection
  total = settings.iterations if name in ("tsne", "parametric") else None
  with metrics.counter(total, desc=name, unit="steps") as advance:
    done = 0

    def on_progress(iterations: int, kl: float) -> None:
      nonlocal done
      advance(iterations - done)
      done = iterations

    return projection.fit(
      embeddings[_fit_rows(config, ids)],
      name=name,
      key=jax.random.key(config.seed),
      options=projection.Options(
        dimensions=settings.dimensions,
        perplexity=settings.perplexity,
        iterations=settings.iterations,
        on_progress=on_progress,
      ),
    )


def _fit_rows(config: config_lib.Config, ids: np.ndarray) -> np.ndarray:
  count = min(config.landscape.fit_examples, len(ids))
  drawn = draws.draw(
    ids,
    count=count,
    seed=config.seed,
    purpose="fit the map",
    allowed=np.ones(len(ids), np.bool_),
  )
  rows = np.flatnonzero(drawn)
  return rows[np.argsort(ids[rows])]


def _budget_examples(config: config_lib.Config, n_tokens: np.ndarray) -> int:
  """About how many of the candidates the budget pays for."""
  budget = config.select.budget
  if config.select.unit == "fraction":
    budget = budget * len(n_tokens)
  elif config.select.unit == "tokens":
    budget = budget / max(n_tokens.mean(), 1)
  return int(np.clip(budget, 1, len(n_tokens)))


def _clusters(
  config: config_lib.Config,
  embeddings: np.ndarray,
  ids: np.ndarray,
  max_cells: int,
) -> tuple[np.ndarray, dict[str, Any]]:
  """k-means cells, and what they are; found in the order of the ids."""
  count = config.landscape.clusters or max_cells
  metrics.say(f"  k-means with {count:,} clusters")
  by_id = np.argsort(ids)
  found = clusters.kmeans(
    embeddings[by_id], clusters=count, key=jax.random.key(config.seed)
  )
  cell = np.empty(len(ids), np.int32)
  cell[by_id] = np.asarray(found.cell)
  return cell, {
    "description": f"{count} k-means cells of the embeddings",
    "num_cells": count,
    "grid": None,
  }


def _grid(
  config: config_lib.Config, xy: np.ndarray, max_cells: int
) -> tuple[np.ndarray, dict[str, Any]]:
  """Cells of a uniform grid, and what they are."""
  grid = config.landscape.grid
  if grid == "auto":
    grid = landscape.auto_grid(xy, max_cells=max_cells)
  cell = np.asarray(landscape.grid_cells(xy, grid=grid))
  sides = " × ".join([str(grid)] * xy.shape[1])
  return cell, {
    "description": f"a {sides} grid over {config.landscape.projection}",
    "num_cells": grid ** xy.shape[1],
    "grid": grid,
  }


def _depths(
  config: config_lib.Config,
  scores: dict[str, np.ndarray],
  n_labels: np.ndarray,
  domain: np.ndarray,
) -> np.ndarray:
  formula = depth.DEPTHS[config.landscape.depth]
  losses = scores["nll_base"], scores["nll_sft"]
  return formula(*losses, scores["n_tokens"], n_labels, domain)


def _depth_std(
  config: config_lib.Config,
  scores: dict[str, np.ndarray],
  n_labels: np.ndarray,
) -> np.ndarray:
  """Deviation of Equation 5 over the reference seeds; NaN of one seed."""
  if config.landscape.depth != "ila":
    return np.full(len(n_labels), np.nan, np.float32)
  return depth.ila_std(scores["nll_sft_std"], scores["n_tokens"], n_labels)


def _domains(
  config: config_lib.Config, names: np.ndarray, xy: np.ndarray
) -> np.ndarray:
  """Numbers of the pool's domains, and of map blocks for the rest.

  A domain of few examples gives no quantile to speak of: its examples count to
  their block of the map, like those that name no domain.
  """
  blocks = np.asarray(
    landscape.domain_blocks(xy[:, :2], blocks=config.landscape.domain_blocks)
  )
  _, number, size = np.unique(names, return_inverse=True, return_counts=True)
  own = (names != "") & (size[number] >= _MIN_DOMAIN_EXAMPLES)
  labels = np.where(own, number, -1 - blocks)
  return np.unique(labels, return_inverse=True)[1].astype(np.int32)
