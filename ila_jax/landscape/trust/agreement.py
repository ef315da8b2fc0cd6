"""How far the map can be trusted: what another map would choose and measure.

A map is made by choices that no theory settles: a seed, a perplexity, a grid.
Here one is compared with another that was made by other choices: by what is
selected on both, by how both rank subsets by coverage, by what distances say
that know nothing of cells, and by the neighbours that each keeps.
"""

from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from ila_jax.compute import mesh, neighbours
from ila_jax.landscape import coverage, ordering
from ila_jax.landscape.maps import repulsion

# A map of so few points is not judged: any keeps many neighbours.
_FEWEST_JUDGED = 32
# A fitted map reaches several units, those of its kernel.
_LEAST_EXTENT = 1e-3
# Least width of a map that is no line, as a share of its length.
_LEAST_WIDTH = 1e-3
# Most KL, as a share of that of one place; structureless points have 0.45-0.85.
_MOST_KL = 0.97
# Least share kept beyond that by chance. Structureless points keep 0.2 more.
_LEAST_KEPT = 0.01


class Correlation(NamedTuple):
  """Spearman's rank correlation and its interval; NaN: not defined."""

  rho: float
  low: float
  high: float


def jaccard(a: Int[np.ndarray, " k"], b: Int[np.ndarray, " m"]) -> float:
  """|A and B| / |A or B| of two sets of distinct rows; 1 of two empty ones.

  >>> jaccard(np.array([1, 2, 3]), np.array([3, 4]))
  0.25
  """
  shared = len(np.intersect1d(a, b, assume_unique=True))
  either = len(a) + len(b) - shared
  return shared / either if either else 1.0


def jaccard_by_chance(k: int, n: int) -> float:
  """The `jaccard` to expect of two random sets of k of n rows.

  sum_h P(h) h / (2k - h), where the h that they share is hypergeometric.

  >>> jaccard_by_chance(1, 4), round(jaccard_by_chance(500, 10_000), 4)
  (0.25, 0.0257)
  """
  from scipy import stats

  if not k:
    return 1.0
  shared = np.arange(k + 1)
  probability = stats.hypergeom.pmf(shared, n, k, k)
  return float(np.sum(probability * shared / (2 * k - shared)))


def spread_subsets(
  x: Float[Array | np.ndarray, "n d"],
  *,
  n: int,
  size: int,
  key: Array,
  spreads: int = 8,
  draws: int = 5,
) -> Int[np.ndarray, "b k"]:
  """Subsets of one size, from a single neighbourhood to a random subset.

  A subset is some random rows and the nearest of each, as many as make up the
  size: 1 row with its whole neighbourhood, `size` rows with nothing more, and
  numbers between in even steps, which gives clumps of 2 or 3 and evenly spread
  coverage. No map has a part in it, so that none is favoured; and as all have
  one size, coverage can not stand in for size.

  Args:
    x: embeddings, sorted by id. Rows may be sharded, and padded at the end.
    n: rows without padding.
    size: k, rows of a subset, at most n.
    key: a `jax.random.key`.
    spreads: steps from 1 to `size`.
    draws: subsets of each spread.

  Returns:
    Distinct rows of each subset, the most concentrated subsets first, int32.

  >>> x = np.arange(9.0)[:, None]
  >>> key = jax.random.key(0)
  >>> subsets = spread_subsets(x, n=9, size=3, key=key, draws=1)
  >>> subsets.shape, int(np.ptp(subsets[0]))
  ((3, 3), 2)
  """
  steps = np.unique(np.linspace(1, size, spreads).round().astype(int))
  rows, everyone = np.arange(n, dtype=np.int32), np.ones(n, np.bool_)
  subsets = []
  for number, count in enumerate(np.repeat(steps, draws)):
    shuffled = jax.random.permutation(jax.random.fold_in(key, number), n)
    drawn = np.asarray(shuffled)[:count]
    # Repeated up to one size, so that one program serves all.
    points = neighbours.take_whole(x, np.resize(drawn, size))
    near = mesh.fetch(neighbours.nearest(x, points, k=1))
    clump, squared = near.index[:n, 0] % count, near.squared[:n, 0]
    turn = np.asarray(ordering.place_in_cell(clump, (squared,), rows, everyone))
    # One of several duplicates is nearest, and all that are drawn belong in.
    others = ~np.isin(rows, drawn)
    subsets.append(np.lexsort((squared, turn, others))[:size])
  return np.stack(subsets).astype(np.int32)


def cell_coverage(
  cell: Int[np.ndarray, " n"], subsets: Int[np.ndarray, "b k"]
) -> Float[np.ndarray, " b"]:
  """Occupied share of the cells of the pool, of every subset.

  >>> cell_coverage(np.array([0, 0, 5]), np.array([[0, 1], [1, 2]])).tolist()
  [0.5, 1.0]
  """
  cells = int(cell.max(initial=0)) + 1
  return np.array(
    [
      coverage.coverage(cell, rows, num_cells=cells)["coverage"]
      for rows in subsets
    ]
  )


def mean_distances(
  x: Float[Array | np.ndarray, "n d"],
  subsets: Int[np.ndarray, "b k"],
  *,
  n: int,
) -> Float[np.ndarray, " b"]:
  """Coverage without cells: mean distance to the nearest of every subset.

  >>> mean_distances(np.eye(2), np.array([[0, 1]]), n=2).tolist()
  [0.0]
  """
  distances = (
    mesh.fetch(coverage.nearest_distance(x, rows))[:n] for rows in subsets
  )
  return np.array([distance.mean(dtype=np.float64) for distance in distances])


def rank_correlation(
  a: Float[np.ndarray, " b"],
  b: Float[np.ndarray, " b"],
  *,
  resamples: int = 1000,
) -> Correlation:
  """Spearman's rho, with its 95 % interval by resampling the pairs.

  Pearson's correlation of the mean ranks (Spearman 1904); the interval is the
  percentile bootstrap (Efron 1979), with the same draws at every call. All are
  NaN where one side is constant.

  >>> rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 4, 9])).rho
  1.0
  """
  from scipy import stats

  draws = np.random.default_rng(0).integers(len(a), size=(resamples, len(a)))
  draws = np.vstack([np.arange(len(a)), draws])
  ranks = (stats.rankdata(side[draws], axis=1) for side in (a, b))
  left, right = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
  norms = np.sum(left**2, axis=1) * np.sum(right**2, axis=1)
  products = np.sum(left * right, axis=1)
  rho, *others = np.divide(
    products, np.sqrt(norms), out=np.full(len(norms), np.nan), where=norms > 0
  )
  if np.isnan(rho) or not others:
    return Correlation(float(rho), np.nan, np.nan)
  low, high = np.nanquantile(others, [0.025, 0.975])
  return Correlation(float(rho), float(low), float(high))


def map_quality(
  x: Float[Array | np.ndarray, "n d"],
  xy: Float[Array | np.ndarray, "n m"],
  *,
  rows: Int[np.ndarray, " b"],
  k: int = 10,
) -> dict[str, float]:
  """Whether neighbours stay neighbours on the map, for some of its rows.

  Args:
    x: embeddings.
    xy: the same rows on the map.
    rows: those whose neighbours are looked up.
    k: neighbours, below n / 2.

  Returns:
    `neighbours_kept`, the share of the k nearest on the map that are among the
    k nearest by embedding; of equally near ones, as duplicates are, any will
    do. `trustworthiness` (Venna and Kaski 2001) weighs how far the others are:
    1 - 2 / (b k (2n - 3k - 1)) sum_i sum_j max(0, r_ij - k) over the k nearest
    j of row i on the map, where r_ij is the place of j among the neighbours of
    i by embedding; 1 is perfect, about 0.5 is chance.

  >>> x = np.array([[0.0], [1.0], [3.0]])
  >>> map_quality(x, np.hstack([x, 0 * x]), rows=np.arange(3), k=1)
  {'neighbours_kept': 1.0, 'trustworthiness': 1.0}
  """
  near_on_map = _others_near(xy, rows, k)
  x = jnp.asarray(x, jnp.float32)
  place = np.asarray(_places(x, jnp.asarray(rows), jnp.asarray(near_on_map)))
  excess = np.maximum(place - k, 0).sum(dtype=np.float64)
  most = len(rows) * k * (2 * len(x) - 3 * k - 1) / 2
  return {
    "neighbours_kept": float(np.mean(place <= k)),
    "trustworthiness": float(1 - excess / most),
  }


def kept_by_chance(n: int, *, k: int = 10) -> float:
  """The `neighbours_kept` to expect of n points that lie anywhere.

  >>> kept_by_chance(1001)
  0.01
  """
  return min(k / max(n - 1, 1), 1.0)


def fault(
  x: Float[Array | np.ndarray, "n d"],
  xy: Float[Array | np.ndarray, "n m"],
  *,
  kl: float,
  kl_of_one_place: float,
  kept: float,
  grid_spacing: float | None = None,
) -> str | None:
  """The fault of a t-SNE map that tells nothing; None for any other.

  Its points lie in one place, or on one line where their embeddings do not; or
  it is hardly better than one place by its KL, or than chance by the neighbours
  kept. A map of structureless points is none of these. A map that is wider than
  the finest grid is refused too: its forces were inexact. Fewer than 32 points
  are not judged.

  Args:
    x: embeddings, float32.
    xy: their positions.
    kl: KL(P || Q) of the map.
    kl_of_one_place: by `affinities.kl_of_one_place`.
    kept: `neighbours_kept` of `map_quality`.
    grid_spacing: of the `tsne.Fit`; None: it had no grid.

  >>> x = np.random.default_rng(0).normal(size=(99, 3)).astype(np.float32)
  >>> numbers = {"kl_of_one_place": 1.2, "kept": 0.5}
  >>> fault(x, x[:, :2], kl=1.19, **numbers)
  'KL(P || Q) is 1.1900; with all points in one place it is 1.2000'
  >>> fault(x, x[:, :2], kl=0.8, **numbers)
  """
  n = len(xy)
  if n < _FEWEST_JUDGED:
    return None
  if not np.ptp(np.asarray(x), axis=0).any():
    return f"all {n:,} embeddings are the same"
  extent = float(np.max(np.abs(xy)))
  if not extent >= _LEAST_EXTENT:
    return f"all points lie within {extent:.2g} of the middle"
  if grid_spacing is not None and not grid_spacing <= repulsion.SPACING:
    return (
      f"points lie up to {extent:,.0f} from the middle, and nodes of its grid "
      f"{grid_spacing:.2g} apart; more than {repulsion.SPACING:g} is inexact"
    )
  width = _width(xy)
  if width < _LEAST_WIDTH <= _width(x):
    return f"all points lie on a line, {width:.1g} times as wide as it is long"
  if not kl <= _MOST_KL * kl_of_one_place:
    return (
      f"KL(P || Q) is {kl:.4f}; with all points in one place it is "
      f"{kl_of_one_place:.4f}"
    )
  by_chance = kept_by_chance(n)
  if not kept >= min(by_chance + _LEAST_KEPT, 1.0):
    return f"{kept:.2%} of neighbours are kept; by chance {by_chance:.2%} are"
  return None


def _width(points: Float[Array | np.ndarray, "n m"]) -> float:
  """The second greatest standard deviation along an axis, over the greatest."""
  points = np.asarray(points, np.float64)
  points = points - points.mean(axis=0, keepdims=True)
  *_, second, first = np.linalg.eigvalsh(points.T @ points)
  return float(np.sqrt(max(second, 0.0) / first)) if first > 0 else 0.0


def _others_near(
  x: Float[Array | np.ndarray, "n m"], rows: Int[np.ndarray, " b"], k: int
) -> Int[np.ndarray, "b k"]:
  """The k nearest of each row, without the row itself."""
  x = jnp.asarray(x, jnp.float32)
  near = neighbours.nearest(neighbours.take_whole(x, rows), x, k=k + 1).index
  near = np.asarray(near)
  own = near == rows[:, None]
  # More duplicates than neighbours may keep a row off its own list.
  own[:, -1] |= ~own.any(axis=1)
  return near[~own].reshape(len(rows), k)


@jax.jit
def _places(
  x: Float[Array, "n d"], rows: Int[Array, " b"], others: Int[Array, "b k"]
) -> Int[Array, "b k"]:
  """Place, from 1, of the others among the neighbours of each row."""
  half_norms = jnp.sum(x * x, axis=1) / 2
  columns = jnp.arange(len(x), dtype=jnp.int32)

  def one(
    row_and_others: tuple[Int[Array, ""], Int[Array, " k"]],
  ) -> Int[Array, " k"]:
    row, others = row_and_others
    distance = half_norms - jnp.dot(x, x[row], precision=neighbours.EXACT)
    nearer = distance[None] < distance[others][:, None]
    return 1 + jnp.sum(nearer & (columns != row)[None], axis=1)

  block = max(1, neighbours.block_floats() // (len(x) * others.shape[1]))
  return lax.map(one, (rows, others), batch_size=block)
