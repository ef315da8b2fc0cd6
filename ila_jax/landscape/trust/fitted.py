"""The examples that the map was fitted on, as stage `landscape` left them."""

import dataclasses

import jax
import numpy as np

from ila_jax.compute import mesh as mesh_lib
from ila_jax.embed import rows as rows_lib
from ila_jax.landscape import depth, grid
from ila_jax.landscape.trust import agreement
from ila_jax.run import context, tables
from ila_jax.run.disk import files
from ila_jax.score import losses, split

# Examples of a subset whose coverage is ranked, at most.
_SUBSET_EXAMPLES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
  """The n fitted examples in the order of their ids, and what is held fixed."""

  x: np.ndarray  # embeddings [n, d]
  sharded: jax.Array  # the same on the mesh, padded
  xy: np.ndarray  # on the run's own map [n, m]
  depths: dict[int | None, np.ndarray]  # by reference seed; None: the run's
  free: np.ndarray  # candidates, bool [n]
  budget: int  # candidates that are selected
  share: float  # of the pool that is fitted
  subsets: np.ndarray  # rows of subsets whose coverage is ranked [b, k]
  distances: np.ndarray  # their coverage without cells [b]


def read(run: context.Run, *, rows: np.ndarray, budget: int) -> Fitted:
  """Reads the fitted examples; chooses the subsets whose coverage is ranked.

  Args:
    run: with a map; its devices compare examples with subsets of them.
    rows: of the pool, in the order of their ids.
    budget: candidates of the whole pool that are selected.
  """
  config, workdir = run.config, run.workdir
  axes = grid.axes(files.read_json(tables.MAP.path(workdir))["dimensions"])
  table = files.read_table(
    tables.CELLS.path(workdir), ["row", *axes, "depth", "domain"]
  )
  free = split.candidates(run, table["row"])
  place = np.searchsorted(table["row"], rows)
  by_row = np.sort(rows)
  x = rows_lib.load(workdir, by_row)[np.searchsorted(by_row, rows)]
  n, here = len(rows), int(free[place].sum())
  budget = min(max(round(budget * here / max(free.sum(), 1)), 1), here)
  sharded = mesh_lib.put_rows(x, run.mesh)
  subsets = agreement.spread_subsets(
    sharded,
    n=n,
    size=max(min(budget, n // 4, _SUBSET_EXAMPLES), 1),
    key=jax.random.key(config.seed),
  )
  depths = {None: table["depth"][place]}
  if "reference_seed" in config.landscape.stability:
    domain = table["domain"][place]
    depths |= depths_by_seed(run, rows, domain)
  return Fitted(
    x=x,
    sharded=sharded,
    xy=np.stack([table[axis] for axis in axes], axis=1)[place],
    depths=depths,
    free=free[place],
    budget=budget,
    share=n / len(free),
    subsets=subsets,
    distances=agreement.mean_distances(sharded, subsets, n=n),
  )


def depths_by_seed(
  run: context.Run,
  rows: np.ndarray,
  domain: np.ndarray,
) -> dict[int, np.ndarray]:
  """Depth of some rows of the pool by each reference set alone."""
  config, workdir = run.config, run.workdir
  index = files.read_table(
    tables.INDEX.path(workdir), ["n_response_tokens", "n_labels"]
  )
  counts = index["n_response_tokens"][rows], index["n_labels"][rows]
  base, tuned = losses.read(run, rows)
  formula = depth.DEPTHS[config.landscape.depth]
  return {
    seed: formula(base, nll, *counts, domain) for seed, nll in tuned.items()
  }
