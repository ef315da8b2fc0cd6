"""What a selection keeps of a pool that passes part by part."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow.compute as pc
from etils import epath
from jax.sharding import Mesh

from ila_jax import config as config_lib
from ila_jax.landscape.duplicates import write
from ila_jax.methods import table as table_lib
from ila_jax.run import tables
from ila_jax.run.disk import files
from ila_jax.score import split
from ila_jax.selection import cell_stream

# Rows that are read, and pass, at once.
_PART_ROWS = 2**18
# Columns that are read only for methods that need them.
_DEPTHS = ("depth", "relative_depth")


@dataclasses.dataclass(frozen=True)
class KeptRows:
  """The first candidates of every cell, and what is known of the others.

  Attributes:
    columns: of `landscape/cells.parquet`, in the order of its rows [m].
    n_candidates: of the whole pool.
    occupied: cells in which some example of the pool lies, ascending.
  """

  columns: dict[str, np.ndarray]
  n_candidates: int
  occupied: np.ndarray


def keep(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: Mesh,
  strategies: Iterable[str],
) -> dict[str, KeptRows]:
  """Streams the landscape to find the rows of each strategy, and reads them.

  What is held grows with occupied cells × config.select.kept_per_cell, and by
  one bool for an example.

  Args:
    config: the run.
    workdir: its folder.
    mesh: each device keeps of its own rows, joined once at the end.
    strategies: methods that stream.
  """
  free = _free(config, workdir)
  occupied, n_candidates = np.zeros(0, np.int32), 0
  for part in _parts(workdir, ["row", "cell"]):
    cell = part["cell"]
    occupied = np.union1d(occupied, cell[cell >= 0])
    n_candidates += int(free[part["row"]].sum())
  kept = {}
  for strategy in strategies:
    places = _first_of_cells(config, workdir, mesh, strategy, free, occupied)
    columns = _take(workdir, np.sort(places))
    kept[strategy] = KeptRows(columns, n_candidates, occupied)
  return kept


def _first_of_cells(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: Mesh,
  strategy: str,
  free: np.ndarray,
  occupied: np.ndarray,
) -> np.ndarray:
  """Places in the landscape of the rows that a strategy keeps."""

  method = table_lib.METHODS[strategy]
  options = table_lib.options(strategy, config.select.options)
  depths = [name for name in _DEPTHS if name in method.needs]

  def parts() -> Iterator[cell_stream.Shard]:
    for part in _parts(workdir, ["row", "id", "cell", *depths]):
      # Empty cells, of which a fine grid has millions, take no memory.
      number = np.searchsorted(occupied, part["cell"])
      yield cell_stream.Shard(
        np.where(part["cell"] < 0, -1, number),
        method.streams(part, options, config.seed),
        cell_stream.id_words(part["id"]),
        free[part["row"]],
      )

  state = cell_stream.consume(
    parts(),
    num_cells=max(len(occupied), 1),
    keep=config.select.kept_per_cell,
    shard_rows=min(_PART_ROWS, len(free)),
    mesh=mesh,
  )
  return cell_stream.ranking(state).row


def _free(config: config_lib.Config, workdir: epath.Path) -> np.ndarray:
  """Which examples of the pool may be selected: no dev, no reference."""
  index = tables.INDEX.path(workdir)
  parts = files.read_parts(index, ["split"], rows=_PART_ROWS)
  free = np.concatenate(
    [pc.equal(part["split"], "pool").to_numpy(False) for part in parts]
  )
  if config.score.exclude_reference:
    free[split.reference_rows(workdir)] = False
  if any(write.settings(config).values()):
    cells = files.read_table(tables.CELLS.path(workdir), ["row", "id"])
    row = cells["row"]
    free[row] = write.kept(config, workdir, cells, free[row])
  return free


def _parts(
  workdir: epath.Path, columns: list[str] | None = None
) -> Iterator[dict[str, np.ndarray]]:
  path = tables.CELLS.path(workdir)
  return map(files.to_numpy, files.read_parts(path, columns, rows=_PART_ROWS))


def _take(workdir: epath.Path, places: np.ndarray) -> dict[str, np.ndarray]:
  """The rows at some places, ascending, with all their columns."""
  found, start = [], 0
  for part in _parts(workdir):
    rows = len(part["row"])
    begin, end = np.searchsorted(places, [start, start + rows])
    chosen = places[begin:end] - start
    found.append({name: array[chosen] for name, array in part.items()})
    start += rows
  return {
    name: np.concatenate([part[name] for part in found]) for name in found[0]
  }
