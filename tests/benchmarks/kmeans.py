"""Lloyd's iterations against scikit-learn's, from the same start.

    python -m tests.benchmarks.kmeans --embeddings RUN/embed

takes the embeddings of a run, or without them makes
some up. Both do the same number of iterations and give every row its cell.
"""

import functools
import pathlib
import warnings

import numpy as np

from tests.benchmarks import harness


def _work(folder, rows, clusters, seed):
  rng = np.random.default_rng(seed)
  if folder:
    files = sorted(pathlib.Path(folder).glob("*.npy"))
    x = np.concatenate([np.load(file) for file in files])[:rows]
  else:
    topics = rng.normal(size=(200, 64))
    x = topics[rng.integers(0, 200, rows)] + rng.normal(size=(rows, 64))
  x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
  return x, x[np.sort(rng.permutation(len(x))[:clusters])]


def _found(cell, inertia):
  return {"cell": np.asarray(cell), "inertia": float(inertia)}


def _ours(iterations, **work):
  from ila_jax.landscape import centers as centers_lib
  from ila_jax.landscape import clusters

  x, start = _work(**work)

  def task(mode):
    del mode
    centers = clusters.lloyd(x, start, iterations=iterations)
    cell, squared = centers_lib.assign(x, centers)
    return _found(cell, np.sum(np.asarray(squared), dtype=np.float64))

  return task


def _sklearns(algorithm, iterations, **work):
  from sklearn import cluster

  x, start = _work(**work)
  warnings.simplefilter("ignore")  # That the iterations are few.
  model = cluster.KMeans(
    len(start),
    init=start,
    n_init=1,
    max_iter=iterations,
    tol=0,
    algorithm=algorithm,
  )

  def task(mode):
    del mode
    found = model.fit(x)
    return _found(found.labels_, found.inertia_)

  return task


def main() -> None:
  """Runs all, and prints the table and the JSON line."""
  flags = harness.parser("kmeans", rounds=5)
  flags.add_argument(
    "--embeddings", help="folder of .npy files; made up if not"
  )
  flags.add_argument("--rows", type=int, default=50_000)
  flags.add_argument("--clusters", type=int, default=500)
  flags.add_argument("--iterations", type=int, default=10)
  options = harness.parse(flags)
  if options.tiny:
    options.rows, options.clusters, options.rounds = 2000, 20, 1
  work = {
    "folder": options.embeddings,
    "rows": options.rows,
    "clusters": options.clusters,
    "seed": options.seed,
  }
  x, _ = _work(**work)
  arguments = {**work, "iterations": options.iterations}
  rival = functools.partial(harness.Contender, make=_sklearns)
  measured, skipped = harness.run(
    [
      harness.Contender("ours", _ours, arguments),
      *(
        rival(
          f"sklearn {name}",
          arguments={**arguments, "algorithm": name},
          needs=("sklearn",),
        )
        for name in ("lloyd", "elkan")
      ),
    ],
    options,
  )
  found = {name: shown.found[""] for name, shown in measured.items()}
  ours = found.pop("ours")
  rivals = {name: f for name, f in found.items() if "cell" in f}
  passes = options.iterations + 1
  harness.report(
    "kmeans",
    measured,
    tables={"": f"{len(x)} × {x.shape[1]}, {options.clusters} clusters"},
    amount=len(x) * passes,
    unit="rows",
    flops=2 * len(x) * x.shape[1] * options.clusters * passes,
    quality={
      "inertia": ours["inertia"],
      "inertia_of_rivals": {n: f["inertia"] for n, f in rivals.items()},
      "same_cells": {
        n: float(np.mean(f["cell"] == ours["cell"])) for n, f in rivals.items()
      },
    },
    work={**arguments, "rows": len(x), "skipped": skipped},
  )


if __name__ == "__main__":
  main()
