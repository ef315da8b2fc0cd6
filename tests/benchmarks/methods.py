"""Methods of diversity beside their usual implementations, one after the other.

    python -m tests.benchmarks.methods --embeddings RUN/embed --examples 20000

takes the embeddings of a run, or without them makes some up. Each prints a
table and a JSON line: seconds, peak memory, and the same quality for all, the
value that the method makes great or small. `--methods` names some of them,
`--width` and `--copies` say what is made up.
"""

import argparse
import importlib.metadata
import pathlib

import numpy as np

from tests.benchmarks import harness

_MOST, _EPS, _CLUSTER = 0.9, 0.05, 1000
PACKAGES = "apricot-select", "faiss-cpu", "scikit-learn", "submodlib-py"


def _rows(folder, examples, seed, width, copies):
  rng = np.random.default_rng(seed)
  if folder:
    files = sorted(pathlib.Path(folder).glob("*.npy"))
    x = np.concatenate([np.load(file) for file in files])
    x = x[rng.permutation(len(x))[:examples]]
  else:
    topics = rng.normal(size=(200, width))
    x = topics[rng.integers(0, 200, examples)]
    x = x + rng.normal(size=(examples, width))
    count = round(copies * examples)  # At a cosine of about 0.98 to another.
    like = x[rng.integers(0, examples - count, count)]
    x[examples - count :] = like + 0.3 * rng.normal(size=(count, width))
  return np.float32(x / np.linalg.norm(x, axis=1, keepdims=True))


def _quality(name, x, chosen):
  """What the method is to make great; of k-center, small."""
  if name in ("repr_filter", "semdedup"):
    return {"kept": len(chosen)}
  blocks = (x[start : start + 2048] for start in range(0, len(x), 2048))
  nearest = np.concatenate([(b @ x[chosen].T).max(axis=1) for b in blocks])
  if name == "kcenter":
    return {"radius": float(np.sqrt(max(0, 2 - 2 * nearest.min())))}
  return {"value": float(nearest.sum(dtype=np.float64))}


def _ours(method, budget, **work):
  import dataclasses

  from ila_jax.methods import candidates, table

  x = _rows(**work)
  n = len(x)
  c = candidates.candidates(
    np.arange(n, dtype=np.uint64),
    cell=np.zeros(n, np.int32),
    depth=-np.arange(n, dtype=np.float32),
    relative_depth=np.zeros(n, np.float32),
    n_tokens=np.ones(n, np.int32),
    domain=np.zeros(n, np.int32),
    candidate=np.ones(n, bool),
    seed=0,
  )
  wanted = None if method == "semdedup" else budget
  c = dataclasses.replace(c, inputs={"embeddings": x}, wanted=wanted)
  options = {
    "facility_location": {"represented": min(n, 131_072)},
    "repr_filter": {"most": _MOST},
    "semdedup": {"eps": _EPS, "cluster_examples": _CLUSTER},
  }.get(method, {})

  def task(mode):
    del mode
    order = table.METHODS[method](c, **options).order
    return {"chosen": order, "first": int(np.argmin(c.uniform))}

  return task


def _task(choose, budget, **work):
  x = _rows(**work)
  return lambda _: {"chosen": np.asarray(choose(x, budget))}


def _first(n):
  """The row with which our k-center begins."""
  from ila_jax.run import draws

  ids = np.arange(n, dtype=np.uint64)
  uniform = draws.keyed_uniform(ids, seed=0, purpose="select")
  return int(np.argmin(uniform.astype(np.float32)))


def _kcenter_sklearn(x, budget):
  """As core-set code of active learning has it."""
  from sklearn import metrics

  chosen, nearest = [_first(len(x))], None
  while True:
    far = metrics.pairwise_distances(x, x[chosen[-1:]])[:, 0]
    nearest = far if nearest is None else np.minimum(nearest, far)
    if len(chosen) == budget:
      return chosen
    chosen.append(int(np.argmax(nearest)))


def _kcenter_numpy(x, budget):
  chosen, nearest = [_first(len(x))], np.full(len(x), -2, np.float32)
  while len(chosen) < budget:
    np.maximum(nearest, x @ x[chosen[-1]], out=nearest)
    chosen.append(int(np.argmin(nearest)))
  return chosen


def _facility_apricot(x, budget):
  import apricot

  model = apricot.FacilityLocationSelection(budget, metric="precomputed")
  return model.fit((1 + x @ x.T) / 2).ranking


def _facility_submodlib(x, budget):
  import submodlib

  function = submodlib.FacilityLocationFunction(
    n=len(x), mode="dense", sijs=(1 + x @ x.T) / 2, separate_rep=False
  )
  chosen = function.maximize(
    budget=budget,
    optimizer="LazyGreedy",
    stopIfZeroGain=False,
    stopIfNegativeGain=False,
    show_progress=False,
  )
  return [row for row, _ in chosen]


def _repr_numpy(x, budget):
  """As Deita's filter has it: one after the other, with all that are taken."""
  taken, chosen = np.empty((budget, x.shape[1]), np.float32), []
  for row, own in enumerate(x):
    if not chosen or (taken[: len(chosen)] @ own).max() <= _MOST:
      taken[len(chosen)] = own
      chosen.append(row)
      if len(chosen) == budget:
        break
  return chosen


def _repr_faiss(x, budget):
  import faiss

  index, chosen = faiss.IndexFlatIP(x.shape[1]), []
  for row in range(len(x)):
    own = x[row : row + 1]
    if not chosen or index.search(own, 1)[0][0, 0] <= _MOST:
      index.add(own)
      chosen.append(row)
      if len(chosen) == budget:
        break
  return chosen


def _semdedup_of(x, cell, nearness):
  """The published loop: the matrix of a cluster, and its upper triangle."""
  kept = []
  for one in np.unique(cell):
    rows = np.flatnonzero(cell == one)
    rows = rows[np.argsort(nearness[rows], kind="stable")]
    like = np.triu(x[rows] @ x[rows].T, k=1)
    kept.append(rows[like.max(axis=0) < 1 - _EPS])
  return np.concatenate(kept)


def _semdedup_faiss(x, budget):
  import faiss

  del budget
  count = -(-len(x) // _CLUSTER)
  # By itself it looks at 256 rows of a cluster and no more.
  options = {"niter": 100, "spherical": True, "seed": 0}
  model = faiss.Kmeans(
    x.shape[1], count, max_points_per_centroid=len(x), **options
  )
  model.train(x)
  nearness, cell = model.index.search(x, 1)
  return _semdedup_of(x, cell[:, 0], nearness[:, 0])


def _semdedup_sklearn(x, budget):
  from sklearn import cluster

  del budget
  count = -(-len(x) // _CLUSTER)
  model = cluster.KMeans(count, n_init=1, max_iter=100, random_state=0).fit(x)
  centers = model.cluster_centers_
  centers /= np.linalg.norm(centers, axis=1, keepdims=True)
  nearness = np.einsum("nd,nd->n", x, centers[model.labels_])
  return _semdedup_of(x, model.labels_, nearness)


RIVALS = {
  "kcenter": {
    "scikit-learn": (_kcenter_sklearn, "sklearn"),
    "NumPy": (_kcenter_numpy, "numpy"),
  },
  "facility_location": {
    "apricot": (_facility_apricot, "apricot"),
    "submodlib": (_facility_submodlib, "submodlib"),
  },
  "repr_filter": {
    "NumPy": (_repr_numpy, "numpy"),
    "faiss": (_repr_faiss, "faiss"),
  },
  "semdedup": {
    "faiss": (_semdedup_faiss, "faiss"),
    "scikit-learn": (_semdedup_sklearn, "sklearn"),
  },
}


def _compare(method: str, options: argparse.Namespace) -> None:
  """Runs ours and its rivals, and prints what each needs and finds."""
  work = {
    "folder": options.embeddings,
    "examples": options.examples,
    "seed": options.seed,
    "width": options.width,
    "copies": options.copies,
  }
  x = _rows(**work)
  arguments = {**work, "budget": options.budget}
  rivals = [
    harness.Contender(
      name, _task, {**arguments, "choose": choose}, needs=(needs,)
    )
    for name, (choose, needs) in RIVALS[method].items()
  ]
  ours = harness.Contender("ours", _ours, {**arguments, "method": method})
  measured, skipped = harness.run([ours, *rivals], options)
  found = {
    name: shown.found[""]["chosen"]
    for name, shown in measured.items()
    if name != harness.MATRIX
  }
  own = found["ours"].tolist()
  harness.report(
    method,
    measured,
    tables={"": f"{method}: {len(x):,} × {x.shape[1]}, {options.budget:,}"},
    amount=len(x),
    unit="examples",
    flops=2 * len(x) * x.shape[1] * options.budget,
    quality={
      "quality": {
        name: _quality(method, x, rows) for name, rows in found.items()
      },
      # Rows at the head of both orders.
      "same_head": {
        name: int(np.argmin([*(rows[: len(own)] == own), False]))
        for name, rows in found.items()
        if len(rows) == len(own)
      },
    },
    work={**arguments, "skipped": skipped, "versions": _versions()},
  )


def _versions() -> dict[str, str]:
  found = {}
  for name in PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = "not installed"
  return found


def main() -> None:
  """Compares all methods that are asked for."""
  flags = harness.parser("methods", rounds=3)
  flags.add_argument(
    "--embeddings", help="folder of .npy files; made up if not"
  )
  flags.add_argument("--examples", type=int, default=20_000)
  flags.add_argument("--budget", type=int, default=1_000)
  flags.add_argument("--width", type=int, default=64, help="of made-up ones")
  flags.add_argument(
    "--copies", type=float, default=0.0, help="share that resembles another"
  )
  flags.add_argument(
    "--methods", nargs="*", choices=[*RIVALS], default=[*RIVALS]
  )
  options = harness.parse(flags)
  if options.tiny:
    options.examples, options.budget, options.rounds = 600, 20, 1
  for method in options.methods:
    _compare(method, options)


if __name__ == "__main__":
  main()
