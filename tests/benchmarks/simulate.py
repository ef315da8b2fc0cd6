"""A large pool in small: a thousandth of its records, in as many shards.

    python -m tests.benchmarks.simulate [--rows 100000] [--shard-rows 66]

Runs the stages up to the selection, and the report, on synthetic records, each
in a fresh process on eight CPU devices, and counts what it did: files and bytes
that it wrote, bytes that it read, batches and bytes that went to the devices,
tokens and FLOPs, and the memory of the host. With 66 rows a shard, 100,000
records are as many shards as 100 million are with 65,536: numbers of files can
be read off directly, bytes and batches times a thousand. Beside each count
stands what the plans of the stages (`need`) foretell.

`--of 2` runs half of the records in as many shards too: what a host holds for a
record is the difference.

    python -m tests.benchmarks.simulate --paper POOL --model FOLDER \\
      --encoder FOLDER [--rows 100000000] [--topology v5p:4x4x8]

prints the dry run of preset qwen2_7b on a pool of so many records like those of
POOL, for chips that are not here.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

_CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_STAGES = ("pool", "embed", "score", "landscape", "select", "report")
_DEVICES = 8


def write_pool(path: pathlib.Path, rows: int) -> None:
  """Records of lengths as those of instruction data: log-normal."""
  random = np.random.default_rng(0)
  words = np.array([_word(n) for n in range(3000)])
  with path.open("w") as file:
    for row in range(rows):
      prompt, response = np.clip(
        random.lognormal((2.3, 3.0), 0.7), 3, 45
      ).astype(int)
      # Words of a topic are near each other.
      topic = random.integers(2900)
      near = topic + random.geometric(0.05, prompt + response) % 100
      text = words[near]
      record = {
        "instruction": f"{_word(row)}: " + " ".join(text[:prompt]),
        "output": " ".join(text[prompt:]),
      }
      file.write(json.dumps(record) + "\n")


def _word(number: int) -> str:
  """A word for a number, in letters: tokenizers split digits."""
  letters = "bcdfghjklmnpqrst"
  return "".join(letters[int(digit, 16)] for digit in f"{number:x}")


def _config(source: str, shard_rows: int) -> Any:
  from tests.support import tiny

  return tiny.config(
    source,
    pool__limit=10**9,
    pool__shard_examples=shard_rows,
    pool__dev_examples=100,
    tokens__max_tokens=256,
    model__scratch__vocab=4000,
    score__layout="pack",
    score__batch_tokens=256,
    train__batch_tokens=2048,
    score__reference_examples=500,
    landscape__fit_examples=2000,
    landscape__iterations=250,
    # Its time says nothing here: cells of so few records are swept one by one.
    landscape__duplicate_cosine=None,
    select__budget=0.01,
  )


def run(workdir: str, source: str, stage: str, shard_rows: int) -> None:
  """Runs one stage, and prints what it did as a line of JSON."""
  import jax

  jax.config.update("jax_num_cpu_devices", _DEVICES)
  from ila_jax import pipeline
  from ila_jax.passes import collate
  from ila_jax.run.disk import files

  counts = {"batches": 0, "to_devices": 0, "files": 0, "ledgers": 0}
  on_mesh, create, atomic = collate.on_mesh, files.create, files.atomic

  def counted_batch(*arguments: Any) -> Any:
    batch = on_mesh(*arguments)
    counts["batches"] += 1
    counts["to_devices"] += sum(a.nbytes for a in jax.tree.leaves(batch))
    return batch

  def counted_create(path: Any) -> Any:
    counts["files"] += 1
    return create(path)

  def counted_atomic(path: Any) -> Any:
    counts["ledgers"] += str(path).endswith("checksums.json")
    return atomic(path)

  collate.on_mesh, files.create = counted_batch, counted_create
  files.atomic = counted_atomic
  config = _config(source, shard_rows)
  before = _io()
  pipeline.run(config, workdir, stages=[stage])
  folder = pathlib.Path(workdir, stage)
  record = json.loads((folder / "stage.json").read_text())
  done = {name: count - before[name] for name, count in _io().items()}
  made = [path for path in folder.rglob("*") if path.is_file()]
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  counts |= {
    "stage": stage,
    "kept_files": len(made),
    "kept_bytes": sum(path.stat().st_size for path in made),
    "read": done["rchar"],
    "written": done["wchar"],
    "peak": peak,
    **{name: record.get(name) for name in ("seconds", "tokens", "cells")},
    "flops": record.get("flops"),
  }
  print("COUNTS " + json.dumps(counts))


def _io() -> dict[str, int]:
  """Bytes that this process has read and written by system calls so far."""
  lines = pathlib.Path("/proc/self/io").read_text().splitlines()
  return {
    name: int(count) for name, count in (line.split(": ") for line in lines)
  }


def _needs(workdir: str, source: str, shard_rows: int) -> dict[str, float]:
  """Bytes that each stage is foretold to keep."""
  from etils import epath

  from ila_jax.dry_run import plans
  from ila_jax.forecast import pool_sample, sizes
  from ila_jax.training import base

  config = _config(source, shard_rows)
  sample = pool_sample.draw(config, epath.Path(workdir))
  known = sizes.Sizes(
    config,
    base.sizes(config),
    examples=sample.examples,
    stored=sample.stored,
    record=sample.record,
    response=float(sample.response.mean()),
  )
  return {
    name: plan.need(known).kept
    for name, plan in plans.in_order(config, _STAGES).items()
  }


def simulate(rows: int, shard_rows: int) -> list[dict[str, Any]]:
  """What each stage did on a pool of so many records."""
  with tempfile.TemporaryDirectory() as folder:
    source = pathlib.Path(folder, "pool.jsonl")
    write_pool(source, rows)
    found = []
    for stage in _STAGES:
      words = (stage, str(source), f"{folder}/run", str(shard_rows))
      done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.simulate", "--one", *words],
        cwd=_CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
      )
      line = next(x for x in done.stdout.splitlines() if x.startswith("COUNTS"))
      found.append({"rows": rows, **json.loads(line.removeprefix("COUNTS "))})
      print(json.dumps(found[-1]), flush=True)
    needs = _needs(f"{folder}/run", str(source), shard_rows)
  return [one | {"foretold": needs[one["stage"]]} for one in found]


def forecast(
  rows: int, pool: str, model: str, encoder: str, topology: str
) -> None:
  """Prints a dry run on a pool of `rows` records like those of `pool`."""
  from ila_jax import config_parsing, presets
  from ila_jax.dry_run import dry_run
  from ila_jax.forecast import pool_sample

  config = presets.load("qwen2_7b")
  config.pool.source, config.pool.fields.labels = pool, ""
  config.model.path, config.encoder.path = model, encoder
  config.select.unit, config.select.budget = "fraction", 0.01
  draw = pool_sample.draw

  def many(*arguments: Any) -> pool_sample.Sample:
    sample = draw(*arguments)
    times = rows / sample.examples
    seconds = sample.seconds and sample.seconds * times
    return dataclasses.replace(sample, examples=rows, seconds=seconds)

  pool_sample.draw = many
  with tempfile.TemporaryDirectory() as folder:
    dry_run.run(
      config_parsing.parse(config),
      folder,
      stages=_STAGES,
      topology=topology,
      by_shapes=True,
    )


def _table(whole: list[dict[str, Any]], half: list[dict[str, Any]]) -> None:
  names = "files", "kept, MB", "foretold, MB", "written, MB", "read, MB"
  names += "batches", "to devices, MB", "tokens, M", "GFLOP", "peak, MB"
  names += ("bytes a record held",) if half else ()
  print(f"\n| stage | {' | '.join(names)} |\n|{'---|' * (1 + len(names))}")
  for place, one in enumerate(whole):
    cells = [
      f"{one['kept_files']:,}",
      *(f"{one[x] / 1e6:,.1f}" for x in ("kept_bytes", "foretold")),
      *(f"{one[x] / 1e6:,.1f}" for x in ("written", "read")),
      f"{one['batches']:,}",
      f"{one['to_devices'] / 1e6:,.1f}",
      f"{(one['tokens'] or 0) / 1e6:,.1f}",
      f"{(one['flops'] or 0) / 1e9:,.1f}",
      f"{one['peak'] / 1e6:,.0f}",
    ]
    if half:
      rows = one["rows"] - half[place]["rows"]
      cells.append(f"{(one['peak'] - half[place]['peak']) / rows:,.0f}")
    print(f"| {one['stage']} | {' | '.join(cells)} |")


def main() -> None:
  flags = argparse.ArgumentParser(prog="python -m tests.benchmarks.simulate")
  flags.add_argument("--rows", type=int, help="default: 100,000")
  flags.add_argument("--shard-rows", type=int, default=66)
  flags.add_argument("--of", type=int, help="a fraction, 1 / OF, is run too")
  flags.add_argument("--paper", metavar="POOL")
  flags.add_argument("--model", help="a folder with config.json, tokenizer")
  flags.add_argument("--encoder", help="likewise")
  flags.add_argument("--topology", default="v5p:4x4x8")
  flags.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
  options = flags.parse_args()
  if options.one:
    stage, source, workdir, shard_rows = options.one
    run(workdir, source, stage, int(shard_rows))
    return
  os.environ["JAX_PLATFORMS"] = "cpu"
  if options.paper:
    where = options.model, options.encoder, options.topology
    forecast(options.rows or 10**8, options.paper, *where)
    return
  rows = options.rows or 100_000
  whole = simulate(rows, options.shard_rows)
  half = []
  if options.of:
    part = rows // options.of
    half = simulate(part, options.shard_rows // options.of)
  _table(whole, half)


if __name__ == "__main__":
  main()
