"""Near-duplicates of a run: written with its map, dropped when it selects."""

from typing import Any

import numpy as np
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.embed import rows
from ila_jax.landscape.duplicates import cell_neighbours, near_reference, pairs
from ila_jax.landscape.duplicates import prompts as prompts_lib
from ila_jax.pool import shards
from ila_jax.run import context, draws, progress, tables
from ila_jax.run.disk import files

# Prompts that are compared with the whole pool, to see what cells miss.
_RECALL_SAMPLE = 4096
_LARGEST = 5
# Pairs for the page: the nearest, and as many next to the threshold.
_SHOWN = 3
# Rows whose embeddings are held at once.
_READ_ROWS = 65_536


def run_into(run: context.Run) -> None:
  """Writes the near-duplicates of a run that has a map and cells.

  `duplicates.parquet`: row, id, group (the row that stays if the others go),
  nearest_row and cosine, of rows that have a near-duplicate;
  `duplicate_pairs.parquet`: row_a, row_b, cosine, a row for each prompt;
  `near_reference.parquet`: row, id, reference_row, cosine of all rows;
  `duplicates.json`: the numbers of the report.
  """
  config, workdir = run.config, run.workdir
  cells = files.read_table(
    tables.CELLS.path(workdir), ["row", "id", "cell", "domain"]
  )
  x = rows.Rows(workdir, cells["row"])
  summary = near_reference.run_into(run, cells, x)
  prompts = prompts_lib.Prompts(workdir, cells["row"], cells["id"])
  summary |= {
    "threshold": config.landscape.duplicate_cosine,
    "search": config.landscape.duplicate_search,
    "examples": len(prompts.ids),
    "prompts": len(prompts.first),
  }
  try:
    summary |= _search(run, cells, x, prompts)
  except errors.InputError as error:
    if config.select.drop_duplicates:
      raise
    progress.say(f"  warning: {error}")
    summary["refused"] = str(error)
  files.write_json(tables.DUPLICATES.path(workdir), summary)


def are_there(workdir: epath.Path) -> bool:
  """Whether `run_into` has written all that it writes, and it is whole."""
  summary = tables.DUPLICATES.path(workdir)
  if not all(shards.done([summary, tables.NEAR_REFERENCE.path(workdir)])):
    return False
  refused = "refused" in files.read_json(summary)
  tables_there = [tables.GROUPS.path(workdir), tables.PAIRS.path(workdir)]
  return refused or all(shards.done(tables_there))


def _search(
  run: context.Run,
  cells: dict[str, np.ndarray],
  x: rows.Rows,
  prompts: prompts_lib.Prompts,
) -> dict[str, Any]:
  """Writes pairs and groups of prompts, and returns their summary."""
  config, workdir, first = run.config, run.workdir, prompts.first
  x, cell = x.of(first), cells["cell"][first]
  near = _neighbours(workdir, x, cell)
  settings = {
    "threshold": config.landscape.duplicate_cosine,
    "mesh": run.mesh,
  }
  sample = draws.keyed_uniform(
    prompts.ids[first], seed=config.seed, purpose="duplicate recall"
  )
  sample = np.argsort(sample)[:_RECALL_SAMPLE]
  everywhere = config.landscape.duplicate_search == "all"
  with progress.counter(
    len(first), desc="near-duplicates", unit="prompts"
  ) as advance:
    duplicates = pairs.pairs(
      x,
      cell=np.zeros_like(cell) if everywhere else cell,
      near=near[:0] if everywhere else near,
      on_rows=advance,
      **settings,
    )
  with progress.counter(
    len(sample), desc="compared with the pool", unit="prompts"
  ) as advance:
    total, there = pairs.recall(
      x, sample, cell=cell, near=near, on_rows=advance, **settings
    )
  leader = pairs.leaders(duplicates, prompts.rank[first])
  group = first[leader][prompts.number]
  _write_pairs(workdir, cells, first, duplicates)
  near_another = _write_groups(workdir, cells, prompts, duplicates, group)
  sizes = np.bincount(group, minlength=len(group))
  largest = np.lexsort((prompts.rank, -sizes))[:_LARGEST]
  summary = {
    "pairs": len(duplicates.a),
    "near_another": near_another,
    "groups": int((sizes > 1).sum()),
    "removable": int(np.maximum(sizes - 1, 0).sum()),
    "largest": [
      {"row": int(cells["row"][place]), "examples": int(sizes[place])}
      for place in largest
      if sizes[place] > 1
    ],
    "recall": {
      "prompts": len(sample),
      "pairs": total,
      "in_cells": there,
      "interval": _interval(there, total),
    },
    "shown": _shown(cells["row"][first], prompts.rank[first], duplicates),
  }
  _say(config, summary)
  return summary


def _interval(count: int, total: int) -> list[float] | None:
  """95 % interval of a share, after Wilson."""
  from scipy import stats

  if not total:
    return None
  interval = stats.binomtest(count, total).proportion_ci(method="wilson")
  return [float(interval.low), float(interval.high)]


def _say(config: config_lib.Config, summary: dict[str, Any]) -> None:
  recall = summary["recall"]
  progress.say(
    f"  {summary['near_another']:,} examples have a near-duplicate (cosine "
    f"{config.landscape.duplicate_cosine:g} and more), of which "
    f"{summary['removable']:,} could go; cells and their neighbours hold "
    f"{recall['in_cells']:,} of {recall['pairs']:,} such pairs of a sample"
  )


def _neighbours(
  workdir: epath.Path, x: rows.Rows, cell: np.ndarray
) -> np.ndarray:
  """Pairs of neighbouring cells: of the grid, or by the means of clusters."""
  from scipy import sparse

  cells = files.read_json(tables.MAP.path(workdir))
  if cells["grid"] is not None:
    return cell_neighbours.grid_neighbours(
      cell, grid=cells["grid"], dimensions=cells["dimensions"]
    )
  occupied, number = np.unique(cell, return_inverse=True)
  total, places = 0.0, np.arange(len(cell))
  parts = np.split(places, range(_READ_ROWS, len(cell), _READ_ROWS))
  for part in progress.progress(parts, desc="means of cells", unit="parts"):
    own = np.ones(len(part), np.float32), (number[part], np.arange(len(part)))
    total += sparse.csr_array(own, shape=(len(occupied), len(part))) @ x[part]
  means = total / np.bincount(number)[:, None]
  return occupied[cell_neighbours.center_neighbours(means.astype(np.float32))]


def _write_pairs(
  workdir: epath.Path,
  cells: dict[str, np.ndarray],
  first: np.ndarray,
  duplicates: pairs.Pairs,
) -> None:
  row = cells["row"][first]
  files.write_table(
    tables.PAIRS.path(workdir),
    {
      "row_a": row[duplicates.a],
      "row_b": row[duplicates.b],
      "cosine": duplicates.cosine,
    },
  )


def _write_groups(
  workdir: epath.Path,
  cells: dict[str, np.ndarray],
  prompts: prompts_lib.Prompts,
  duplicates: pairs.Pairs,
  group: np.ndarray,
) -> int:
  """Writes the rows that are near another or share its prompt; counts them."""
  first = prompts.first
  places = np.arange(len(group))
  again = np.flatnonzero(first[prompts.number] != places)
  nearest, cosine = pairs.nearest_of(
    pairs.Pairs(
      np.concatenate([first[duplicates.a], first[prompts.number[again]]]),
      np.concatenate([first[duplicates.b], again]),
      np.concatenate([duplicates.cosine, np.ones(len(again), np.float32)]),
    ),
    prompts.rank,
  )
  has = nearest >= 0
  files.write_table(
    tables.GROUPS.path(workdir),
    {
      "row": cells["row"][has],
      "id": cells["id"][has],
      "group": cells["row"][group[has]],
      "nearest_row": cells["row"][nearest[has]],
      "cosine": cosine[has],
    },
  )
  return int(has.sum())


def _shown(
  row: np.ndarray, rank: np.ndarray, duplicates: pairs.Pairs
) -> list[dict[str, Any]]:
  """The nearest pairs, and those next to the threshold, to judge it by."""
  few = min(_SHOWN, len(duplicates.cosine))
  at_ends = np.zeros(len(duplicates.cosine), np.bool_)
  if few:
    ends = np.partition(duplicates.cosine, [few - 1, -few])[[few - 1, -few]]
    at_ends = (duplicates.cosine <= ends[0]) | (duplicates.cosine >= ends[1])
  at_ends = np.flatnonzero(at_ends)
  a, b, cosine = (column[at_ends] for column in duplicates)
  low, high = np.sort([rank[a], rank[b]], axis=0)
  order = np.lexsort((high, low, -cosine))
  shown = np.unique(np.r_[:few, len(order) - few : len(order)])
  return [
    {
      "rows": [int(row[a[pair]]), int(row[b[pair]])],
      "cosine": float(cosine[pair]),
    }
    for pair in order[shown]
  ]


def settings(config: config_lib.Config) -> dict[str, Any]:
  """The fields that decide which candidates `kept` leaves."""
  found = {
    "drop_duplicates": config.select.drop_duplicates,
    "exclude_near_reference": config.select.exclude_near_reference,
  }
  if config.select.exclude_near_evaluation is not None:
    limit = config.select.exclude_near_evaluation
    found["exclude_near_evaluation"] = limit
  return found


def kept(
  run: context.Run, cells: dict[str, np.ndarray], free: np.ndarray
) -> np.ndarray:
  """The candidates without near-duplicates, as far as config.select asks.

  Those near R or an evaluation set go first; then, of candidates that are near
  each other, all but the lowest id: ids are fingerprints of the text, so this
  is a fair draw that knows nothing of depth, and all strategies choose from the
  same candidates.

  Args:
    run: whose scored rows these are.
    cells: columns `row` and `id` of the scored rows.
    free: which of them are candidates.

  Raises:
    errors.InputError: near-duplicates are to go, and there were too many.
  """
  config, workdir = run.config, run.workdir
  limit = config.select.exclude_near_reference
  if limit is not None:
    path = tables.NEAR_REFERENCE.path(workdir)
    cosine = files.read_table(path, ["cosine"])["cosine"]
    free = free & (cosine < np.float32(limit))
  free = free & ~near_reference.is_near_evaluation(run, cells["row"])
  if not config.select.drop_duplicates:
    return free
  path = tables.DUPLICATES.path(workdir)
  summary = files.read_json(path)
  if "refused" in summary:
    raise errors.InputError(
      f"config.select.drop_duplicates is True, and {path.parent} has no pairs "
      f"to drop: {summary['refused']}"
    )
  prompts = prompts_lib.Prompts(workdir, cells["row"], cells["id"])
  table = files.read_table(tables.PAIRS.path(workdir))
  a, b = (
    prompts.number[np.searchsorted(cells["row"], table[name])]
    for name in ("row_a", "row_b")
  )
  stays = prompts.lowest(free)
  both = (stays[a] >= 0) & (stays[b] >= 0)
  leader = pairs.leaders(
    pairs.Pairs(a[both], b[both], table["cosine"][both]),
    np.where(stays >= 0, prompts.rank[stays], -1 - np.arange(len(stays))),
  )
  left = np.zeros(len(free), np.bool_)
  own = (leader == np.arange(len(leader))) & (stays >= 0)
  left[stays[own]] = True
  return left
