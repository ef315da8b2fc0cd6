"""How much of a selection stays when the map is made with another seed.

    python -m tests.benchmarks.map_seeds --workdir RUN --maps 16

takes a run whose stage `landscape` is done: its embeddings, depths and
candidates. It fits as many maps as asked, of seeds in a row, as the run would
have (grid over a projection, or clusters, by the run's config), and selects at
each budget:

  ila              by each map alone; each map is compared with the next
  ila_consensus m  by the mean over m maps; groups of m that share no map

Printed is the mean Jaccard index of two selections, and its least and greatest.
Beside it stand two nulls: `chance`, two random selections of this size, and
`dealt`, the same methods where the cells of every map are dealt to the examples
at random, so that nothing but depth is shared. `covers` is the share of the
pool's cells that a selection occupies on a map that had no part in it, in the
mean; beside it that of `dealt`, of random selections and of the deepest.

Nothing is timed: it may run beside other work. Results hold for one kind of
processor and one version of JAX, which the last line names; another may give
other maps from the same seeds.
"""

import argparse
import dataclasses
import itertools
import json
from collections.abc import Sequence

import jax
import numpy as np
from etils import epath

from ila_jax import config_parsing
from ila_jax.compute import mesh as mesh_lib
from ila_jax.embed import rows as rows_lib
from ila_jax.landscape import grid as grid_lib
from ila_jax.landscape import place
from ila_jax.landscape.maps import configured
from ila_jax.landscape.trust import agreement
from ila_jax.methods import candidates as candidates_lib
from ila_jax.methods import table
from ila_jax.run import context
from ila_jax.run.disk import files
from ila_jax.selection import scored_pool


def main() -> None:
  """Fits the maps, and prints a table and one line of JSON."""
  flags = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  flags.add_argument("--workdir", required=True, help="of a finished run")
  flags.add_argument("--maps", type=int, default=16, help="seeds, in all")
  flags.add_argument(
    "--consensus", type=int, nargs="+", default=[3, 8], help="maps of a mean"
  )
  flags.add_argument(
    "--budgets", type=float, nargs="+", default=[0.05, 0.2], help="shares"
  )
  flags.add_argument("--cells", choices=("grid", "kmeans"), help="the run's")
  flags.add_argument("--power", type=float, default=0.0, help="cell_weight")
  options = flags.parse_args()
  if 2 * max(options.consensus) > options.maps:
    flags.error("--maps is below twice --consensus: two groups share no map")
  run = _read(options)
  c = scored_pool.load(run).candidates
  rows, n = [], int(c.candidate.sum())
  maps = _Maps(run, options.maps)
  for budget in options.budgets:
    k = round(budget * n)
    rows += _measured(c, maps.cells(k), k, options)
  _print(rows, options, run, n)


def _read(options: argparse.Namespace) -> context.Run:
  """The run, of which every cell may be made anew."""
  workdir = epath.Path(options.workdir)
  plain = files.read_json(workdir / "manifest.json")["config"]
  config = config_parsing.build(plain)
  own = dataclasses.replace(config.landscape, grid="auto", clusters=None)
  if options.cells:
    own = dataclasses.replace(own, cells=options.cells)
  config = dataclasses.replace(config, landscape=own)
  return context.Run(config, workdir, mesh_lib.make())


class _Maps:
  """Maps of seeds in a row, each fitted once for all budgets."""

  def __init__(self, run: context.Run, count: int) -> None:
    """Fits them, where cells are of a grid."""
    own = files.read_table(
      run.workdir / "landscape/cells.parquet", ["row", "id"]
    )
    self._own, self._xy = own, []
    seeds = [run.config.seed + number for number in range(count)]
    self._runs = [
      dataclasses.replace(
        run, config=dataclasses.replace(run.config, seed=seed)
      )
      for seed in seeds
    ]
    if run.config.landscape.cells == "grid":
      x = rows_lib.load(run.workdir, own["row"])
      for one in self._runs:
        fitted = place.fit_rows(one.config, own["id"])
        settings = one.config.landscape
        made = configured.fit(settings, one.config.seed, run.mesh, x[fitted])
        self._xy.append(np.asarray(made.place(x)))

  def cells(self, max_cells: int) -> np.ndarray:
    """Cells of all scored examples on each map, int32 [n, count]."""
    if self._xy:
      found = []
      for xy in self._xy:
        grid = grid_lib.auto_grid(xy, max_cells=max_cells)
        found.append(np.asarray(grid_lib.grid_cells(xy, grid=grid)))
    else:
      found = [
        place.anew(
          one, row=self._own["row"], ids=self._own["id"], max_cells=max_cells
        )
        for one in self._runs
      ]
    return np.stack(found, axis=1)


def _chosen(
  c: candidates_lib.Candidates, cells: np.ndarray, k: int, power: float
) -> np.ndarray:
  """The first k by these maps: of `ila`, or of the consensus of several."""
  own = dataclasses.replace(c, cell=cells[:, 0])
  own = candidates_lib.with_power(own, power)
  own = candidates_lib.with_inputs(
    own, {"other_cells": cells[:, 1:]}, wanted=None
  )
  name = "ila" if cells.shape[1] == 1 else "ila_consensus"
  return table.METHODS[name](own).order[:k]


def _measured(
  c: candidates_lib.Candidates,
  cells: np.ndarray,
  k: int,
  options: argparse.Namespace,
) -> list[dict]:
  """What the selections of one budget share, for each number of maps."""
  rng = np.random.default_rng(0)
  dealt = np.stack([rng.permutation(cell) for cell in cells.T], axis=1)
  free = np.flatnonzero(c.candidate)
  chance = [rng.permutation(free)[:k] for _ in range(cells.shape[1])]
  deepest = table.METHODS["depth_only"](c).order[:k]
  rows = []
  for maps in (1, *options.consensus):
    groups = np.arange(cells.shape[1] // maps * maps).reshape(-1, maps)
    made = [_chosen(c, cells[:, group], k, options.power) for group in groups]
    null = [_chosen(c, dealt[:, group], k, options.power) for group in groups]
    shared = _shared(made)
    rows.append(
      {
        "budget": k,
        "maps": maps,
        "selections": len(made),
        "jaccard": float(np.mean(shared)),
        "least": float(min(shared)),
        "greatest": float(max(shared)),
        "dealt": float(np.mean(_shared(null))),
        "chance": float(np.mean(_shared(chance))),
        "covers": _covers(cells, made, groups, free),
        "dealt_covers": _covers(cells, null, groups, free),
        "random_covers": _covers(cells, chance, [()] * len(chance), free),
        "deepest_covers": _covers(cells, [deepest], [()], free),
      }
    )
  return rows


def _shared(made: list[np.ndarray]) -> list[float]:
  """The Jaccard index of each two selections."""
  pairs = itertools.combinations(made, 2)
  return [agreement.jaccard(one, two) for one, two in pairs]


def _covers(
  cells: np.ndarray, made: list, groups: Sequence, free: np.ndarray
) -> float:
  """Cells of the pool that are occupied, on maps that had no part, in mean."""
  shares = [
    len(np.unique(cells[rows, other])) / len(np.unique(cells[free, other]))
    for rows, group in zip(made, groups, strict=True)
    for other in range(cells.shape[1])
    if other not in group
  ]
  return float(np.mean(shares))


def _print(
  rows: list[dict], options: argparse.Namespace, run: context.Run, n: int
) -> None:
  print(
    "| budget | maps | Jaccard | least to greatest | cells dealt | chance | "
    "covers | cells dealt | random | deepest |"
  )
  print("|---" * 10 + "|")
  for row in rows:
    shares = (
      *("jaccard", "least", "greatest", "dealt", "chance", "covers"),
      *("dealt_covers", "random_covers", "deepest_covers"),
    )
    told = [f"{row[name]:.3f}" for name in shares]
    told[1:3] = [f"{told[1]} to {told[2]}"]
    print(f"| {row['budget']} | {row['maps']} | {' | '.join(told)} |")
  settings = run.config.landscape
  work = {
    "candidates": n,
    "maps": options.maps,
    "cells": settings.cells,
    "projection": settings.projection,
    "power": options.power,
    "device": jax.devices()[0].device_kind,
    "jax": jax.__version__,
  }
  print(json.dumps({"benchmark": "map_seeds", "rows": rows, "work": work}))


if __name__ == "__main__":
  main()
