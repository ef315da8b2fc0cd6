"""The cells of every example on maps of other seeds, for a consensus of maps.

`DIR/beside/other_maps` has a file for each map. They are made as the run's own
map was, with the next seeds: other starts of t-SNE or of the clusters, and
other draws of what they are fitted on.
"""

import dataclasses

import numpy as np
from etils import epath
from jaxtyping import Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import costs, sizes, work
from ila_jax.landscape import place
from ila_jax.landscape.maps import trial
from ila_jax.pool import shards
from ila_jax.run import context, interrupts, progress, stage_record, tables
from ila_jax.run.disk import files, folders
from ila_jax.score import split

NAME = "other_maps"
# Seeds are numbers of 32 bits.
_SEEDS = 2**32
# Bytes of a cell.
_CELL = 4


def run(run: context.Run) -> None:
  """Writes the cells of all scored examples on each other map.

  What is there is kept when a killed run goes on.

  Raises:
    errors.InputError: as `place.run`.
  """
  config, workdir = run.config, run.workdir
  seeds = _seeds(config.seed, config.landscape.consensus_maps)
  inputs = {
    "landscape": stage_record.output(workdir, "landscape"),
    "maps": config.landscape.consensus_maps,
  }
  stage = stage_record.Stage(workdir / folders.BESIDE, NAME, inputs)
  if stage.begin(replace="all"):
    return
  own = files.read_table(tables.CELLS.path(workdir), ["row", "id"])
  lengths = files.read_table(tables.SCORES.path(workdir), ["row", "n_tokens"])
  n_tokens = lengths["n_tokens"][np.searchsorted(lengths["row"], own["row"])]
  max_cells = split.wanted(run, own["row"], n_tokens)
  paths = [tables.OTHER_CELLS.path(workdir, seed=seed) for seed in seeds]
  done = shards.done(paths)
  for number, (seed, path) in enumerate(zip(seeds, paths, strict=True), 1):
    if done[number - 1]:
      continue
    progress.say(f"  map {number} of {len(seeds)}, of seed {seed}")
    cell = place.anew(
      dataclasses.replace(run, config=dataclasses.replace(config, seed=seed)),
      row=own["row"],
      ids=own["id"],
      max_cells=max_cells,
    )
    files.write_array(path, cell)
    stage.save_progress()
    interrupts.point()
  mesh_lib.barrier("other maps made")
  stage.finish(seeds=seeds)


def _seeds(seed: int, maps: int) -> list[int]:
  """The next seeds, one for each map but the run's own."""
  return [(seed + number) % _SEEDS for number in range(1, maps)]


def read(
  workdir: epath.Path, row: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "n m"]:
  """Cells of some scored rows on each other map, int32.

  Raises:
    errors.InputError: they have not been made.
  """
  beside = workdir / folders.BESIDE
  stage_record.output(beside, NAME)
  seeds = stage_record.read_record(beside / NAME)["seeds"]
  own = files.read_table(tables.CELLS.path(workdir), ["row"])["row"]
  at = np.searchsorted(own, row)
  paths = (tables.OTHER_CELLS.path(workdir, seed=seed) for seed in seeds)
  return np.stack([files.read_array(path)[at] for path in paths], axis=1)


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of as many maps more; that of clusters is not known."""
  if run.config.landscape.cells == "kmeans":
    return costs.Cost(0.0, left_out=("k-means cells of other seeds",))
  return trial.cost(run).times(run.config.landscape.consensus_maps - 1)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the cells."""
  maps = known.config.landscape.consensus_maps - 1
  return costs.Need(maps * _CELL * known.examples + costs.TABLE)
