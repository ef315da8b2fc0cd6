"""Part of stage `landscape`: where every example lies, and in which cell.

Embeddings are read part by part; only positions are in memory for the whole
pool. The map is kept in `landscape/map/`, so that another run can join it.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.embed import rows as rows_lib
from ila_jax.landscape import centers as centers_lib
from ila_jax.landscape import clusters, join
from ila_jax.landscape import grid as grid_lib
from ila_jax.landscape.maps import configured, projections
from ila_jax.landscape.trust import judging
from ila_jax.pool import shards
from ila_jax.run import context, draws, interrupts, progress, tables
from ila_jax.run.disk import files

# Examples that are placed at once, and the unit of resume.
_PART_ROWS = 65_536
# Examples that k-means looks at; more where there are more clusters.
_CLUSTERED_EXAMPLES = 2**20


@dataclasses.dataclass(frozen=True)
class Mapped:
  """Where the n scored examples lie, and what `map.json` says.

  Attributes:
    xy: positions, float32 [n, m].
    cell: int32 [n].
    box: lowest and highest corner of the map, float32 [m]; of a joined map, in
      the pool that it was fitted for.
    about: what `map.json` says of the map and its cells.
  """

  xy: np.ndarray
  cell: np.ndarray
  box: tuple[np.ndarray, np.ndarray]
  about: dict[str, Any]


def run(
  run: context.Run,
  *,
  row: np.ndarray,
  ids: np.ndarray,
  max_cells: int,
) -> Mapped:
  """Fits a map, or joins one, places every example, and gives it a cell.

  Args:
    run: whose map it is; its devices fit and place together.
    row: scored rows of the pool, ascending.
    ids: their ids.
    max_cells: cells at most, by the budget.

  Raises:
    errors.InputError: a map that does not suit the embeddings or the cells,
      embeddings that are not finite, or a map that tells nothing of them.
  """
  config, workdir = run.config, run.workdir
  x = _Embeddings(workdir, row)
  joined = join.take(run, width=x.width)
  fitted_map = _map(run, x, fit_rows(config, ids))
  xy = _places(run, fitted_map, x, len(row))
  if joined is None:
    box = grid_lib.bounding_box(xy)
  else:
    low, high = (np.array(joined[end], np.float32) for end in ("low", "high"))
    box = low, high
  if config.landscape.cells == "kmeans":
    cell, cells = _clusters(run, x, ids, max_cells)
  else:
    grid = joined["grid"] if joined else config.landscape.grid
    cell, cells = _grid(fitted_map.name, xy, box, grid, max_cells)
  about = cells | {
    "low": box[0].tolist(),
    "high": box[1].tolist(),
    "projection": fitted_map.name,
    "dimensions": fitted_map.dimensions,
    "joined": config.landscape.map,
    "occupied": len(np.unique(cell)),
    "notes": fitted_map.notes,
  }
  return Mapped(xy, cell, box, about)


def anew(
  run: context.Run,
  *,
  row: np.ndarray,
  ids: np.ndarray,
  max_cells: int,
) -> np.ndarray:
  """Cells of a map or of clusters that are fitted for this, and kept nowhere.

  Args:
    run: whose config.seed and config.landscape say how.
    row: as in `run`, like the others.
    ids: their ids.
    max_cells: cells at most.

  Returns:
    The cell of each row, from 0, int32 [n].

  Raises:
    errors.InputError: as `run`.
  """
  config, mesh, x = run.config, run.mesh, _Embeddings(run.workdir, row)
  settings = config.landscape
  if settings.cells == "kmeans":
    count = settings.clusters or max_cells
    centers = _fit_centers(config, mesh, x, ids, count)
    return _assign(mesh, x, len(row), centers)
  fitted_map = _everywhere(mesh, _fit(run, x[fit_rows(config, ids)]))
  xy = [_positions(mesh, fitted_map, x, part) for part in _parts(len(row))]
  placed = np.concatenate(xy)
  box = grid_lib.bounding_box(placed)
  return _grid(fitted_map.name, placed, box, settings.grid, max_cells)[0]


class _Embeddings(rows_lib.Rows):
  """Embeddings of the scored rows; one that is not finite is refused."""

  def __getitem__(self, places: np.ndarray) -> np.ndarray:
    embeddings = super().__getitem__(places)
    is_bad = ~np.isfinite(embeddings).all(axis=1)
    if is_bad.any():
      bad, read = np.unique(places[is_bad]), np.unique(places)  # Some twice.
      raise errors.InputError(
        f"config.encoder.path: {len(bad):,} of {len(read):,} embeddings of "
        f"stage `embed` are not finite, the first is that of row "
        f"{self._rows[bad[0]]} of the pool; allowed: finite "
        "numbers. Set another encoder, or make them anew with --redo=embed."
      )
    return embeddings


def fit_rows(config: config_lib.Config, ids: np.ndarray) -> np.ndarray:
  """Draws by id the rows on which a map is fitted, in the order of ids."""
  count = config.landscape.fit_examples
  return draws.choose(ids, count=count, seed=config.seed, purpose="fit the map")


def _map(
  run: context.Run,
  x: rows_lib.Rows,
  rows: np.ndarray,
) -> projections.Map:
  """Reads the map, or fits it on some rows; puts it on all devices."""
  kept = [a.path(run.workdir) for a in (tables.FITTED, tables.FITTED_ARRAYS)]
  own = kept[0].parent
  if all(shards.done(kept)):
    fitted_map = projections.load(own)
  else:
    fitted_map = _fit(run, x[rows])
    if mesh_lib.is_writer():
      projections.save(fitted_map, own)
    mesh_lib.barrier("map written")
  return _everywhere(run.mesh, fitted_map)


def _fit(run: context.Run, x: np.ndarray) -> projections.Map:
  """Fits a map that tells something of the embeddings."""
  config = run.config
  fitted_map = configured.fit(config.landscape, config.seed, run.mesh, x)
  return judging.judged(fitted_map, x)


def _everywhere(mesh: Mesh, fitted_map: projections.Map) -> projections.Map:
  """A map whose arrays are on every device of a mesh."""
  held = mesh_lib.fetch(fitted_map.arrays)
  whole = mesh_lib.put(held, mesh, mesh_lib.REPLICATED)
  return dataclasses.replace(fitted_map, arrays=whole)


def _parts(rows: int) -> list[np.ndarray]:
  """Places of so many rows, in parts that are placed at once."""
  return np.split(np.arange(rows), range(_PART_ROWS, rows, _PART_ROWS))


def _positions(
  mesh: Mesh, fitted_map: projections.Map, x: rows_lib.Rows, part: np.ndarray
) -> np.ndarray:
  """Where some rows lie on a map that is on every device."""
  placed = fitted_map.place(mesh_lib.put_rows(x.of(part), mesh))
  return mesh_lib.fetch(placed)[: len(part)]


def _places(
  run: context.Run,
  fitted_map: projections.Map,
  x: rows_lib.Rows,
  rows: int,
) -> np.ndarray:
  """Positions [rows, m], part by part; a part on disk is kept."""
  several = _parts(rows)
  targets = _targets(run.workdir, len(several))
  done = shards.done(targets)
  placed = np.empty((rows, fitted_map.dimensions), np.float32)
  with progress.counter(rows, desc="place", unit="examples") as advance:
    for part, target, there in zip(several, targets, done, strict=True):
      if there:
        xy = files.read_array(target)
      else:
        xy = _positions(run.mesh, fitted_map, x, part)
        files.write_array(target, xy)
        interrupts.point()
      placed[part] = xy
      advance(len(part))
  mesh_lib.barrier("examples placed")
  return placed


def _targets(workdir: epath.Path, parts: int) -> list[epath.Path]:
  return [tables.PLACES.path(workdir, shard=part) for part in range(parts)]


def drop_parts(workdir: epath.Path) -> None:
  """Removes the positions by part, once they are written with the cells."""
  if mesh_lib.is_writer():
    for path in shards.listed(workdir, tables.PLACES):
      files.remove(path)


def _clusters(
  run: context.Run,
  x: rows_lib.Rows,
  ids: np.ndarray,
  max_cells: int,
) -> tuple[np.ndarray, dict[str, Any]]:
  """Makes k-means cells; returns them, and what `map.json` says of them."""
  own = tables.CENTERS.path(run.workdir)
  if all(shards.done([own])):
    centers = files.read_array(own)
  else:
    count = run.config.landscape.clusters or max_cells
    centers = _fit_centers(run.config, run.mesh, x, ids, count)
    files.write_array(own, centers)
    mesh_lib.barrier("centers written")
  return _assign(run.mesh, x, len(ids), centers), {
    "description": f"{len(centers)} k-means cells of the embeddings",
    "num_cells": len(centers),
    "grid": None,
  }


def _assign(
  mesh: Mesh, x: rows_lib.Rows, rows: int, centers: np.ndarray
) -> np.ndarray:
  """The nearest of some centres to each of the rows 0, 1, ..., int32."""
  cell = []
  with progress.counter(rows, desc="assign", unit="examples") as advance:
    for part in _parts(rows):
      put = mesh_lib.put_rows(x.of(part), mesh)
      near = centers_lib.assign(put, centers).cell
      cell.append(mesh_lib.fetch(near)[: len(part)])
      advance(len(part))
  return np.concatenate(cell)


def _fit_centers(
  config: config_lib.Config,
  mesh: Mesh,
  x: rows_lib.Rows,
  ids: np.ndarray,
  count: int,
) -> np.ndarray:
  """Fits the centres of so many clusters, by config.seed."""
  rows = draws.choose(
    ids,
    count=max(_CLUSTERED_EXAMPLES, count),
    seed=config.seed,
    purpose="cluster",
  )
  progress.say(f"  k-means with {count:,} clusters of {len(rows):,} examples")
  with progress.counter(None, desc="k-means", unit="iterations") as advance:
    clustered = clusters.kmeans(
      mesh_lib.put_rows(x.of(rows), mesh),
      clusters=count,
      key=jax.random.key(config.seed),
      count=len(rows),
      on_progress=configured.counts(advance),
    )
  return mesh_lib.fetch(clustered.centers)


def _grid(
  name: str,
  xy: np.ndarray,
  box: tuple[np.ndarray, np.ndarray],
  grid: int | str,
  max_cells: int,
) -> tuple[np.ndarray, dict[str, Any]]:
  """Makes cells of a grid; returns them, and what `map.json` says of them."""
  if grid == "auto":
    grid = grid_lib.auto_grid(xy, max_cells=max_cells)
  low, high = box
  cell = grid_lib.grid_cells(xy, grid=grid, low=low, high=high, clip=True)
  sides = " × ".join([str(grid)] * xy.shape[1])
  return np.asarray(cell), {
    "description": f"a {sides} grid over {name}",
    "num_cells": grid ** xy.shape[1],
    "grid": grid,
  }
