"""Peak memory and time of `landscape` and `select` on a pool of any size.

    python -m tests.benchmarks.pool_scale

Writes a synthetic scored pool of 100 million rows (ids, lengths, domains,
losses, embeddings of width 8, records of a few bytes: about 11 GB of disk), and
runs the two stages on it as a run does, each in a fresh process. The map is
PCA: a t-SNE map places its rows at the rate that `tests.benchmarks.placing`
prints. Near-duplicates are not searched for (landscape.duplicate_cosine=None),
since their cost is that of the embeddings' width. A hundredth of the pool is
selected; `--compare` adds rivals of select.compare.

Goal: less than 16 GB, 160 bytes a row, 15 minutes for both. Memory is the peak
of the resident set, maps of embedding files included; the bytes a row leave out
what a pool of a thousandth of the rows takes.
"""

import argparse
import importlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath

_CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_STAGES = ("landscape", "select")
_SHARD_ROWS = 65_536
_WIDTH = 8
_DOMAINS = ("", "code", "math", "writing")


def _shards(rows: int) -> Iterator[tuple[int, np.ndarray]]:
  for shard, start in enumerate(range(0, rows, _SHARD_ROWS)):
    yield shard, np.arange(start, min(start + _SHARD_ROWS, rows))


def _ids(row: np.ndarray) -> np.ndarray:
  """Distinct ids in no order: odd factors and shifts are bijections."""
  x = row.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  return x ^ (x >> np.uint64(31))


def _columns(shard: int, row: np.ndarray) -> dict[str, np.ndarray]:
  """What is known of the rows of a shard."""
  n, rng = len(row), np.random.default_rng([0, shard])
  topic = rng.integers(0, 1000, n)
  centers = np.random.default_rng(1).normal(size=(1000, _WIDTH))
  x = centers[topic] + 0.5 * rng.normal(size=(n, _WIDTH))
  base = rng.gamma(2.0, 50.0, n)
  return {
    "id": _ids(row),
    "n_tokens": rng.integers(1, 500, n, dtype=np.int32),
    "n_labels": rng.integers(1, 4, n, dtype=np.int32),
    # Half of the rows name no domain, and belong to blocks of the map.
    "domain": np.where(rng.random(n) < 0.5, 0, 1 + topic % 3).astype(np.int32),
    "nll_base": base.astype(np.float32),
    "nll_sft": (base * rng.normal(0.9, 0.1, n)).astype(np.float32),
    "x": (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32),
  }


def _index_part(row: np.ndarray, own: dict[str, np.ndarray]) -> pa.Table:
  from ila_jax.run import tables

  names = pa.DictionaryArray.from_arrays(own["domain"], list(_DOMAINS))
  columns = {
    "row": row,
    "id": own["id"],
    "prompt_id": own["id"],
    "source": pa.array(["synthetic"] * len(row)),
    "n_prompt_tokens": np.full(len(row), 20, np.int32),
    "n_response_tokens": own["n_tokens"],
    "n_labels": own["n_labels"],
    "domain": names.cast(pa.string()),
    "truncated": np.zeros(len(row), np.bool_),
    "split": pa.array(np.where(row % 997, "pool", "dev").tolist()),
  }
  return pa.table({name: columns[name] for name in tables.INDEX.columns})


def _scores_part(row: np.ndarray, own: dict[str, np.ndarray]) -> pa.Table:
  return pa.table(
    {
      "row": row,
      "id": own["id"],
      "nll_base": own["nll_base"],
      "nll_sft": own["nll_sft"],
      "nll_sft_std": pa.nulls(len(row), pa.float32()),
      "n_tokens": own["n_tokens"],
    }
  )


def make(workdir: epath.Path, rows: int) -> None:
  """Writes what `pool`, `embed` and `score` leave, without text or tokens."""
  from ila_jax.pool import shards
  from ila_jax.run import stage_record, tables
  from ila_jax.run.disk import files

  stages = {
    name: stage_record.Stage(workdir, name, {"rows": rows})
    for name in ("pool", "embed", "score")
  }
  for stage in stages.values():
    stage.begin(quiet=True)
  # Each table passes once; drawing a shard again is cheaper than holding it.
  for artifact, part in (
    (tables.INDEX, _index_part),
    (tables.SCORES, _scores_part),
  ):
    files.write_parts(
      artifact.path(workdir),
      (part(row, _columns(shard, row)) for shard, row in _shards(rows)),
    )
  for shard, row in _shards(rows):
    own = _columns(shard, row)
    files.write_array(tables.EMBEDDINGS.path(workdir, shard=shard), own["x"])
    empty = {name: [[]] * len(row) for name in shards.SCHEMA.names[3:]}
    record = [f'{{"n": {number}}}' for number in row.tolist()]
    columns = {"row": row, "id": own["id"], "record": record}
    table = pa.table(columns | empty, schema=shards.SCHEMA)
    shards.write_records(workdir, shard, table)
  reference = np.arange(1, rows, max(rows // 5000, 2))
  reference = reference[reference % 997 > 0]
  files.write_table(
    tables.REFERENCE.path(workdir),
    {
      "seed": np.zeros(len(reference), np.int64),
      "row": reference,
      "id": _ids(reference),
    },
  )
  for stage in stages.values():
    stage.finish()


def run(workdir: epath.Path, stage: str, rows: int, compare: str) -> None:
  """Runs one stage, and prints what it took."""
  import jax

  from ila_jax import config_parsing
  from ila_jax.compute import mesh as mesh_lib
  from ila_jax.configs import common
  from ila_jax.run import context, stages

  config = common.get_config()
  config.update_from_flattened_dict(
    {
      "pool.source": "synthetic",
      "model.path": "scratch",
      "encoder.path": "lsa",
      "landscape.projection": "pca",
      "landscape.duplicate_cosine": None,
      "select.budget": float(max(rows // 100, 1)),
      "select.compare": tuple(filter(None, compare.split(","))),
    }
  )
  mesh = mesh_lib.make()
  whole = context.Run(config_parsing.parse(config), workdir, mesh)
  begin = time.perf_counter()
  with jax.set_mesh(mesh):
    code = stages.GRAPH[stage].code
    importlib.import_module(f"ila_jax.{code}.stage").run(whole)
  print(
    json.dumps(
      {
        "seconds": time.perf_counter() - begin,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
      }
    )
  )


def _child(options: argparse.Namespace, workdir: str, work: str, rows: int):
  """One part of the work, in a process of its own."""
  command = [sys.executable, "-m", "tests.benchmarks.pool_scale"]
  command += [f"--work={work}", f"--workdir={workdir}", f"--rows={rows}"]
  command += [f"--compare={options.compare}"]
  done = subprocess.run(
    command,
    stdout=subprocess.PIPE,
    check=True,
    cwd=_CHECKOUT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
  )
  return done.stdout


def _measure(
  options: argparse.Namespace, rows: int
) -> dict[str, dict[str, Any]]:
  """Seconds and peak of each stage, on a pool of some rows."""
  with tempfile.TemporaryDirectory(dir=options.folder) as workdir:
    begin = time.perf_counter()
    _child(options, workdir, "make", rows)
    print(f"{rows:,} rows made in {time.perf_counter() - begin:.0f} s")
    return {
      stage: json.loads(_child(options, workdir, stage, rows).splitlines()[-1])
      for stage in _STAGES
    }


def main() -> None:
  """Makes the pool, runs the stages, prints seconds and memory."""
  flags = argparse.ArgumentParser(prog="python -m tests.benchmarks.pool_scale")
  flags.add_argument("--tiny", action="store_true", help="a trial, in seconds")
  flags.add_argument("--rows", type=int, default=100_000_000)
  flags.add_argument("--compare", default="", help="rivals, by commas")
  flags.add_argument("--folder", help="where the pool lies while it is used")
  flags.add_argument("--work", help="one part of the work, here")
  flags.add_argument("--workdir", help="of that part")
  options = flags.parse_args()
  if options.work == "make":
    make(epath.Path(options.workdir), options.rows)
    return
  if options.work:
    run(
      epath.Path(options.workdir), options.work, options.rows, options.compare
    )
    return
  if options.tiny:
    options.rows = 20_000
  found = _measure(options, options.rows)
  least = max(options.rows // 1000, 20_000)
  small = found if options.rows <= least else _measure(options, least)
  print(f"{'':12}{'seconds':>9}{'peak GB':>9}{'bytes a row':>13}")
  for stage, took in found.items():
    above = took["peak_bytes"] - small[stage]["peak_bytes"]
    took["bytes_a_row"] = above / options.rows
    print(
      f"{stage:12}{took['seconds']:9.0f}{took['peak_bytes'] / 1e9:9.2f}"
      f"{took['bytes_a_row']:13.1f}"
    )
  print(
    json.dumps(
      {
        "benchmark": "pool_scale",
        "ours": sum(took["seconds"] for took in found.values()),
        "rivals": {},
        "quality": found,
        "work": {"rows": options.rows, "compare": options.compare},
      }
    )
  )


if __name__ == "__main__":
  main()
