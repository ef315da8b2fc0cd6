"""Records a second and peak memory of stage `pool`, by the number of workers.

    python -m tests.benchmarks.pool_read --workers=1,2
    python -m tests.benchmarks.pool_read --records=10000000 --workers=2

Writes a synthetic pool of JSON lines (a few sentences of random words each, one
in a hundred a duplicate of an earlier one) and has fresh processes run the
stage on it, with a byte-level tokenizer that is trained on it. Memory is the
peak of the resident set of the process that merges, and of the largest of its
workers, at most: a worker that has not begun yet counts as large as the process
that starts it. `--small` names the pool that it is compared with.

Goal: twice the records a second on two free cores; memory that grows by no
more than 100 bytes a record of the pool.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

_CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_BLOCK = 10_000


def write(path: pathlib.Path, records: int) -> None:
  """Writes a pool of some records of about 500 bytes."""
  words = np.array([f"{a}{b}" for a in _ONSETS for b in _RIMES])
  with path.open("w") as file:
    for start in range(0, records, _BLOCK):
      rng = np.random.default_rng([7, start])
      count = min(_BLOCK, records - start)
      asks = rng.choice(words, (count, 12))
      answers = rng.choice(words, (count, 70))
      for number, (ask, answer) in enumerate(zip(asks, answers, strict=True)):
        row = {
          "instruction": f"{start + number}: {' '.join(ask)}?",
          "output": " ".join(answer[: 20 + number % 50]) + ".",
        }
        file.write(json.dumps(row) + "\n")
        if number % 100 == 99:
          file.write(json.dumps(row) + "\n")


_ONSETS = ("b", "br", "d", "dr", "f", "g", "k", "l", "m", "n", "p", "st", "tr")
_RIMES = ("a", "an", "ar", "e", "en", "el", "i", "in", "o", "on", "or", "u")


def run(source: str, workdir: str, workers: int) -> None:
  """Runs the stage here, and prints what it took."""
  from ila_jax import config_parsing, pipeline, presets

  config = presets.load("quickstart")
  config.pool.source = source
  config.update_from_flattened_dict(
    {"pool.limit": None, "pool.workers": workers, "pool.shard_examples": 8192}
  )
  begin = time.perf_counter()
  pipeline.run(config_parsing.parse(config), workdir, stages=["pool"])
  seconds = time.perf_counter() - begin
  own, below = (
    resource.getrusage(who)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  )
  cpu = sum(u.ru_utime + u.ru_stime for u in (own, below))
  print(
    json.dumps(
      {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_bytes": 1024 * own.ru_maxrss,
        "worker_peak_bytes": 1024 * below.ru_maxrss,
      }
    )
  )


def _measure(folder: str | None, records: int, workers: int) -> dict[str, Any]:
  """What the stage takes in a process of its own."""
  with tempfile.TemporaryDirectory(dir=folder) as work:
    source = pathlib.Path(work) / "pool.jsonl"
    write(source, records)
    command = [sys.executable, "-m", "tests.benchmarks.pool_read"]
    command += [f"--source={source}", f"--workdir={work}/run"]
    done = subprocess.run(
      [*command, f"--workers={workers}"],
      stdout=subprocess.PIPE,
      check=True,
      cwd=_CHECKOUT,
      env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    took = json.loads(done.stdout.splitlines()[-1])
    return took | {"input_bytes": source.stat().st_size}


def main() -> None:
  """Makes pools, reads them, prints rates and memory."""
  flags = argparse.ArgumentParser(prog="python -m tests.benchmarks.pool_read")
  flags.add_argument("--tiny", action="store_true", help="a trial, in seconds")
  flags.add_argument("--records", type=int, default=200_000)
  flags.add_argument("--small", type=int, default=0, help="to compare with")
  flags.add_argument("--workers", default="1,2", help="numbers, by commas")
  flags.add_argument("--folder", help="where the pool lies while it is used")
  flags.add_argument("--source", help="read this, here")
  flags.add_argument("--workdir", help="of that run")
  options = flags.parse_args()
  if options.source:
    run(options.source, options.workdir, int(options.workers))
    return
  if options.tiny:
    options.records, options.workers = 3000, "1"
  counts = [c for c in (options.small, options.records) if c]
  print(
    f"{'records':>12}{'workers':>9}{'seconds':>9}{'CPU s':>8}"
    f"{'records/s':>11}{'peak MB':>9}{'worker MB':>11}"
  )
  found = {}
  for workers in map(int, options.workers.split(",")):
    for records in counts:
      took = _measure(options.folder, records, workers)
      found[f"{records}/{workers}"] = took
      below = took["worker_peak_bytes"]
      print(
        f"{records:12,}{workers:9}{took['seconds']:9.0f}"
        f"{took['cpu_seconds']:8.0f}{records / took['seconds']:11,.0f}"
        f"{took['peak_bytes'] / 1e6:9.0f}{below / 1e6:11.0f}",
        flush=True,
      )
  print(
    json.dumps(
      {
        "benchmark": "pool_read",
        "ours": min(took["seconds"] for took in found.values()),
        "rivals": {},
        "quality": found,
        "work": {"records": options.records, "workers": options.workers},
      }
    )
  )


if __name__ == "__main__":
  main()
