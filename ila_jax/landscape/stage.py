"""Stage `landscape`: the map, its cells, depth and relative depth."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape import depth, grid, join, place
from ila_jax.landscape.duplicates import write
from ila_jax.landscape.trust import write as trust_write
from ila_jax.pool import index, shards
from ila_jax.run import context, progress, stage_record, tables
from ila_jax.run.disk import files
from ila_jax.score import split
from ila_jax.score.signals import scores as scores_lib

# Domains below this are merged into blocks of the map.
_MIN_DOMAIN_EXAMPLES = 50


def run(run: context.Run) -> None:
  """Writes `landscape/cells.parquet`, and `map.json`, which says what they are.

  The domain of an example is its own, or else a coarse block of the map.

  Raises:
    errors.InputError: settings that the pool cannot bear.
  """
  inputs = _inputs(run)
  stage = stage_record.Stage(run.workdir, "landscape", inputs)
  if not stage.begin():
    _make(run)
    held, scored = (
      files.count_rows(one.path(run.workdir))
      for one in (tables.CELLS, tables.SCORES)
    )
    notes: dict[str, Any] = {}
    if held < scored:
      notes["without_depth"] = scored - held
    cells = files.read_table(tables.CELLS.path(run.workdir), ["depth"])
    said = depth.sameness(cells["depth"])
    if said:
      notes["same_depth"] = said
      progress.say(f"  warning: {said}")
    stage.finish(**notes)
  _report_stability(run)


def _inputs(run: context.Run) -> dict[str, Any]:
  """The settings and parents that the stage is made from."""
  config, workdir = run.config, run.workdir
  settings = config.section("landscape")
  if config.landscape.follows_budget:
    settings["select"] = {
      "budget": config.select.budget,
      "unit": config.select.unit,
    }
  score = depth.score_name(config.landscape.depth)
  if score:
    settings["scores"] = scores_lib.hashes(workdir, [score])
  return {
    "config": settings,
    **stage_record.parents(workdir, "landscape"),
    "exclude_reference": config.score.exclude_reference,
    "seed": config.seed,
    **join.inputs(run),
  }


def _make(run: context.Run) -> None:
  """Map, cells and near-duplicates; what a killed run has written is kept."""
  config, workdir = run.config, run.workdir
  made = [tables.MAP, tables.CELLS, tables.FITTED, tables.FITTED_ARRAYS]
  if config.landscape.cells == "kmeans":
    made.append(tables.CENTERS)
  if not all(shards.done([one.path(workdir) for one in made])):
    scores = _scored(run, say=progress.say)
    mapped = place.run(
      run,
      row=scores["row"],
      ids=scores["id"],
      max_cells=split.wanted(run, scores["row"], scores["n_tokens"]),
    )
    _write_cells(run, scores, mapped)
    mesh_lib.barrier("cells written")
  wanted = config.landscape.duplicate_cosine is not None
  if wanted and not write.are_there(workdir):
    write.run_into(run)
  place.drop_parts(workdir)


def _write_cells(
  run: context.Run,
  scores: dict[str, np.ndarray],
  mapped: place.Mapped,
) -> None:
  """Depth and relative depth, beside where the examples lie."""
  config, workdir = run.config, run.workdir
  row = scores["row"]
  n_labels = index.column(workdir, "n_labels")[row]
  domain = _domains(run, row, mapped)
  deep = _depths(run, scores, n_labels, domain)
  positions = zip(grid.axes(mapped.xy.shape[1]), mapped.xy.T, strict=True)
  files.write_table(
    tables.CELLS.path(workdir),
    {
      "row": row,
      "id": scores["id"],
      **dict(positions),
      "cell": mapped.cell,
      "depth": deep,
      "depth_std": _depth_std(config, scores, n_labels),
      "relative_depth": depth.relative_depth(deep, domain),
      "domain": domain,
    },
  )
  files.write_json(tables.MAP.path(workdir), mapped.about)
  progress.say(
    f"  {mapped.about['description']}: {mapped.about['occupied']:,} occupied; "
    f"depth {np.median(deep):.3f} in the median, below 0 for "
    f"{(deep < 0).mean():.1%}"
  )


def _report_stability(run: context.Run) -> None:
  """Adds what config.landscape.stability asks for and is not there yet."""
  config = run.config
  if not config.landscape.stability:
    return
  scores = _scored(run)
  fitted = scores["row"][place.fit_rows(config, scores["id"])]
  trust_write.run_into(
    dataclasses.replace(run, config=join.as_joined(run)),
    rows=fitted,
    budget=split.wanted(run, scores["row"], scores["n_tokens"]),
  )


def _scored(
  run: context.Run, say: Callable[[str], object] = lambda line: None
) -> dict[str, np.ndarray]:
  """What `score` has written, of the examples that have a depth.

  Where depth is a score of others, those without one have no place.

  Args:
    run: the run.
    say: gets a line of how many those are.

  Raises:
    errors.InputError: they are more than config.pool.max_reject_fraction.
  """
  config, workdir = run.config, run.workdir
  scored = files.read_table(tables.SCORES.path(workdir))
  name = depth.score_name(config.landscape.depth)
  if not name:
    return scored
  lacks = np.isnan(scores_lib.read(workdir, [name], scored["row"])[name])
  count, allowed = int(lacks.sum()), config.pool.max_reject_fraction
  if not count:
    return scored
  first = int(np.flatnonzero(lacks)[0])
  told = (
    f"{count:,} of {len(lacks):,} examples have no score {name!r} (the first "
    f"is row {scored['row'][first]:,} of the pool, id "
    f"{scored['id'][first]:016x})"
  )
  if count > allowed * len(lacks):
    raise errors.InputError(
      f"config.landscape.depth is {config.landscape.depth!r}, and {told}; "
      f"allowed by config.pool.max_reject_fraction: {allowed:g}. Raise that, "
      "to leave them out, or choose another depth."
    )
  say(f"  {told}: they are left out, of the map and of the candidates")
  return {column: values[~lacks] for column, values in scored.items()}


def _depths(
  run: context.Run,
  scores: dict[str, np.ndarray],
  n_labels: np.ndarray,
  domain: np.ndarray,
) -> np.ndarray:
  config = run.config
  name = depth.score_name(config.landscape.depth)
  if name:
    return scores_lib.read(run.workdir, [name], scores["row"])[name]
  formula = depth.DEPTHS[config.landscape.depth]
  losses = scores["nll_base"], scores["nll_sft"]
  return formula(*losses, scores["n_tokens"], n_labels, domain)


def _depth_std(
  config: config_lib.Config,
  scores: dict[str, np.ndarray],
  n_labels: np.ndarray,
) -> np.ndarray:
  """Deviation of Equation 5 over the reference seeds; NaN for one seed."""
  if config.landscape.depth != depth.PUBLISHED:
    return np.full(len(n_labels), np.nan, np.float32)
  return depth.ila_std(scores["nll_sft_std"], scores["n_tokens"], n_labels)


def _domains(
  run: context.Run, row: np.ndarray, mapped: place.Mapped
) -> np.ndarray:
  """For each example, the number of its domain, or of its block of the map.

  A domain of few examples gives no useful quantile: its examples count to their
  block of the map, like those that name no domain.
  """
  low, high = mapped.box
  blocks = run.config.landscape.domain_blocks
  block = grid.grid_cells(
    mapped.xy[:, :2], grid=blocks, low=low[:2], high=high[:2], clip=True
  )
  names, number = files.read_names(tables.INDEX.path(run.workdir), "domain")
  number = number[row]
  size = np.bincount(number, minlength=len(names))
  own = (names != "") & (size >= _MIN_DOMAIN_EXAMPLES)
  # First the blocks, the last one first; then the domains by name.
  label = np.where(
    own[number], blocks**2 + number, blocks**2 - 1 - np.asarray(block)
  )
  is_there = np.bincount(label) > 0
  return (np.cumsum(is_there) - 1).astype(np.int32)[label]
