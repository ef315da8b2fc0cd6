"""Which subsets the scaling law is fitted on (docs/method.md 2.7).

Arrays in, rows of the pool out. Training them, and the law, come after.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from ila_jax import errors
from ila_jax.landscape import coverage
from ila_jax.methods import candidates

HELD_OUT_KINDS = ("random", "longest", "domain_skewed")


@dataclasses.dataclass(frozen=True)
class Subset:
  """One subset to train on: rows of the pool and the levels that made it."""

  name: str
  kind: str  # "designed" or one of HELD_OUT_KINDS
  rows: Int[np.ndarray, " k"]
  levels: dict[str, float | int]

  @property
  def in_design(self) -> bool:
    """Whether coverage and depth were set, not merely observed."""
    return self.kind == "designed"


def design(
  pool: candidates.Candidates,
  *,
  subsets: int,
  held_out: int,
  sizes: Sequence[int],
  min_cell_share: float,
  depth_band: float,
  seed: int,
) -> list[Subset]:
  """Subsets that differ in coverage, depth and size, then some that need not.

  Levels follow a Halton sequence, so fewer subsets are a prefix of more: the
  share of occupied cells log-uniform from `min_cell_share` to 1, the centre
  of a band of relative depth uniform, the size one of `sizes`. The band is
  widened where its cells hold too few examples. With many sizes coverage
  follows size: one size separates the two best. docs/method.md 2.7.

  Args:
    pool: n rows and which of them may be drawn (neither reference nor dev);
      draws are keyed by seed and id, so that the order in which the pool was
      read changes nothing.
    subsets: number of designed subsets.
    held_out: number of subsets built otherwise (see HELD_OUT_KINDS, in turn),
      to test the law on.
    sizes: examples per subset.
    min_cell_share: least share of the occupied cells, in (0, 1].
    depth_band: width of the band of relative depth, in (0, 1].
    seed: of the random order of the cells.

  Returns:
    `subsets` + `held_out` subsets, each of exactly the size of its level.

  Raises:
    InputError: a setting out of range, or sizes that the pool cannot fill.

  >>> x = np.arange(100)
  >>> pool = candidates.candidates(
  ...   x.astype(np.uint64), cell=x // 10, depth=x / 1, domain=x % 2,
  ...   relative_depth=(x + 0.5) / 100, n_tokens=x + 1, candidate=x >= 0,
  ...   seed=0)
  >>> made = design(
  ...   pool, subsets=2, held_out=1, sizes=(20,), min_cell_share=0.3,
  ...   depth_band=0.5, seed=0)
  >>> [(subset.name, len(subset.rows)) for subset in made]
  [('designed_00', 20), ('designed_01', 20), ('random_00', 20)]
  """
  rows = np.flatnonzero(pool.candidate)
  _check(subsets, held_out, sizes, min_cell_share, depth_band, rows.size)
  levels = _levels(subsets, sizes, min_cell_share, depth_band)
  made = []
  for number, level in enumerate(levels):
    rng = np.random.default_rng([seed, number])
    key = (pool.uniform + rng.random()) % 1.0
    inside = _in_cells(rows, pool.cell, level["cell_share"], level["size"], rng)
    band = _in_band(inside, pool.relative_depth, key, level)
    taken = _first(band, (key,), level["size"])
    made.append(Subset(f"designed_{number:02d}", "designed", taken, level))
  for number in range(held_out):
    turn, kind = divmod(number, len(HELD_OUT_KINDS))
    # A stream apart from those of the designed subsets.
    rng = np.random.default_rng([seed, number, 1])
    key = (pool.uniform + rng.random()) % 1.0
    keys = {
      "random": (key,),
      "longest": (-pool.n_tokens, key),
      "domain_skewed": (_skewed(pool.domain, key, rng), key),
    }[HELD_OUT_KINDS[kind]]
    size = int(sizes[turn % len(sizes)])
    taken = _first(rows, keys, size)
    name = HELD_OUT_KINDS[kind]
    made.append(Subset(f"{name}_{turn:02d}", name, taken, {"size": size}))
  return made


def measure(
  pool: candidates.Candidates, rows: Int[np.ndarray, " k"]
) -> dict[str, float | int]:
  """What the law is told of a subset: coverage C, depth D, tokens, n.

  C = occupied cells of the subset / occupied cells of the pool; D = its mean
  relative depth (docs/method.md 2.5 and 2.3); tokens = its response tokens.

  >>> x = np.arange(3)
  >>> pool = candidates.candidates(
  ...   x.astype(np.uint64), cell=x // 2, depth=x / 1, n_tokens=x + 3, domain=x,
  ...   relative_depth=np.array([0.5, 1.0, 0.5]), candidate=x >= 0, seed=0)
  >>> measure(pool, np.array([0, 1]))
  {'coverage': 0.5, 'depth': 0.75, 'tokens': 7, 'n': 2}
  """
  if rows.size == 0:
    return {"coverage": 0.0, "depth": 0.0, "tokens": 0, "n": 0}
  covered = coverage.coverage(pool.cell, rows, num_cells=1)
  return {
    "coverage": covered["coverage"],
    "depth": float(np.mean(pool.relative_depth[rows], dtype=np.float64)),
    "tokens": int(np.sum(pool.n_tokens[rows], dtype=np.int64)),
    "n": int(rows.size),
  }


def _check(
  subsets: int,
  held_out: int,
  sizes: Sequence[int],
  min_cell_share: float,
  depth_band: float,
  count: int,
) -> None:
  """Raises one InputError for the first setting that is out of range."""
  natural, share = "an integer of at least 0", "a number above 0, at most 1"
  most = max(sizes, default=0) if subsets + held_out > 0 else 0
  sized = len(sizes) > 0 and min(sizes) > 0 and most <= count
  for field, fine, value, allowed in (
    ("subsets", subsets >= 0, subsets, natural),
    ("held_out", held_out >= 0, held_out, natural),
    (
      "sizes",
      sized,
      tuple(sizes),
      f"one or more integers from 1 to {count}, the examples of the pool "
      "that are neither reference nor dev",
    ),
    ("min_cell_share", 0 < min_cell_share <= 1, min_cell_share, share),
    ("depth_band", 0 < depth_band <= 1, depth_band, share),
  ):
    if not fine:
      raise errors.InputError(
        f"config.scaling.{field} is {value}; allowed: {allowed}. "
        f"Set --config.scaling.{field}, or give a larger pool."
      )


def _levels(
  subsets: int, sizes: Sequence[int], min_cell_share: float, depth_band: float
) -> list[dict[str, float | int]]:
  """The levels of every designed subset."""
  from scipy.stats import qmc

  # The first point of the sequence is the corner (0, 0, 0): left out.
  points = qmc.Halton(d=3, scramble=False).random(subsets + 1)[1:]
  return [
    {
      "cell_share": float(min_cell_share ** (1 - share)),
      "depth_centre": float(depth_band / 2 + depth * (1 - depth_band)),
      "depth_band": depth_band,
      "size": int(sizes[int(size * len(sizes))]),
    }
    for share, depth, size in points
  ]


def _in_cells(
  rows: Int[np.ndarray, " k"],
  cell: Int[np.ndarray, " n"],
  share: float,
  size: int,
  rng: np.random.Generator,
) -> Int[np.ndarray, " inside"]:
  """Rows in the first random cells that reach both the share and the size."""
  cells, code = np.unique(cell[rows], return_inverse=True)
  rank = rng.permutation(cells.size)[code]
  rows_so_far = np.cumsum(np.bincount(rank))
  needed = int(np.searchsorted(rows_so_far, size)) + 1
  return rows[rank < max(math.ceil(share * cells.size), needed)]


def _in_band(
  rows: Int[np.ndarray, " k"],
  relative_depth: Float[np.ndarray, " n"],
  key: Float[np.ndarray, " n"],
  level: dict[str, float | int],
) -> Int[np.ndarray, " band"]:
  """Rows in a band of depth ranks, at least as many as the size."""
  order = rows[np.lexsort((key[rows], relative_depth[rows]))]
  width = max(level["size"], round(level["depth_band"] * rows.size))
  start = round(level["depth_centre"] * rows.size - width / 2)
  start = min(max(start, 0), rows.size - width)
  return order[start : start + width]


def _skewed(
  domain: Int[np.ndarray, " n"],
  key: Float[np.ndarray, " n"],
  rng: np.random.Generator,
) -> Float[np.ndarray, " n"]:
  """Sort key of a draw in which every domain weighs half of the one before.

  Weighted sampling without replacement (Efraimidis and Spirakis, 2006).
  """
  domains, code = np.unique(domain, return_inverse=True)
  halvings = rng.permutation(domains.size).clip(max=30)
  return -np.log1p(-key) * 2.0 ** halvings[code]


def _first(
  rows: Int[np.ndarray, " k"],
  keys: Sequence[Shaped[np.ndarray, " n"]],
  size: int,
) -> Int[np.ndarray, " size"]:
  """The `size` rows that come first by the keys, in ascending order."""
  order = np.lexsort([key[rows] for key in reversed(keys)])
  return np.sort(rows[order[:size]])
