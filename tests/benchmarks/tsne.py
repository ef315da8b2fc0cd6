"""t-SNE maps: ours against openTSNE and scikit-learn.

    python -m tests.benchmarks.tsne --embeddings RUN/embed

All have the same embeddings, perplexity 30 and a start from the principal
components; the rest is their own choice. Ours and scikit-learn (exact
neighbours, Barnes-Hut) take 250 iterations with exaggeration and 750 without;
openTSNE (neighbours by Annoy, repulsion by FFT) takes its 250 and 500. Without
a folder, embeddings are made up: 20 topics of 10 clusters in 384 dimensions.

Every contender makes one pass only, in a fresh process for each size, without
a pass to warm up: of ours the seconds include compiling, of all they leave out
imports and reading. Ours then makes a second pass, which is printed beside the
first; the JSON line has the first, of the last size.

Maps are judged by one witness, float64 and exact, that has no code of ours:
  KL    KL(P || Q) in nats, P over the 91 nearest neighbours of scikit-learn,
        Q over all pairs. Lower is better.
  kept  of the 10 nearest neighbours of a point, the share that are also its 10
        nearest on the map; the mean of all points.
"""

import argparse
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from scipy import special
from scipy.spatial import distance

from tests.benchmarks import harness

PERPLEXITY = 30.0
KEPT = 10  # Neighbours that a map should keep.
_TOPICS, _CLUSTERS, _WIDTH = 20, 10, 384
_BLOCK_ROWS = 256
_FIRST, _AGAIN = "first", "again"


def embeddings(folder: str | None, points: int, seed: int) -> np.ndarray:
  """Rows of unit norm, drawn from a run's or made up."""
  rng = np.random.default_rng(seed)
  if folder:
    files = sorted(pathlib.Path(folder).glob("*.npy"))
    x = np.concatenate([np.load(file) for file in files])
    if len(x) < points:
      raise SystemExit(f"{folder} has {len(x)} rows; {points} were asked for.")
    x = x[rng.permutation(len(x))[:points]]
  else:
    topics = rng.normal(size=(_TOPICS, 1, _WIDTH))
    clusters = topics + 0.5 * rng.normal(size=(_TOPICS, _CLUSTERS, _WIDTH))
    clusters = clusters.reshape(-1, _WIDTH)
    x = clusters[rng.integers(0, len(clusters), points)]
    x += 0.5 * rng.normal(size=x.shape)
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def nearest(
  points: np.ndarray, queries: np.ndarray | None = None, *, k: int
) -> tuple[np.ndarray, np.ndarray]:
  """Distances and rows of the k nearest; without queries, of the points."""
  from sklearn import neighbors

  index = neighbors.NearestNeighbors(n_neighbors=k).fit(points)
  return index.kneighbors(queries)


def kept(before: np.ndarray, after: np.ndarray) -> float:
  """The share of neighbours that are neighbours still."""
  return float((before[:, :, None] == after[:, None]).any(2).mean())


def joint_probabilities(
  squared: np.ndarray, index: np.ndarray, perplexity: float
) -> scipy.sparse.csr_array:
  """P = (p_j|i + p_i|j) / 2n from the neighbours, nearest first."""
  n, k = index.shape
  excess = squared - squared[:, :1]
  excess /= np.maximum(excess.mean(axis=1, keepdims=True), 1e-300)
  low, high = np.full(n, -20.0), np.full(n, 20.0)
  for _ in range(50):
    middle = (low + high) / 2
    weight = np.exp(-np.exp(middle)[:, None] * excess)
    entropy = special.entr(weight / weight.sum(axis=1, keepdims=True)).sum(1)
    flat = entropy > np.log(perplexity)
    low, high = np.where(flat, middle, low), np.where(flat, high, middle)
  p = weight / weight.sum(axis=1, keepdims=True)
  ends = np.arange(0, n * k + 1, k)
  p = scipy.sparse.csr_array((p.ravel(), index.ravel(), ends), shape=(n, n))
  return (p + p.T) / (2 * n)


def divergence(joint: scipy.sparse.csr_array, xy: np.ndarray) -> float:
  """KL(P || Q): sum p_ij (log p_ij - log w_ij) + log Z, in nats."""
  xy = xy.astype(np.float64)
  joint = joint.tocoo()
  row, column = joint.coords
  squared = ((xy[row] - xy[column]) ** 2).sum(axis=1)
  near = special.xlogy(joint.data, joint.data).sum()
  near += joint.data @ np.log1p(squared)
  normaliser = -float(len(xy))
  for first in range(0, len(xy), _BLOCK_ROWS):
    block = xy[first : first + _BLOCK_ROWS]
    away = distance.cdist(block, xy, "sqeuclidean")
    normaliser += (1 / (1 + away)).sum()
  return float(near + np.log(normaliser))


def timed(function: Callable, name: str, seconds: dict[str, float]) -> Callable:
  """The same function, which notes under a name how long it took."""

  def call(*arguments, **options):
    import jax

    start = time.perf_counter()
    found = jax.block_until_ready(function(*arguments, **options))
    seconds[name] = time.perf_counter() - start
    return found

  return call


def _ours(iterations, threads, **work):
  del threads
  import jax

  from ila_jax.compute import neighbours
  from ila_jax.landscape.maps import affinities, tsne

  x = embeddings(**work)
  compilations = harness.Compilations()
  seconds = {}
  for module, name in (
    (neighbours, "nearest"),
    (affinities, "joint_probabilities"),
    (affinities, "cut"),
  ):
    setattr(module, name, timed(getattr(module, name), name, seconds))

  def task(mode):
    del mode
    compiled, start = compilations.seconds, time.perf_counter()
    key = jax.random.key(work["seed"])
    found = tsne.fit(x, perplexity=PERPLEXITY, iterations=iterations, key=key)
    whole = time.perf_counter() - start
    before = seconds["joint_probabilities"] + seconds["cut"]
    phases = {
      "neighbours": seconds["nearest"],
      "P": before - seconds["nearest"],
      "descent": whole - before,
      "compiling": compilations.seconds - compiled,
    }
    return {"xy": found.xy, "kl": found.kl, "phases": phases}

  return task


def _once(fit: Callable[[], Any]) -> harness.Task:
  """What a rival does: nothing when ours goes again."""
  return lambda mode: {"xy": np.asarray(fit())} if mode == _FIRST else {}


def _opentsnes(iterations, threads, **work):
  import openTSNE

  x = embeddings(**work)
  early = min(250, iterations // 3)
  model = openTSNE.TSNE(
    perplexity=PERPLEXITY,
    early_exaggeration_iter=early,
    n_iter=iterations - early,
    negative_gradient_method="fft",
    n_jobs=threads,
    random_state=work["seed"],
  )
  return _once(lambda: model.fit(x))


def _sklearns(iterations, threads, **work):
  del iterations, threads  # It takes OMP_NUM_THREADS.
  from sklearn import manifold

  x = embeddings(**work)
  model = manifold.TSNE(
    perplexity=PERPLEXITY,
    init="pca",
    random_state=work["seed"],
  )
  return _once(lambda: model.fit_transform(x))


def judge(
  x: np.ndarray, maps: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
  """KL and share of neighbours kept of every map of the same embeddings."""
  k = min(len(x) - 1, int(3 * PERPLEXITY) + 1)
  apart, index = nearest(x, k=k)
  perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
  joint = joint_probabilities(apart**2, index, perplexity)
  return {
    name: {
      "kl": divergence(joint, xy),
      "kept": kept(index[:, :KEPT], nearest(xy, k=KEPT)[1]),
    }
    for name, xy in maps.items()
  }


def compare(
  options: argparse.Namespace, points: int
) -> tuple[dict[str, dict[str, Any]], list[str]]:
  """Fits all maps of so many points, judges them, and prints a table."""
  work = {"folder": options.embeddings, "points": points, "seed": options.seed}
  arguments = {
    **work,
    "iterations": options.iterations,
    "threads": options.threads,
  }
  measured, skipped = harness.run(
    [
      harness.Contender("ours", _ours, arguments),
      harness.Contender("openTSNE", _opentsnes, arguments, ("openTSNE",)),
      harness.Contender("scikit-learn", _sklearns, arguments, ("sklearn",)),
    ],
    options,
    modes=(_FIRST, _AGAIN),
  )
  del measured[harness.MATRIX]
  first = {name: shown.found[_FIRST] for name, shown in measured.items()}
  maps = {name: f["xy"] for name, f in first.items()}
  found = judge(embeddings(**work), maps)
  for name, shown in measured.items():
    found[name]["seconds"] = shown.first[_FIRST]
    found[name]["peak_mb"] = shown.peak_bytes and shown.peak_bytes / 1e6
  ours = measured["ours"]
  found["ours"] |= {
    "seconds_again": ours.first[_AGAIN],
    "kl_reported": first["ours"]["kl"],
    "phases": first["ours"]["phases"],
    "phases_again": ours.found[_AGAIN]["phases"],
  }
  _print(points, found)
  return found, skipped


def _print(points: int, found: dict[str, dict[str, Any]]) -> None:
  print(
    f"\n{points:,} points\n"
    f"{'':14}{'seconds':>8} {'x ours':>7} {'KL':>7} {'kept':>6} {'peak MB':>8}"
  )
  ours = found["ours"]
  for name, shown in found.items():
    peak = shown["peak_mb"]
    print(
      f"{name:14}{shown['seconds']:8.2f} "
      f"{shown['seconds'] / ours['seconds']:7.2f} {shown['kl']:7.4f} "
      f"{shown['kept']:6.3f} {'?' if peak is None else round(peak):>8}"
    )
  again = ours["seconds_again"]
  print(f"{'ours, again':14}{again:8.2f} {again / ours['seconds']:7.2f}")
  for title, phases in (("", "phases"), (", again", "phases_again")):
    parts = [f"{name} {s:.2f}" for name, s in ours[phases].items()]
    print(f"ours{title}: {', '.join(parts)} of these")


def main() -> None:
  """Runs every size, and prints the JSON line of the last."""
  flags = harness.parser("tsne", rounds=0)
  flags.add_argument(
    "--embeddings", help="folder of .npy files; made up if not"
  )
  flags.add_argument("--points", default="5000,20000,50000", help="sizes")
  flags.add_argument("--rivals", dest="only", help="the same as --only")
  flags.set_defaults(only="")
  flags.add_argument("--iterations", type=int, default=1000)
  options = harness.parse(flags)
  sizes = [int(size) for size in options.points.split(",")]
  if options.tiny:
    sizes, options.iterations = [300], 150
  options.rounds = 0
  quality = {}
  for points in sizes:
    quality[str(points)], skipped = compare(options, points)
  seconds = {name: f["seconds"] for name, f in quality[str(sizes[-1])].items()}
  result = {
    "benchmark": "tsne",
    "ours": seconds.pop("ours"),
    "rivals": seconds,
    "quality": quality,
    "work": {
      "points": sizes,
      "perplexity": PERPLEXITY,
      "iterations": options.iterations,
      "embeddings": options.embeddings,
      "seed": options.seed,
      "threads": options.threads,
      "skipped": skipped,
    },
  }
  print(json.dumps(result))


if __name__ == "__main__":
  main()
