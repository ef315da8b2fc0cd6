"""Selection from a pool that is never held: 100 million rows pass by shards.

    python -m tests.benchmarks.stream_select

Rows are drawn shard by shard: a cell, a depth, an id of 64 bits. Each case is
a fresh process: one device and eight (CPU devices of the same cores, whose
states are joined by one collective at the end), with 1 and with 4 rows kept of
a cell. "numpy" lets np.maximum.at find the greatest depth of every cell, and
no row: the least that a rival could do. Ours works while the next shard is
drawn, so the seconds count both, and drawing is printed beside them; memory is
the peak of the whole process, and of one that passes a tenth of the rows.

What is kept must be the same on one device and on eight, round 1 the same
whatever is kept, and its depths those of NumPy.
"""

import argparse
import hashlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

_CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
# (who, CPU devices, rows kept of a cell)
_CASES = (
  ("numpy", 1, 1),
  ("ours", 1, 4),
  ("ours", 8, 4),
  ("ours", 1, 1),
  ("ours", 8, 1),
)
_OURS = "ours, devices 1, keep 4"


def rows(options: argparse.Namespace) -> Iterator[tuple[np.ndarray, ...]]:
  """Shards of (cell, depth, upper word, lower word)."""
  for first in range(0, options.rows, options.shard_rows):
    n = min(options.shard_rows, options.rows - first)
    rng = np.random.default_rng([options.seed, first])
    cell = rng.integers(0, options.cells, n, dtype=np.int32)
    depth = rng.standard_normal(n, dtype=np.float32)
    # An odd factor is a bijection: no two rows have the same id.
    number = np.arange(first, first + n, dtype=np.uint64)
    number *= np.uint64(0x9E3779B97F4A7C15)
    yield cell, depth, *number.view(np.int32).reshape(n, 2).T.copy()


class _Watch:
  """Passes shards on, and keeps the time that it took to make them."""

  def __init__(self, shards: Iterator[Any]):
    self._shards, self.seconds = shards, 0.0

  def __iter__(self) -> Iterator[Any]:
    while True:
      start = time.perf_counter()
      shard = next(self._shards, None)
      self.seconds += time.perf_counter() - start
      if shard is None:
        return
      yield shard


def _numpy(options: argparse.Namespace, shards: Any) -> dict[str, Any]:
  best = np.full(options.cells, -np.inf, np.float32)
  for cell, depth, *_ in shards:
    np.maximum.at(best, cell, depth)
  return {"depth": np.sort(best[best > -np.inf])[::-1]}


def _ours(options: argparse.Namespace, shards: Any) -> dict[str, Any]:
  from ila_jax.compute import mesh
  from ila_jax.selection import cell_stream

  state = cell_stream.consume(
    (cell_stream.Shard(c, d, tuple(words)) for c, d, *words in shards),
    num_cells=options.cells,
    keep=options.keep,
    shard_rows=options.shard_rows,
    mesh=mesh.make(),
  )
  kept = cell_stream.ranking(state)
  first = kept.round == 1
  return {"depth": kept.depth[first], "row": kept.row[first], "all": kept.row}


def _work(options: argparse.Namespace) -> dict[str, Any]:
  """One case, in this process."""
  contender = {"numpy": _numpy, "ours": _ours}[options.worker]
  if options.worker == "ours":
    import jax

    jax.config.update("jax_num_cpu_devices", options.devices)
    # Compiles what the pool needs.
    few = argparse.Namespace(**vars(options))
    few.rows = options.shard_rows
    contender(few, rows(few))
  shards = _Watch(rows(options))
  start = time.perf_counter()
  found = contender(options, shards)
  seconds = time.perf_counter() - start
  return {
    "seconds": seconds,
    "drawing_seconds": shards.seconds,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "kept": len(found["all"]) if "all" in found else len(found["depth"]),
    "digests": {
      name: hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:16]
      for name, array in found.items()
    },
  }


def _case(
  options: argparse.Namespace, who: str, devices: int, keep: int, rows: int
) -> dict[str, Any]:
  """One case, in a process of its own."""
  chosen = vars(options) | {"devices": devices, "keep": keep, "rows": rows}
  flags = [
    f"--{name.replace('_', '-')}={value}"
    for name, value in (chosen | {"worker": who}).items()
    if name != "tiny"
  ]
  command = [sys.executable, "-m", "tests.benchmarks.stream_select", *flags]
  environment = os.environ | {"JAX_PLATFORMS": "cpu"}
  environment.pop("XLA_FLAGS", None)
  printed = subprocess.run(
    command, stdout=subprocess.PIPE, check=True, cwd=_CHECKOUT, env=environment
  ).stdout
  return json.loads(printed.splitlines()[-1])


def main() -> None:
  """Runs the cases one after the other, and prints what they took."""
  flags = argparse.ArgumentParser(
    prog="python -m tests.benchmarks.stream_select"
  )
  flags.add_argument("--tiny", action="store_true", help="a trial, in seconds")
  flags.add_argument("--rows", type=int, default=100_000_000)
  flags.add_argument("--shard-rows", type=int, default=2**22)
  flags.add_argument("--cells", type=int, default=100_000)
  flags.add_argument("--seed", type=int, default=0)
  flags.add_argument("--worker", default="", help="run one case here")
  flags.add_argument("--devices", type=int, default=1, help="of the case")
  flags.add_argument("--keep", type=int, default=1, help="of the case")
  options = flags.parse_args()
  if options.tiny:
    options.rows, options.shard_rows, options.cells = 20_000, 4096, 50
  if options.worker:
    print(json.dumps(_work(options)))
    return
  print(f"{options.rows:,} rows, {options.cells:,} cells")
  print(
    f"{'':26}{'seconds':>9}{'drawing':>9}{'rows/s':>14}{'peak MB':>9}"
    f"{'of a tenth':>11}"
  )
  found = {}
  for who, devices, keep in _CASES[:3] if options.tiny else _CASES:
    name = f"{who}, devices {devices}, keep {keep}"
    shown = tenth = _case(options, who, devices, keep, options.rows)
    if not options.tiny:
      tenth = _case(options, who, devices, keep, options.rows // 10)
    found[name] = shown | {"peak_mb_of_a_tenth": tenth["peak_mb"]}
    print(
      f"{name:26}{shown['seconds']:9.2f}{shown['drawing_seconds']:9.2f}"
      f"{options.rows / shown['seconds']:14,.0f}{shown['peak_mb']:9.0f}"
      f"{tenth['peak_mb']:11.0f}"
    )
  digests = {name: shown["digests"] for name, shown in found.items()}
  ours = [d for name, d in digests.items() if name.startswith("ours")]
  agree = {
    "round 1": len({d["row"] for d in ours}) == 1,
    "depths": len({d["depth"] for d in digests.values()}) == 1,
    "1 and 8 devices": all(
      one == eight for one, eight in zip(ours[::2], ours[1::2], strict=True)
    ),
  }
  seconds = {name: shown["seconds"] for name, shown in found.items()}
  result = {
    "benchmark": "stream_select",
    "ours": seconds.pop(_OURS),
    "rivals": seconds,
    "quality": {"agree": agree, "cases": found},
    "work": vars(options),
  }
  print(json.dumps(result))


if __name__ == "__main__":
  main()
