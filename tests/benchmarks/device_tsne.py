"""t-SNE of 100 thousand and of a million points, on the devices here.

    python -m tests.benchmarks.device_tsne --points 1000000

Embeddings are made up, in clusters of 5,000. With `--data sheets` a cluster is
a curved sheet of two to five dimensions in 384, so that there are neighbours to
be kept. With `--data hubs` it is a round cloud in 384 dimensions, where few
points are neighbours of very many: what throws points out of a map. `--hub inf`
lets these move as fast as the others.

"kept" is the share of the 10 nearest neighbours that are also nearest on the
map, of 2,000 points drawn at random; the extents say how far the map reaches,
and 99.9 % of its points. Seconds include compiling. A fit that does not end in
time has told, line by line, how far it came.
"""

import time

import jax
import numpy as np

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours
from ila_jax.landscape.maps import affinities, descent, tsne
from tests.benchmarks import device
from tests.benchmarks import tsne as witness

_ASKED = 2000
_CLUSTER, _WIDTH = 5000, 384


def main() -> None:
  """Fits one map, times its parts, and measures what it keeps."""
  flags = device.flags(__doc__)
  flags.add_argument("--points", type=int, default=100_000)
  flags.add_argument("--iterations", type=int, default=1000)
  flags.add_argument("--data", choices=list(DATA), default="sheets")
  flags.add_argument("--hub", type=float, default=descent.HUB)
  options = flags.parse_args()
  if options.tiny:
    options.points, options.iterations = 1200, 150
  descent.HUB = options.hub
  x = embeddings(options.data, options.points)
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
  phases = dict(phases)  # Neighbours are looked up again below.
  before = phases["joint_probabilities"] + phases["cut"]
  asked = np.random.default_rng(1).permutation(options.points)[:_ASKED]
  near = _nearest(x, asked)
  reach = np.abs(fit.xy).max(axis=1)
  quality = {
    "kl": fit.kl,
    "kl_of_one_place": fit.kl_of_one_place,
    "kept": witness.kept(near, _nearest(fit.xy, asked)),
    "extent": float(reach.max()),
    "extent_of_999_in_1000": float(np.quantile(reach, 0.999)),
    "grid_spacing": fit.grid_spacing,
    "neighbours_seconds": phases["nearest"],
    "P_seconds": phases["joint_probabilities"] - phases["nearest"],
    "cut_seconds": phases["cut"],
    "descent_seconds": seconds - before,
    "peak_bytes": device.peak_bytes(),
  }
  device.report("device_tsne", seconds, quality, vars(options))


def embeddings(data: str, points: int) -> np.ndarray:
  """Rows of unit norm in clusters, in random order, float32 [n, 384]."""
  rng = np.random.default_rng(0)
  clusters = max(points // _CLUSTER, 2)
  x = np.empty((points, _WIDTH), np.float32)
  for rows in np.array_split(rng.permutation(points), clusters):
    x[rows] = rng.normal(size=_WIDTH) + DATA[data](rng, len(rows))
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def _sheet(rng: np.random.Generator, points: int) -> np.ndarray:
  """Sines of random directions of a sheet, and a little noise."""
  dimensions = rng.integers(2, 6)
  place = rng.uniform(-1, 1, (points, dimensions))
  bend = rng.normal(size=(dimensions, _WIDTH))
  sheet = np.sin(place @ bend + rng.uniform(0, 2 * np.pi, _WIDTH))
  return 0.5 * sheet + 0.02 * rng.normal(size=sheet.shape)


def _cloud(rng: np.random.Generator, points: int) -> np.ndarray:
  return 0.5 * rng.normal(size=(points, _WIDTH))


DATA = {"sheets": _sheet, "hubs": _cloud}


def _nearest(x: np.ndarray, asked: np.ndarray) -> np.ndarray:
  """The 10 nearest of some points; a point itself comes first, and goes."""
  found = neighbours.nearest(x[asked], x, k=witness.KEPT + 1)
  return np.asarray(found.index)[:, 1:]


if __name__ == "__main__":
  main()
