"""How much a selection varies by processor and by the versions of libraries.

    python -m tests.benchmarks.repeat [--python OTHER/bin/python ...]

The quickstart's pool, config and seeds, from the pool to the selection: as
here, with the instructions of an older processor (XLA without AVX-512, and
without AVX2), and by other interpreters, which may have another JAX. The
docstrings of the pool and of the base are read here and once, for another
interpreter has other packages. For each run the share of the selection of the
first that it selects too, its response tokens, and the KL of its map. Ours is
the seconds of the first run. `--no-older` leaves the older processors out.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import pyarrow as pa
import pyarrow.parquet as pq

from ila_jax.configs import quickstart
from ila_jax.pool import examples as examples_lib

_STAGES = "pool,embed,score,landscape,select"
_OLDER = ("AVX2", "SSE4_2")


def select(
  python: str, workdir: pathlib.Path, flags: list[str], xla: str
) -> dict:
  """Runs to the selection in a process of its own, and reads what it chose."""
  command = [python, "-m", "ila_jax", "--config", "configs/quickstart.py"]
  command += ["--workdir", str(workdir), "--stages", _STAGES, *flags]
  begin = time.perf_counter()
  environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla}
  subprocess.run(command, check=True, env=environment)
  seconds = time.perf_counter() - begin
  record = json.loads((workdir / "select/stage.json").read_text())
  made = json.loads((workdir / "landscape/map.json").read_text())
  path = workdir / "select/ranking.parquet"
  ranking = pq.read_table(path, columns=["id", "row"])
  chosen = ranking.slice(0, record["selected"]).to_pydict()
  index = pq.read_table(workdir / "pool/index.parquet")
  tokens = index["n_response_tokens"].take(pa.array(chosen["row"]))
  manifest = json.loads((workdir / "manifest.json").read_text())
  return {
    "seconds": seconds,
    "jax": manifest["versions"]["jax"],
    "chosen": chosen["id"],
    "tokens": sum(tokens.to_pylist()),
    "kl": made["notes"].get("kl"),
  }


def read(folder: pathlib.Path, given: list[str]) -> list[str]:
  """Writes docstrings as records; flags that name them, if none was given."""
  config = quickstart.get_config()
  sources = {
    "pool.source": config.pool.source,
    "model.scratch.source": config.model.scratch.source,
  }
  flags = []
  for field, source in sources.items():
    if any(flag.startswith(f"--config.{field}=") for flag in given):
      continue
    if field == "pool.source":
      flags.append("--config.pool.fields.labels=labels")
      flags.append("--config.pool.fields.domain=domain")
    path = folder / f"{field}.jsonl"
    examples = examples_lib.read((source,), rejects=lambda reject: None)
    with path.open("w", encoding="utf-8") as file:
      file.writelines(f"{example.record_json}\n" for example in examples)
    flags.append(f"--config.{field}={path}")
  return flags


def main() -> None:
  """Runs all, and prints a table and a JSON line."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--python", action="append", default=[])
  parser.add_argument("--no-older", action="store_true")
  parser.add_argument("--tiny", action="store_true", help="a trial")
  options, flags = parser.parse_known_args()
  if options.tiny:
    flags += ["--config.pool.limit=1000", "--config.landscape.iterations=50"]
  runs = {"here": (sys.executable, "")}
  runs |= {
    name: (sys.executable, f"--xla_cpu_max_isa={name}")
    for name in (() if options.no_older else _OLDER)
  }
  runs |= {python: (python, "") for python in options.python}
  found = {}
  with tempfile.TemporaryDirectory() as folder:
    flags += read(pathlib.Path(folder), flags)
    for number, (name, (python, xla)) in enumerate(runs.items()):
      workdir = pathlib.Path(folder) / str(number)
      found[name] = select(python, workdir, flags, xla)
  first = set(found["here"]["chosen"])
  print(f"{'':24}{'JAX':>8}{'as here':>9}{'tokens':>9}{'KL':>8}")
  for name, run in found.items():
    run["as_here"] = len(first & set(run.pop("chosen"))) / len(first)
    print(
      f"{name[-23:]:24}{run['jax']:>8}{run['as_here']:9.1%}"
      f"{run['tokens']:9,}{run['kl']:8.4f}"
    )
  line = {"benchmark": "repeat", "ours": found["here"]["seconds"]}
  work = {"flags": flags, "chosen": len(first)}
  print(json.dumps(line | {"rivals": {}, "quality": found, "work": work}))


if __name__ == "__main__":
  main()
