"""What each of several hosts lays out of a batch, and reads to place a pool.

Each count of hosts shares four CPU devices. A host lays out batches of one
million tokens, packed, and reads a part of a pool's embeddings: its own rows,
as the runs do, and all rows, as they once did. Bytes are those of the arrays
that it makes; times are of its own thread on the processor, so that hosts on
one machine do not count for each other.

Run it with `python -m tests.benchmarks.host_batches`; the last line is JSON.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

_HOSTS = (1, 2, 4)
_REPEATS = 7
_PROGRAM = """
import sys
from tests.support import hosts
place = sys.argv[2].split("/")
host = hosts.join(sys.argv[1:3], devices=4 // int(place[1]))
from tests.benchmarks import host_batches
host_batches.work(*sys.argv[3:])
"""


def work(folder: str, examples: str, part_rows: str) -> None:
  """What one host does; prints bytes and milliseconds as JSON."""
  from ila_jax.compute import mesh as mesh_lib
  from ila_jax.embed import rows as rows_lib
  from ila_jax.passes import collate, layouts

  mesh = mesh_lib.make()
  rng = np.random.default_rng(0)
  lengths = np.clip(rng.lognormal(5.3, 0.8, int(examples)), 8, 2048)
  ids = [np.arange(n, dtype=np.int32) for n in lengths.astype(np.int32)]
  masks = [np.arange(len(one)) > len(one) // 2 for one in ids]
  packed = layouts.pack(lengths.astype(np.int32), width=2048)
  height = min(512, len(packed)) // 4 * 4
  batch = collate.Batch(packed[:height], 2048, height)
  rows = rows_lib.Rows(folder, np.arange(int(part_rows)))
  every = np.arange(len(rows))
  laid_out: list[int] = []
  _count(collate, "collate", laid_out)
  _count(rows_lib.Rows, "__getitem__", laid_out)
  cases = {
    "batch": lambda: collate.on_mesh(ids, masks, batch, mesh),
    "whole batch": lambda: mesh_lib.put(
      collate.collate(ids, masks, batch), mesh
    ),
    "rows": lambda: mesh_lib.put_rows(rows, mesh),
    "all rows": lambda: mesh_lib.put_rows(rows[every], mesh),
  }
  print(json.dumps({k: _measure(v, laid_out) for k, v in cases.items()}))


def _count(owner: Any, name: str, made: list[int]) -> None:
  """Notes the bytes of all arrays that a function returns."""
  import jax

  real = getattr(owner, name)

  def counted(*arguments: Any) -> Any:
    found = real(*arguments)
    made.append(sum(array.nbytes for array in jax.tree.leaves(found)))
    return found

  setattr(owner, name, counted)


def _measure(
  build: Callable[[], Any], made: list[int]
) -> dict[str, float | int]:
  import jax

  seconds = []
  for _ in range(_REPEATS):
    made.clear()
    begin = time.thread_time()
    jax.block_until_ready(build())
    seconds.append(time.thread_time() - begin)
  return {"bytes": sum(made), "ms": 1000 * statistics.median(seconds[1:])}


def main() -> None:
  """Runs each count of hosts, and prints the most that one of them makes."""
  from ila_jax.run.disk import files
  from tests.support import hosts

  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--tiny", action="store_true")
  tiny = parser.parse_args().tiny
  examples, part_rows, width = (200, 64, 8) if tiny else (20_000, 65_536, 384)
  ours: dict[int, dict[str, dict[str, float]]] = {}
  with tempfile.TemporaryDirectory() as folder:
    shard = pathlib.Path(folder) / "embed/embeddings-00000.npy"
    files.write_array(shard, np.ones((part_rows, width), np.float32))
    for count in _HOSTS[:2] if tiny else _HOSTS:
      words = (folder, examples, part_rows)
      answers = hosts.run(_PROGRAM, *words, seconds=300, count=count)
      said = [json.loads(stdout.splitlines()[-1]) for stdout, _ in answers]
      ours[count] = {
        case: {what: max(one[case][what] for one in said) for what in found}
        for case, found in said[0].items()
      }
      for case, found in ours[count].items():
        print(
          f"{count} hosts, {case}: {found['bytes'] / 1e6:.2f} MB, "
          f"{found['ms']:.1f} ms",
          file=sys.stderr,
        )
  print(json.dumps({"benchmark": "host_batches", "ours": ours}))


if __name__ == "__main__":
  main()
