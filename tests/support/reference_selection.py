"""Selection by brute force: plain Python, one loop per sentence of the method.

A pool is a list of `Row`s. Every strategy returns [(row, round), ...]. The
random pools that it is tried on stand at the end.
"""

import dataclasses
import fractions

import numpy as np

from ila_jax.methods import candidates
from ila_jax.pool import records
from ila_jax.score.signals import noisy_ifd
from ila_jax.score.signals import table as signals_table


@dataclasses.dataclass(frozen=True)
class Row:
  row: int
  id: int
  cell: int
  depth: float
  n_tokens: int
  inside: float
  across: float


def rounds(rows, inside, across):
  """Takes the best left of every cell, orders them, and begins again."""
  left = {row.cell: [] for row in rows}
  for row in rows:
    left[row.cell].append(row)
  result, turn = [], 1
  while any(left.values()):
    taken = []
    for mine in left.values():
      if mine:
        best = min(mine, key=inside)
        mine.remove(best)
        taken.append(best)
    result += [(row.row, turn) for row in sorted(taken, key=across)]
    turn += 1
  return result


def deeper(row):
  return (-row.depth, row.id)


def ila(rows):
  return rounds(rows, deeper, deeper)


def coverage_only(rows):
  return rounds(rows, lambda r: (r.inside, r.id), lambda r: (r.across, r.id))


def trim(rows, quantile):
  deep, shallow = [], []
  for row in rows:
    depths = np.array([r.depth for r in rows if r.cell == row.cell])
    bar = np.quantile(depths, quantile, method="higher")
    (deep if row.depth >= bar else shallow).append(row)
  kept = {row.cell: 0 for row in rows}
  for row in deep:
    kept[row.cell] += 1
  cell_of = {row.row: row.cell for row in rows}
  # A shallow row's round counts the deep ones of its cell, which come before.
  late = [(r, kept[cell_of[r]] + turn) for r, turn in coverage_only(shallow)]
  across = {row.row: (row.across, row.id) for row in rows}
  late.sort(key=lambda pair: (pair[1], across[pair[0]]))
  return coverage_only(deep) + late


def random(rows):
  return _once(rows, lambda r: (r.inside, r.id))


def longest(rows):
  return _once(rows, lambda r: (-r.n_tokens, r.id))


def depth_only(rows):
  return _once(rows, deeper)


def stratified(rows, tiers, rest):
  cells = {}
  for row in sorted(rows, key=deeper):
    cells.setdefault(row.cell, []).append(row)  # deepest cell first, too
  quotas = [quota for count, quota in tiers for _ in range(count)]
  quotas += [rest] * len(cells)
  turn_of = {
    row.row: place + 1
    for mine in cells.values()
    for place, row in enumerate(mine)
  }
  result = []
  while any(cells.values()):
    picked = []
    for quota, mine in zip(quotas, cells.values(), strict=False):
      picked += [(turn, *deeper(r), r) for turn, r in enumerate(mine[:quota])]
      del mine[:quota]
    picked.sort(key=lambda pick: pick[:3])
    result += [(pick[3].row, turn_of[pick[3].row]) for pick in picked]
  return result


def _once(rows, key):
  return [(row.row, 1) for row in sorted(rows, key=key)]


# A handful of pool sizes, so that a handful of programs is compiled; the
# number of candidates varies freely below them.
SIZES = (1, 2, 9, 24)


def pool(n, seed):
  """Ties everywhere, empty cells, rows that may not be chosen."""
  rng = np.random.default_rng(seed)
  ids = rng.choice(10**6, n, replace=False).astype(np.uint64)
  depths = rng.integers(-2, 3, n) / 4 * rng.choice([1, 1e-40], n)  # -0.0, tiny
  candidate = rng.random(n) < rng.choice([0.0, 0.5, 0.9, 1.0])
  return {
    "ids": ids,
    "cell": rng.integers(0, rng.integers(1, 9), n),
    "depth": np.where(candidate | (rng.random(n) < 0.5), depths, np.nan),
    "relative_depth": rng.integers(1, 4, n) / 4,
    "n_tokens": rng.integers(1, 6, n),
    "domain": rng.integers(0, 3, n),
    "candidate": candidate,
  }


def rising(n, cells=1):
  """Candidates of which each is deeper and longer than the one before."""
  rows = np.arange(n)
  return candidates.candidates(
    rows.astype(np.uint64),
    cell=rows % cells,
    depth=1.0 * rows,
    relative_depth=1.0 * rows,
    n_tokens=rows + 1,
    domain=0 * rows,
    candidate=rows >= 0,
    seed=0,
  )


def inputs(needs, n, seed):
  """What methods may need beside the columns, with ties."""
  rng = np.random.default_rng(seed)
  found = {}
  for need in needs:
    if need in candidates.COLUMNS:
      continue
    if need in ("embeddings", "target_embeddings"):
      x = rng.normal(size=(n, 8)).round(1)
      found[need] = np.float32(x / np.linalg.norm(x, axis=1, keepdims=True))
    elif need in ("rds_embedding", "target_rds_embedding"):
      found[need] = rng.integers(-1, 2, (n, 8)).astype(np.float32)
    elif need == "other_cells":
      found[need] = rng.integers(0, 6, (n, 3)).astype(np.int32)
    elif need == "target_id":
      found[need] = rng.permutation(n).astype(np.uint64)
    elif need == "target_gradients":
      found[need] = rng.normal(size=(n, 8)).round(1).astype(np.float32)
    elif need in ("dev", "reference"):
      found[need] = rng.random(n) < 0.3
    elif need in ("turns", "target_turns"):
      found[need] = _turns(rng.integers(1, 9, (n, 3)))
    elif need == "tokens":
      found[need] = np.array([[i % 5, i % 3] for i in rng.permutation(n)])
    elif need == "sae_features":  # Bits; some rows have none.
      bits = rng.random((n, 40)) < rng.choice([0.0, 0.2, 0.5], (n, 1))
      found[need] = np.packbits(bits, axis=1, bitorder="little")
    elif need == "scores":
      kind = [("quality", np.float32), ("complexity", np.float32)]
      found[need] = rng.integers(1, 6, (n, 2)).astype(np.float32).view(kind)
      found[need] = found[need][:, 0]
    elif need == "noisy_ifd":
      shape = n, len(noisy_ifd.THRESHOLDS), noisy_ifd.COLUMNS
      values = rng.integers(1, 6, shape) / 4
      # Fewer tokens are above a higher threshold.
      values[:, :, 2] = np.linspace(200, 0, shape[1]).round()[None]
      found[need] = values.reshape(n, shape[1] * shape[2]).astype(np.float32)
    elif need == "tags":
      found[need] = rng.integers(-1, 6, (n, 3)).astype(np.float32)
    elif need == "tag_embeddings":  # Of six tags; some are alike.
      x = rng.normal(size=(3, 8))[[0, 0, 1, 1, 2, 2]]
      x += rng.choice([0.0, 0.1, 0.5], (6, 1)) * rng.normal(size=(6, 8))
      found[need] = np.float32(x / np.linalg.norm(x, axis=1, keepdims=True))
    elif need in signals_table.SIGNALS:
      width = signals_table.SIGNALS[need].width
      width = 8 if callable(width) else width
      shape = (n,) if width == 1 else (n, width)
      found[need] = rng.integers(1, 9, shape).astype(np.float32)
    else:
      found[need] = rng.integers(1, 6, n).astype(np.float32)
  return found


def _turns(numbers):
  """Sums and their answers, an entry each."""
  found = np.empty(len(numbers), object)
  for place, (one, two, more) in enumerate(numbers.tolist()):
    ask = records.Turn("user", f"Add {one} and {two}.")
    answer = records.Turn("assistant", f"It is {one + two}." * (more % 3))
    found[place] = [ask, answer]
  return found


def tied_candidates(pool, seed=0):
  """With half of the random draws tied, so that ids must decide."""
  c = candidates.candidates(**pool, seed=seed)
  for name in ("uniform", "uniform_across"):
    vars(c)[name] = np.round(getattr(c, name) * 4) / 4
  return c


def rows(pool, c, depth=None):
  depth = c.depth if depth is None else depth
  return [
    Row(
      row=i,
      id=int(pool["ids"][i]),
      cell=int(c.cell[i]),
      depth=float(depth[i]),
      n_tokens=int(c.n_tokens[i]),
      inside=float(c.uniform[i]),
      across=float(c.uniform_across[i]),
    )
    for i in np.flatnonzero(c.candidate)
  ]


def big_pool(n=4000):
  rng = np.random.default_rng(0)
  return {
    "ids": rng.permutation(n).astype(np.uint64),
    # Crowded and thin cells: 0 holds about a third of the pool.
    "cell": np.floor(60 * rng.random(n) ** 3).astype(int),
    "depth": rng.normal(size=n).round(2),
    "relative_depth": rng.random(n).round(2),
    "n_tokens": rng.integers(1, 300, n),
    "domain": rng.integers(0, 3, n),
    "candidate": rng.random(n) < 0.9,
  }


def cell_weights(cell, of_target):
  """W_c = t_c + m / (10 K) as exact fractions, by cell."""
  cells = sorted(set(cell.tolist()))
  inside = [c for c in of_target.tolist() if c in cells]
  spread = fractions.Fraction(len(inside), 10 * len(cells))
  return {c: inside.count(c) + spread for c in cells}


def power_weights(c, power):
  """n_c^power of each cell, by counting; floats, as they are no fractions."""
  counts = {}
  for row in np.flatnonzero(c.candidate):
    cell = int(c.cell[row])
    counts[cell] = counts.get(cell, 0) + 1
  return {cell: float(count) ** power for cell, count in counts.items()}


def weighed(c, weight):
  """ILA where cells have weights: rows by (r + 1/2) / W, then r, then depth."""
  rank_in = {}
  keys = []
  for row in sorted(
    np.flatnonzero(c.candidate), key=lambda i: (-c.depth[i], c.ids[i])
  ):
    cell = int(c.cell[row])
    place = rank_in[cell] = rank_in.get(cell, -1) + 1
    time = fractions.Fraction(2 * place + 1, 2) / weight[cell]
    keys.append((time, place, -c.depth[row], c.ids[row], int(row)))
  return [key[-1] for key in sorted(keys)]
