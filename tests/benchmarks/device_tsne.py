"""t-SNE of 100 thousand and of a million points, on the devices here.

    python -m tests.benchmarks.device_tsne --points 1000000

Embeddings are made up: 20 topics of 10 clusters in 384 dimensions. "kept" is
the share of the 10 nearest neighbours that are also nearest on the map, of
2,000 points drawn at random. Seconds include compiling. A fit that does not end
in time has told, line by line, how far it came.
"""

import time

import jax
import numpy as np

from ila_jax import affinities, neighbours, tsne
from ila_jax import mesh as mesh_lib
from tests.benchmarks import device
from tests.benchmarks import tsne as witness

_ASKED = 2000


def main() -> None:
  """Fits one map, times its parts, and measures what it keeps."""
  flags = device.flags(__doc__)
  flags.add_argument("--points", type=int, default=100_000)
  flags.add_argument("--iterations", type=int, default=1000)
  options = flags.parse_args()
  if options.tiny:
    options.points, options.iterations = 1200, 150
  x = witness.embeddings(None, options.points, seed=0)
  mesh = mesh_lib.make()
  phases = {}
  for module, name in (
    (neighbours, "nearest"),
    (affinities, "joint_probabilities"),
    (affinities, "cut"),
  ):
    timed = witness.timed(getattr(module, name), name, phases)
    setattr(module, name, timed)
  begin = time.perf_counter()

  def say(done: int, kl: float) -> None:
    passed = time.perf_counter() - begin
    print(f"  {passed:7.1f} s: {done:5} iterations, KL {kl:.4f}", flush=True)

  fit = tsne.fit(
    x,
    perplexity=witness.PERPLEXITY,
    iterations=options.iterations,
    key=jax.random.key(0),
    mesh=mesh if mesh.size > 1 else None,
    on_progress=say,
  )
  seconds = time.perf_counter() - begin
  before = phases["joint_probabilities"] + phases["cut"]
  asked = np.random.default_rng(1).permutation(options.points)[:_ASKED]
  near = _nearest(x, asked)
  quality = {
    "kl": fit.kl,
    "kept": witness.kept(near, _nearest(fit.xy, asked)),
    "extent": float(np.abs(fit.xy).max()),
    "neighbours_seconds": phases["nearest"],
    "P_seconds": before - phases["nearest"],
    "descent_seconds": seconds - before,
    "peak_bytes": device.peak_bytes(),
  }
  device.report("device_tsne", seconds, quality, vars(options))


def _nearest(x: np.ndarray, asked: np.ndarray) -> np.ndarray:
  """The 10 nearest of some points; a point itself comes first, and goes."""
  found = neighbours.nearest(x[asked], x, k=witness.KEPT + 1)
  return np.asarray(found.index)[:, 1:]


if __name__ == "__main__":
  main()
