"""How much of the neighbourhoods a map keeps for records that join it.

    python -m tests.benchmarks.maps --embeddings RUN/embed

fits each kind of map on 10,000 embeddings of a run and places 4,000 others. For
each of these, of its 10 nearest fitted points among the embeddings, the share
that are also the 10 nearest on the map; the same for fitted points.
"""

import argparse
import json
import pathlib
import time

import jax
import numpy as np

from ila_jax.compute import neighbours
from ila_jax.landscape.maps import projections


def _kept(x, points, xy, positions, *, same):
  found = [
    np.asarray(neighbours.nearest(a, b, k=10, same=same).index)
    for a, b in ((x, points), (xy, positions))
  ]
  return float((found[0][:, :, None] == found[1][:, None]).any(2).mean())


def main() -> None:
  """Fits, places, and prints a table and one line of JSON."""
  flags = argparse.ArgumentParser(description=__doc__)
  flags.add_argument(
    "--embeddings", help="folder of .npy files; made up if not"
  )
  flags.add_argument("--fitted", type=int, default=10_000)
  flags.add_argument("--joining", type=int, default=4_000)
  flags.add_argument("--seed", type=int, default=0)
  flags.add_argument("--tiny", action="store_true", help="a trial, in seconds")
  options = flags.parse_args()
  rng = np.random.default_rng(options.seed)
  sizes = (200, 50) if options.tiny else (options.fitted, options.joining)
  if options.embeddings:
    files = sorted(pathlib.Path(options.embeddings).glob("*.npy"))
    x = np.concatenate([np.load(file) for file in files])
  else:
    topics = rng.normal(size=(20, 8))
    x = topics[rng.integers(0, 20, sum(sizes))]
    x = x + rng.normal(size=x.shape)
  x = x[rng.permutation(len(x))[: sum(sizes)]].astype(np.float32)
  fitted, joining = np.split(x, [sizes[0]])
  kept, seconds, bytes_held = {}, {}, {}
  chosen = projections.Options(iterations=100 if options.tiny else 1000)
  print(f"{'':11} {'fitted':>7} {'joining':>8} {'fit s':>8} {'MB':>6}")
  for name in projections.PROJECTIONS:
    start = time.perf_counter()
    key = jax.random.key(options.seed)
    found = projections.fit(fitted, name=name, key=key, options=chosen)
    seconds[name] = time.perf_counter() - start
    positions, xy = found.place(fitted), found.place(joining)
    kept_fitted = _kept(fitted, fitted, positions, positions, same=True)
    kept_joining = _kept(joining, fitted, xy, positions, same=False)
    kept[name] = {
      "kept_fitted": kept_fitted,
      "kept_joining": kept_joining,
      **found.notes,
    }
    bytes_held[name] = sum(array.nbytes for array in found.arrays.values())
    print(
      f"{name:11} {kept_fitted:7.3f} {kept_joining:8.3f} "
      f"{seconds[name]:8.1f} {bytes_held[name] / 1e6:6.2f}"
    )
  ours = seconds.pop("parametric")
  print(
    json.dumps(
      {
        "benchmark": "maps",
        "ours": ours,
        "rivals": seconds,
        "quality": {"kept": kept, "bytes": bytes_held},
        "work": {"fitted": len(fitted), "joining": len(joining)},
      }
    )
  )


if __name__ == "__main__":
  main()
