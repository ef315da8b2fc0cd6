"""The deepest row of every cell of 100 million rows, on the devices here.

    python -m tests.benchmarks.device_argmax

100,000 cells, a tenth of them empty; depths have 2,000 values, so that ties are
many, and the lowest row wins them. The columns are drawn on the devices before
the clock starts. NumPy on the host must find the same rows. The least that must
move through the device's memory is 8 bytes a row.
"""

import statistics
import time

import jax
import numpy as np
from jax import numpy as jnp

from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape import segment_max
from tests.benchmarks import argmax, device

_CELLS = 100_000


def main() -> None:
  """Times the passes, and compares the rows with NumPy's."""
  flags = device.flags(__doc__)
  flags.add_argument("--rows", type=int, default=100_000_000)
  flags.add_argument("--rounds", type=int, default=5)
  options = flags.parse_args()
  cells = _CELLS
  if options.tiny:
    options.rows, options.rounds, cells = 4000, 1, 100
  mesh = mesh_lib.make()
  options.rows -= options.rows % mesh_lib.batch_multiple(mesh)
  host = argmax.columns(options.rows, cells=cells, seed=0)
  cell, depth = mesh_lib.put((host["cell"], host["depth"]), mesh)
  row = mesh_lib.put(np.arange(options.rows, dtype=np.int32), mesh)
  every = mesh_lib.put(np.ones(options.rows, np.bool_), mesh)

  def deepest():
    return segment_max.deepest(cell, depth, row, every, num_cells=cells)

  first_seconds, _ = device.seconds(deepest)
  timed = [device.seconds(deepest) for _ in range(options.rounds)]
  found = np.asarray(timed[-1][1])
  begin = time.perf_counter()
  best = np.full(cells, -np.inf, np.float32)
  np.maximum.at(best, host["cell"], host["depth"])
  hit = np.flatnonzero(host["depth"] == best[host["cell"]])
  # From the last row to the first, so that the lowest is written last.
  expected = np.full(cells, -1)
  expected[host["cell"][hit[::-1]]] = hit[::-1]
  numpy_seconds = time.perf_counter() - begin
  copied, _ = device.seconds(lambda: jax.jit(jnp.negative)(depth))
  seconds = statistics.median(s for s, _ in timed)
  quality = {
    "cells_that_differ": int((found != expected).sum()),
    "rows_per_second": options.rows / seconds,
    "bytes_per_second": 8 * options.rows / seconds,
    "first_seconds": first_seconds,
    "numpy_seconds": numpy_seconds,
    "negate_seconds": copied,
    "peak_bytes": device.peak_bytes(),
  }
  device.report("device_argmax", seconds, quality, vars(options))
  if quality["cells_that_differ"]:
    raise SystemExit("device_argmax: NumPy finds other rows.")


if __name__ == "__main__":
  main()
