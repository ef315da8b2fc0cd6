"""The deepest row of every cell: ours against NumPy and table libraries.

    python -m tests.benchmarks.argmax

100,000 cells, a tenth of them empty; depths have 2,000 values, so that ties
are many, and the lowest row wins them. All must give the same rows. Each holds
the columns in its own format before the clock starts. Ours has one CPU device
for each thread. "ours from numpy" puts the rows on the devices while it runs.
"""

import argparse
import os
from typing import Any

import numpy as np

from tests.benchmarks import harness

_CELLS = 100_000
_ROWS = (1_000_000, 10_000_000)


def columns(rows: int, *, cells: int, seed: int) -> dict[str, np.ndarray]:
  """Cells, nine tenths of them occupied, and tied depths."""
  rng = np.random.default_rng(seed)
  occupied = rng.permutation(cells)[: cells * 9 // 10].astype(np.int32)
  return {
    "cell": occupied[rng.integers(0, len(occupied), rows)],
    "depth": (rng.integers(0, 2000, rows) / 1000 - 1).astype(np.float32),
  }


def _winners(cell: Any, row: Any, cells: int) -> np.ndarray:
  """A row for each cell, -1 for none."""
  found = np.full(cells, -1, np.int64)
  found[np.asarray(cell)] = np.asarray(row)
  return found


def _task(options: dict[str, Any], prepare: Any) -> harness.Task:
  """Works on one of the sizes; `prepare` makes the work of one size."""
  works = {
    str(rows): prepare(
      **columns(rows, cells=options["cells"], seed=options["seed"])
    )
    for rows in options["rows"]
  }
  return lambda mode: {"row": works[mode]()}


def ours(*, held: bool, **options: Any) -> harness.Task:
  from ila_jax.compute import mesh as mesh_lib
  from ila_jax.landscape import segment_max

  mesh = mesh_lib.make()

  def put(cell, depth):
    row = np.arange(len(cell), dtype=np.int32)
    columns = cell, depth, row, np.ones(len(cell), np.bool_)
    # Filled up to the devices by its last row, which loses to itself.
    return [mesh_lib.put_rows(column, mesh) for column in columns]

  def prepare(cell, depth):
    there = put(cell, depth) if held else None

    def work():
      columns = there or put(cell, depth)
      return np.asarray(
        segment_max.deepest(*columns, num_cells=options["cells"])
      )

    return work

  return _task(options, prepare)


def numpy_at(**options: Any) -> harness.Task:
  def prepare(cell, depth):
    def work():
      best = np.full(options["cells"], -np.inf, np.float32)
      np.maximum.at(best, cell, depth)
      hit = np.flatnonzero(depth == best[cell])
      found = np.full(options["cells"], len(cell))
      np.minimum.at(found, cell[hit], hit)
      return np.where(found < len(cell), found, -1)

    return work

  return _task(options, prepare)


def numpy_lexsort(**options: Any) -> harness.Task:
  def prepare(cell, depth):
    def work():
      order = np.lexsort((-depth, cell))
      first = order[np.flatnonzero(np.diff(cell[order], prepend=-1))]
      return _winners(cell[first], first, options["cells"])

    return work

  return _task(options, prepare)


def pandas_idxmax(**options: Any) -> harness.Task:
  import pandas

  def prepare(cell, depth):
    table = pandas.DataFrame({"cell": cell, "depth": depth})

    def work():
      found = table.groupby("cell", sort=False)["depth"].idxmax()
      return _winners(found.index, found, options["cells"])

    return work

  return _task(options, prepare)


def polars_group_by(*, how: str, **options: Any) -> harness.Task:
  os.environ["POLARS_MAX_THREADS"] = str(options["threads"])
  import polars

  row, depth_column = polars.col("row"), polars.col("depth")

  def prepare(cell, depth):
    table = polars.DataFrame({"cell": cell, "depth": depth})
    table = table.with_row_index("row")

    def work():
      groups = table.group_by("cell")
      if how == "arg_max":
        found = groups.agg(row.get(depth_column.arg_max()))
      else:
        best = groups.agg(depth_column.max())
        hits = table.join(best, on=["cell", "depth"])
        found = hits.group_by("cell").agg(row.min())
      return _winners(found["cell"], found["row"], options["cells"])

    return work

  return _task(options, prepare)


def duckdb_group_by(*, how: str, **options: Any) -> harness.Task:
  import duckdb

  query = {
    "arg_max": "SELECT cell, arg_max(row, (depth, -row)) AS row FROM {} "
    "GROUP BY cell",
    "join": "SELECT cell, min(row) AS row FROM {0} JOIN (SELECT cell, "
    "max(depth) AS depth FROM {0} GROUP BY cell) USING (cell, depth) "
    "GROUP BY cell",
  }[how]
  base = duckdb.connect(config={"threads": options["threads"]})

  def prepare(cell, depth):
    name = f"pool_{len(cell)}"
    row = np.arange(len(cell), dtype=np.int32)
    arrays = {"row": row, "cell": cell, "depth": depth}
    base.register("arrays", arrays)
    base.execute(f"CREATE TABLE {name} AS SELECT * FROM arrays")
    base.unregister("arrays")

    def work():
      found = base.execute(query.format(name)).fetchnumpy()
      return _winners(found["cell"], found["row"], options["cells"])

    return work

  return _task(options, prepare)


def contenders(options: argparse.Namespace) -> list[harness.Contender]:
  """Ours first, then the rivals."""
  arguments = {
    "rows": options.rows,
    "cells": options.cells,
    "seed": options.seed,
    "threads": options.threads,
  }

  def rival(name, make, needs=(), **more):
    return harness.Contender(name, make, arguments | more, needs)

  return [
    rival("ours", ours, held=True),
    rival("ours from numpy", ours, held=False),
    rival("numpy maximum.at", numpy_at),
    rival("numpy lexsort", numpy_lexsort),
    rival("pandas idxmax", pandas_idxmax, ("pandas",)),
    *(
      rival(f"polars {how}", polars_group_by, ("polars",), how=how)
      for how in ("arg_max", "join")
    ),
    *(
      rival(f"duckdb {how}", duckdb_group_by, ("duckdb",), how=how)
      for how in ("arg_max", "join")
    ),
  ]


def main() -> None:
  """Runs all, compares their rows, and prints a table for each size."""
  options = harness.parse(harness.parser("argmax", rounds=5))
  os.environ["JAX_NUM_CPU_DEVICES"] = str(options.threads)
  options.cells, options.rows = _CELLS, _ROWS
  if options.tiny:
    options.cells, options.rows, options.rounds = 100, (500, 2000), 1
  modes = [str(rows) for rows in options.rows]
  measured, skipped = harness.run(contenders(options), options, modes=modes)
  unequal = {
    who: sum(
      int(
        (shown.found[mode]["row"] != measured["ours"].found[mode]["row"]).sum()
      )
      for mode in modes
    )
    for who, shown in measured.items()
    if who not in ("ours", harness.MATRIX)
  }
  for mode in modes:
    harness.report(
      "argmax",
      measured,
      tables={mode: f"deepest of {options.cells:,} cells"},
      amount=int(mode),
      unit="rows",
      flops=0,
      quality={"cells_that_differ": unequal},
      work={**vars(options), "skipped": skipped},
    )


if __name__ == "__main__":
  main()
