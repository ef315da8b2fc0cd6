"""New points on a fitted t-SNE map: ours, Shepard's, and openTSNE's.

    python -m tests.benchmarks.placing --embeddings RUN/embed

One map is fitted, by ours, and all place the same new points on it:
  Shepard   between the places of the 3 nearest points, weighed by 1 / d^2
  openTSNE  its `transform`: from the median of the 25 nearest, 250 steps
What a rival can prepare when the map is fitted is not timed: Shepard's index
of neighbours (exact, of scikit-learn) and openTSNE's (Annoy), and the grid of
openTSNE, which its first pass makes. Ours prepares nothing.

"kept" is the share of the 10 nearest fitted points of a new one that are the
10 nearest on the map, by scikit-learn; "fitted" is that of fitted points among
themselves, which a new point can hardly exceed.
"""

import numpy as np

from tests.benchmarks import harness
from tests.benchmarks import tsne as maps

_NEAREST = 3


def _ours(new, points, positions, **_):
  from ila_jax.landscape.maps import new_points

  options = {"perplexity": maps.PERPLEXITY}
  return lambda mode: {
    "xy": np.asarray(new_points.place(new, points, positions, **options))
  }


def _shepards(new, points, positions, **_):
  from sklearn import neighbors

  index = neighbors.NearestNeighbors(n_neighbors=_NEAREST).fit(points)

  def task(mode):
    del mode
    apart, row = index.kneighbors(new)
    weight = 1 / np.maximum(apart, 1e-6) ** 2
    weight /= weight.sum(axis=1, keepdims=True)
    return {"xy": (weight[:, :, None] * positions[row]).sum(axis=1)}

  return task


def opentsnes(new, points, positions, threads, seed):
  import openTSNE

  options = {"n_jobs": threads, "random_state": seed}
  known = openTSNE.affinity.PerplexityBasedNN(
    points, perplexity=maps.PERPLEXITY, **options
  )
  fitted = openTSNE.TSNEEmbedding(
    positions, known, negative_gradient_method="fft", **options
  )

  def task(mode):
    del mode
    placed = fitted.transform(
      new,
      perplexity=5,
      initialization="median",
      k=25,
      learning_rate=0.1,
      exaggeration=1.5,
      n_iter=250,
    )
    # The fitted map was moved to the middle of its grid; it goes back.
    moved = positions[0] - np.asarray(fitted)[0]
    return {"xy": np.asarray(placed) + moved}

  return task


def main() -> None:
  """Fits the map, runs all, and prints the table and the JSON line."""
  flags = harness.parser("placing", rounds=3)
  flags.add_argument(
    "--embeddings", help="folder of .npy files; made up if not"
  )
  flags.add_argument("--fitted", type=int, default=5000)
  flags.add_argument("--joining", type=int, default=2000)
  options = harness.parse(flags)
  if options.tiny:
    options.fitted, options.joining, options.rounds = 300, 100, 1
  import jax

  from ila_jax.landscape.maps import tsne

  both = options.fitted + options.joining
  x = maps.embeddings(options.embeddings, both, options.seed)
  points, new = np.split(x, [options.fitted])
  key = jax.random.key(options.seed)
  positions = tsne.fit(
    points,
    perplexity=maps.PERPLEXITY,
    iterations=150 if options.tiny else 1000,
    key=key,
  ).xy
  arguments = {
    "new": new,
    "points": points,
    "positions": positions,
    "threads": options.threads,
    "seed": options.seed,
  }
  measured, skipped = harness.run(
    [
      harness.Contender("ours", _ours, arguments),
      harness.Contender("Shepard", _shepards, arguments, ("sklearn",)),
      harness.Contender("openTSNE", opentsnes, arguments, ("openTSNE",)),
    ],
    options,
  )
  k = maps.KEPT
  before = maps.nearest(points, new, k=k)[1]
  kept = {
    name: maps.kept(
      before, maps.nearest(positions, shown.found[""]["xy"], k=k)[1]
    )
    for name, shown in measured.items()
    if name != harness.MATRIX
  }
  kept["fitted"] = maps.kept(
    maps.nearest(points, k=k)[1], maps.nearest(positions, k=k)[1]
  )
  print(f"kept of the {k} nearest: ", end="")
  print(", ".join(f"{name} {share:.3f}" for name, share in kept.items()))
  harness.report(
    "placing",
    measured,
    tables={"": f"new points on a map of {len(points):,}"},
    amount=len(new),
    unit="points",
    # The products that tell neighbours; the descent is little beside them.
    flops=2 * len(new) * points.size,
    quality={"kept": kept},
    work={**vars(options), "skipped": skipped},
  )


if __name__ == "__main__":
  main()
