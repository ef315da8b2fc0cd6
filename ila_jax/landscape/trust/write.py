"""Part of stage `landscape`: what other maps would have chosen and measured.

It is measured among the examples that the map was fitted on, at their share of
the budget: a few fits more are the cost, however large the pool is.
"""

from typing import Any

import jax
import numpy as np

from ila_jax import config as config_lib
from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape import clusters, ordering
from ila_jax.landscape import grid as grid_lib
from ila_jax.landscape.maps import projections
from ila_jax.landscape.trust import agreement, variants
from ila_jax.landscape.trust import fitted as fitted_lib
from ila_jax.run import context, interrupts, progress, stage_record, tables
from ila_jax.run.disk import files

# Examples whose neighbours are looked up on the map.
_LOOKED_UP = 2000
_NEIGHBOURS = 10


def run_into(run: context.Run, *, rows: np.ndarray, budget: int) -> None:
  """Writes `stability.json`: how far each variant agrees with the run.

  Comparisons that are there already, for the same map, are kept.

  Args:
    run: whose config.landscape.stability names what is varied.
    rows: of the pool, on which the map was fitted, in the order of their ids.
    budget: candidates of the pool that are selected.
  """
  config, workdir = run.config, run.workdir
  path = tables.STABILITY.path(workdir)
  made_from = _made_from(run, len(rows), budget)
  stability = files.read_json(path) if path.exists() else {}
  mesh_lib.barrier("stability read")
  if stability.get("made_from") != made_from:
    stability = {"made_from": made_from, "rows": []}
  there = {(row["axis"], row["variant"]) for row in stability["rows"]}
  todo = [v for v in _variants(config) if (v.axis, v.name) not in there]
  if not todo:
    return
  fits = sum(_fits_tsne(config, variant) for variant in todo)
  progress.say(
    f"  stability: {len(todo)} comparisons among {len(rows):,} examples; t-SNE "
    f"is fitted {fits} times"
  )
  with progress.counter(
    len(todo), desc="stability", unit="comparisons"
  ) as advance:
    fitted = fitted_lib.read(run, rows=rows, budget=budget)
    xy = _positions(config, fitted, _own(config))
    own = _cells(config, fitted, _own(config), xy)
    candidates = int(fitted.free.sum())
    stability |= {
      "examples": len(rows),
      "candidates": candidates,
      "budget": fitted.budget,
      "jaccard_by_chance": agreement.jaccard_by_chance(
        fitted.budget, candidates
      ),
      "subsets": len(fitted.subsets),
      "subset_examples": fitted.subsets.shape[1],
    }
    for variant in todo:
      stability["rows"].append(_compare(config, fitted, own, variant))
      files.write_json(path, stability)
      advance(1)
      interrupts.point()


def _made_from(run: context.Run, examples: int, budget: int) -> str:
  config, workdir = run.config, run.workdir
  settings = config.section("landscape")["landscape"]
  settings.pop("stability", None)
  return stage_record.fingerprint(
    {
      "landscape": settings,
      **stage_record.parents(workdir, "landscape"),
      "exclude_reference": config.score.exclude_reference,
      "seed": config.seed,
      "examples": examples,
      "budget": budget,
    }
  )


def _own(config: config_lib.Config) -> variants.CellRecipe:
  settings = config.landscape
  return variants.CellRecipe(
    settings.cells, settings.projection, settings.perplexity, config.seed
  )


def _variants(config: config_lib.Config) -> list[variants.Variant]:
  return variants.variants(
    config.landscape.stability,
    own=_own(config),
    reference_seeds=config.score.reference_seeds,
  )


def _fits_tsne(config: config_lib.Config, variant: variants.Variant) -> bool:
  recipe = variant.recipe
  return (
    recipe is not None
    and recipe.cells == "grid"
    and projections.PROJECTIONS[recipe.projection].by_tsne
    and not recipe.same_map(_own(config))
  )


def _compare(
  config: config_lib.Config,
  fitted: fitted_lib.Fitted,
  own: np.ndarray,
  variant: variants.Variant,
) -> dict[str, Any]:
  """How far a variant agrees with the run; None for what it cannot change."""
  recipe, xy, cell = variant.recipe, None, own
  if recipe:
    xy = _positions(config, fitted, recipe)
    cell = _cells(config, fitted, recipe, xy) if recipe != _own(config) else own
  deep = fitted.depths[variant.reference]
  theirs = fitted.depths[variant.against]
  n = len(cell)
  dealt = np.asarray(jax.random.permutation(jax.random.key(config.seed), n))
  if variant.dealt == "cells":
    cell = cell[dealt]
  if variant.dealt == "depths":
    deep = deep[dealt]
  chosen, others = _choose(fitted, cell, deep), _choose(fitted, own, theirs)
  reach = agreement.mean_distances(fitted.sharded, chosen[None], n=n)
  row = {
    "axis": variant.axis,
    "variant": variant.name,
    "cells": len(np.unique(cell)),
    "jaccard": agreement.jaccard(chosen, others),
    "kept": len(np.intersect1d(chosen, others)) / max(len(others), 1),
    "covers": float(agreement.cell_coverage(own, chosen[None])[0]),
    "mean_distance": float(reach[0]),
    "depth": None,
    "coverage": None,
    "distance": None,
    "neighbours_kept": None,
    "trustworthiness": None,
  }
  if deep is not theirs:
    row["depth"] = _rho(deep, theirs, resamples=0)[:1]
  if recipe or variant.dealt == "cells":
    here, there = (
      agreement.cell_coverage(c, fitted.subsets) for c in (cell, own)
    )
    row["coverage"] = _rho(here, there)
    row["distance"] = _rho(here, -fitted.distances)
  if xy is not None:
    rows = dealt[:_LOOKED_UP]
    row |= agreement.map_quality(
      fitted.x, xy, rows=rows, k=min(_NEIGHBOURS, n // 3)
    )
  return row


def _positions(
  config: config_lib.Config,
  fitted: fitted_lib.Fitted,
  recipe: variants.CellRecipe,
) -> np.ndarray | None:
  """The map below a grid; the run's own is not fitted again."""
  if recipe.cells != "grid":
    return None
  if recipe.same_map(_own(config)):
    return fitted.xy
  kind = projections.PROJECTIONS[recipe.projection]
  fitted_map = projections.fit(
    fitted.x,
    name=recipe.projection,
    key=jax.random.key(recipe.seed),
    options=projections.Options(
      dimensions=2 if kind.plane_only else config.landscape.dimensions,
      perplexity=recipe.perplexity,
      iterations=config.landscape.iterations,
      mesh=fitted.sharded.sharding.mesh,
    ),
  )
  return np.asarray(fitted_map.place(fitted.x))


def _cells(
  config: config_lib.Config,
  fitted: fitted_lib.Fitted,
  recipe: variants.CellRecipe,
  xy: np.ndarray | None,
) -> np.ndarray:
  """Cells as the run would make them of a pool of the fitted examples."""
  settings, n = config.landscape, len(fitted.x)
  if recipe.cells == "kmeans":
    count = fitted.budget
    if settings.clusters:
      count = settings.clusters * fitted.share
    count = int(np.clip(round(count * recipe.side**2), 1, n))
    key = jax.random.key(recipe.seed)
    return np.asarray(clusters.kmeans(fitted.x, clusters=count, key=key).cell)
  if settings.grid == "auto":
    grid = grid_lib.auto_grid(xy, max_cells=fitted.budget)
  else:
    grid = settings.grid * fitted.share ** (1 / xy.shape[1])
  grid = max(round(grid * recipe.side), 1)
  return np.asarray(grid_lib.grid_cells(xy, grid=grid))


def _choose(
  fitted: fitted_lib.Fitted, cell: np.ndarray, deep: np.ndarray
) -> np.ndarray:
  """Rows that ILA selects; the fitted examples stand in the order of ids."""
  id_rank = np.arange(len(cell), dtype=np.int32)
  order, _ = ordering.total_order(cell, deep, id_rank, fitted.free)
  return order[: fitted.budget]


def _rho(
  here: np.ndarray, there: np.ndarray, resamples: int = 1000
) -> list[float | None]:
  """Rank correlation and its interval, as JSON has them: null for NaN."""
  correlation = agreement.rank_correlation(here, there, resamples=resamples)
  return [None if np.isnan(value) else value for value in correlation]
