"""Whether near-duplicates of the reference set gain false depth.

See docs/method.md 8.

Depth is what tuning on the random reference subset R teaches. A candidate that
nearly repeats an example of R may look deep because the tuned model has seen
its like. It is compared with candidates that are as near a placebo: a subset
drawn as R was, that no model was tuned on. R and placebo could be swapped but
for the leak, so that both groups lie in equally crowded parts of the map.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num

# Bands of the cosine to the nearest example of R. The first spans them all and
# gives the verdict; the others tell how the gain grows.
BANDS = ((0.9, 1.0), (0.8, 0.9), (0.9, 0.95), (0.95, 1.0))
# Examples of R, or of placebos, that have candidates near them, at least.
MIN_SOURCES = 10
_LENGTH_BINS = 10
_MIN_STRATUM = 20
_RESAMPLES = 2000


class Nearest(NamedTuple):
  """For every candidate its nearest example in each of m subsets."""

  source: Int[np.ndarray, "m n"]
  cosine: Float[np.ndarray, "m n"]  # NaN for examples of the subset


def check(
  above: Float[np.ndarray, " n"],
  reference: Nearest,
  placebos: Nearest,
  *,
  seed: int,
) -> list[dict[str, Any]]:
  """Depth of candidates near R against those as near a placebo, by band.

  A candidate is near R where its cosine to R is in the band and that to the
  placebo is below it and below 0.9; a peer, where it is the other way round.
  Each placebo gives groups of its own, which are pooled. Intervals: percentile
  bootstrap of the difference of the two means over the examples of R and of
  the placebos that are nearest, since what is near one of them is alike.

  Args:
    above: depth above that of like examples, from `above_like`, nats per token.
    reference: nearest examples of R; m is 1. No candidate is in R.
    placebos: nearest examples of subsets of the size of R, drawn as R was from
      the others.
    seed: of the resamples.

  Returns:
    For each of `BANDS`: low, high (cosines), near, peers (candidates), gain
    (nats per token), interval (95 %); the last two None where candidates are
    near fewer than `MIN_SOURCES` examples of R, or of placebos.

  >>> rng = np.random.default_rng(0)
  >>> cosine = rng.uniform(0.5, 1, (2, 1, 2000))
  >>> source = rng.integers(100, size=(2, 1, 2000))
  >>> subsets = map(Nearest, source, cosine)
  >>> bands = check(0.5 * (cosine[0, 0] > 0.9), *subsets, seed=0)
  >>> bands[0]["near"], bands[0]["peers"], round(bands[0]["gain"], 6)
  (336, 309, 0.5)
  """
  rng = np.random.default_rng(seed)
  rows = []
  for low, high in BANDS:
    far = min(low, BANDS[0][0])
    near = _inside(reference, low, high) & (placebos.cosine < far)
    peers = _inside(placebos, low, high) & (reference.cosine < far)
    row = {
      "low": low,
      "high": high,
      "near": int(near.any(axis=0).sum()),
      "peers": int(peers.any(axis=0).sum()),
      "gain": None,
      "interval": None,
    }
    sums = (
      _by_source(above, reference, near),
      _by_source(above, placebos, peers),
    )
    if min(map(len, sums)) >= MIN_SOURCES:
      means = [total / count for total, count in (s.sum(axis=0) for s in sums)]
      drawn = _resampled_means(sums[0], rng) - _resampled_means(sums[1], rng)
      row["gain"] = float(means[0] - means[1])
      row["interval"] = np.quantile(drawn, [0.025, 0.975]).tolist()
    rows.append(row)
  return rows


def own_gain(
  above: Float[np.ndarray, " n"], of_reference: Bool[np.ndarray, " n"]
) -> dict[str, Any]:
  """Depth of R above that of the others: the most a near-duplicate can gain.

  R is drawn at random, so that the difference is what having seen an example
  does. Interval: 1.96 standard errors of the two means.

  Args:
    above: as for `check`.
    of_reference: whether an example is in R.

  Returns:
    examples, gain (nats per token) and interval (95 %); both None if R or
    the others are fewer than two.

  >>> seen = np.arange(400) % 4 == 0
  >>> own_gain(0.5 * seen, seen)
  {'examples': 100, 'gain': 0.5, 'interval': [0.5, 0.5]}
  """
  both = above[of_reference], above[~of_reference]
  numbers: dict[str, Any] = {"examples": len(both[0])}
  if min(map(len, both)) < 2:
    return numbers | {"gain": None, "interval": None}
  gain = float(both[0].mean() - both[1].mean())
  width = 1.96 * float(np.sqrt(sum(v.var(ddof=1) / len(v) for v in both)))
  return numbers | {"gain": gain, "interval": [gain - width, gain + width]}


def verdict(rows: list[dict[str, Any]]) -> str:
  """Says in a sentence what `check` has measured.

  >>> row = {"low": 0.9, "high": 1.0, "near": 90, "peers": 300, "gain": 0.2,
  ...        "interval": [0.1, 0.3]}
  >>> verdict([row])[:52]
  'Near-duplicates of the reference set gain false dept'
  """
  row = rows[0]
  of = f"the {row['near']:,} candidates of cosine {row['low']:g} and more to it"
  if row["gain"] is None:
    return (
      "Whether near-duplicates of the reference set gain false depth cannot be "
      f"told: {of}, and their {row['peers']:,} peers, are too few."
    )
  low, high = row["interval"]
  side = "deeper" if row["gain"] >= 0 else "less deep"
  ends = f"{low:.3f} to {high:.3f}".replace("-", "−")
  numbers = (
    f"{abs(row['gain']):.3f} nats per token {side} than their peers (95 % "
    f"interval of what they gain: {ends})"
  )
  if low > 0:
    return (
      f"Near-duplicates of the reference set gain false depth: {of} are "
      f"{numbers}."
    )
  return (
    "No false depth of near-duplicates of the reference set was found: "
    f"{of} are {numbers}."
  )


def above_like(
  depth: Float[np.ndarray, " n"],
  n_tokens: Int[np.ndarray, " n"],
  domain: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
  """Depth less its mean over examples of the same domain and length.

  Lengths are cut into tenths of the pool. A domain with fewer than 20 examples
  of a length is compared with all of that length.

  >>> depth = np.array([1.0, 3.0] * 20)
  >>> ones = np.ones(40, int)
  >>> above_like(depth, ones, ones)[:2].tolist()
  [-1.0, 1.0]
  """
  if not len(depth):
    return depth.astype(np.float64)
  inner = np.arange(1, _LENGTH_BINS) / _LENGTH_BINS
  length = np.searchsorted(np.quantile(n_tokens, inner), n_tokens)
  both = domain.astype(np.int64) * _LENGTH_BINS + length
  mean, count = _group_means(depth, both)
  return depth - np.where(
    count >= _MIN_STRATUM, mean, _group_means(depth, length)[0]
  )


def _group_means(
  values: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
  """Mean and size of each entry's group."""
  _, number = np.unique(group, return_inverse=True)
  counts = np.bincount(number)
  means = np.bincount(number, values) / counts
  return means[number], counts[number]


def _inside(
  nearest: Nearest, low: float, high: float
) -> Bool[np.ndarray, "m n"]:
  """Whether a cosine is in the band [low, high), or in [low, 1]."""
  cosine = nearest.cosine
  return (cosine >= low) & ((cosine < high) | (high == 1))


def _by_source(
  above: Float[np.ndarray, " n"],
  nearest: Nearest,
  chosen: Bool[np.ndarray, "m n"],
) -> Num[np.ndarray, "s 2"]:
  """Sum and count of the depths near each example of each subset [s, 2]."""
  subset, row = np.nonzero(chosen)
  if len(nearest.source) == 1:  # R, beside each placebo
    subset = 0 * subset
  source = nearest.source[subset, row]
  keys = subset * (nearest.source.max(initial=0) + 1) + source
  _, number = np.unique(keys, return_inverse=True)
  sums = np.bincount(number, above[row]), np.bincount(number)
  by_source = np.stack(sums, axis=1)
  # Sorted, so that the order of the pool does not change the resamples.
  return by_source[np.lexsort(by_source.T)]


def _resampled_means(
  sums: Float[np.ndarray, "s 2"], rng: np.random.Generator
) -> Float[np.ndarray, " r"]:
  """Mean depths, each over nearest examples drawn with replacement."""
  draws = (
    sums[rng.integers(len(sums), size=len(sums))].sum(axis=0)
    for _ in range(_RESAMPLES)
  )
  return np.array([total / count for total, count in draws])
