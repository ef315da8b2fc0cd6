"""Runs that are killed at random moments, and started again.

    python -m tests.benchmarks.kills --each=10

Of each stage of a small run, so many kills (SIGKILL), each at a random moment
of the time that the stage takes, in a folder in which the stages before it are
done. The same command then goes on, and all that it leaves is compared with a
run that was never killed: equal to the byte, but for records of time. What a
checksum stood for at the kill must have the same time of writing at the end, or
a shard was made twice. `--signal=TERM` asks it to stop instead, and counts the
seconds until the process is gone, its status and the lines that it says.

Each run is a fork of one process, which imports only once. Goals: all are
equal, nothing is made twice; asked to stop, it is gone within 30 seconds.
"""

import argparse
import gc
import importlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback

from ila_jax.run import stages as stages_lib
from ila_jax.run import tables
from ila_jax.run.disk import checksums
from tests.support import tiny

_IMPORTED = (
  *("ila_jax.main", "ila_jax.pipeline", "ila_jax.dry_run"),
  *(f"ila_jax.{stages_lib.GRAPH[n].code}.stage" for n in stages_lib.NAMES),
  *("sklearn.feature_extraction.text", "sklearn.decomposition"),
  *("transformers.tokenization_utils_tokenizers", "matplotlib.figure"),
)
# What tells times, or is nobody's content.
_OTHER = ("stage.json", "manifest.json", "checksums.json", "log.txt")
_SHARDS = (tables.EMBEDDINGS, tables.LOSSES)
_LONGEST_SECONDS = 900


def _start(workdir: pathlib.Path, stage: str, source: pathlib.Path) -> int:
  """Begins a run of one stage in a fork; its words go to a file beside."""
  child = os.fork()
  if child:
    return child
  said = os.open(
    workdir.with_suffix(".said"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC
  )
  for descriptor in (1, 2):
    os.dup2(said, descriptor)
  from ila_jax import main

  flags = tiny.flags(
    source, landscape__iterations=500, scaling__subsets=3, scaling__held_out=0
  )
  sys.argv = ["ila_jax", f"--workdir={workdir}", f"--stages={stage}", *flags]
  status = 1
  try:
    status = main.main()
  except BaseException:
    traceback.print_exc()
  finally:
    sys.stderr.flush()
    os._exit(status)


def _wait(child: int) -> int:
  """The exit status; a run that hangs is an error."""
  end = time.monotonic() + _LONGEST_SECONDS
  while time.monotonic() < end:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
      return os.waitstatus_to_exitcode(status)
    time.sleep(0.01)
  os.kill(child, signal.SIGKILL)
  raise TimeoutError(f"a run took over {_LONGEST_SECONDS} s")


def _content(workdir: pathlib.Path) -> dict[str, bytes]:
  """All artifacts but what tells times; of the report its names."""
  found = {}
  for path in workdir.rglob("*"):
    name = path.relative_to(workdir).as_posix()
    if path.is_dir() or path.name in _OTHER or name.startswith("compiled/"):
      continue
    is_page = name.startswith(tables.PAGE.folder + "/")
    found[name] = b"" if is_page else path.read_bytes()
  return found


def _noted(workdir: pathlib.Path, stage: str) -> dict[pathlib.Path, int]:
  """Shards that were whole at the kill, and when each was written."""
  folder = workdir / stage
  ledger = checksums.read(folder) or {} if folder.exists() else {}
  return {
    folder / name: (folder / name).stat().st_mtime_ns
    for name in ledger
    if any(one.matches(f"{stage}/{name}") for one in _SHARDS)
    and checksums.is_whole(folder / name)
  }


def _trial(
  before: pathlib.Path,
  stage: str,
  wanted: dict[str, bytes],
  source: pathlib.Path,
  number: signal.Signals,
  seconds: float,
) -> dict:
  """Kills one run after some seconds of its stage, and goes on."""
  workdir = before.parent / "killed"
  shutil.rmtree(workdir, ignore_errors=True)
  shutil.copytree(before, workdir)
  log, begun = workdir.with_suffix(".said"), f"[{stage}]"
  log.unlink(missing_ok=True)  # Of the trial before.
  child = _start(workdir, stage, source)
  while begun not in (log.read_text() if log.exists() else ""):
    time.sleep(0.005)
  time.sleep(seconds)
  at = time.monotonic()
  os.kill(child, number)
  status = _wait(child)
  found = {"status": status, "gone": time.monotonic() - at}
  said = [s for s in log.read_text().splitlines() if s.startswith("ila_jax:")]
  found["traceback"] = "Traceback" in log.read_text()
  found["lines"] = len(said)
  noted = _noted(workdir, stage)
  found["again"] = _wait(_start(workdir, stage, source))
  content = _content(workdir)
  found["unlike"] = sorted(
    name
    for name in wanted.keys() | content.keys()
    if wanted.get(name) != content.get(name)
  )
  found["twice"] = sorted(
    path.name
    for path, written in noted.items()
    if path.stat().st_mtime_ns != written
  )
  found["kept"] = len(noted)
  return found


def main() -> None:
  """Kills, prints a table, and ends with 1 where something is unlike."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--each", type=int, default=10, help="kills of a stage")
  parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--stages", default=",".join(stages_lib.NAMES))
  flags = parser.parse_args()
  number = signal.Signals[f"SIG{flags.signal}"]
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  draw, begin = random.Random(flags.seed), time.monotonic()
  for module in _IMPORTED:
    importlib.import_module(module)
  gc.collect()
  gc.freeze()
  print(f"{'stage':10} kills  while it ran  kept  twice  unlike  failed   gone")
  total = dict.fromkeys(
    ("kills", "ran", "kept", "twice", "unlike", "failed"), 0
  )
  slowest = 0.0
  with tempfile.TemporaryDirectory() as folder:
    whole = pathlib.Path(folder) / "whole"
    whole.mkdir()
    source = tiny.write(pathlib.Path(folder) / "pool.jsonl", tiny.records(240))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{folder}/compiled")
    for stage in stages_lib.NAMES:
      before = pathlib.Path(folder) / "before"
      shutil.rmtree(before, ignore_errors=True)
      shutil.copytree(whole, before)
      # Once to compile, and once to see how long it takes.
      for _ in range(2):
        shutil.rmtree(whole)
        shutil.copytree(before, whole)
        if status := _wait(_start(whole, stage, source)):
          print(whole.with_suffix(".said").read_text(), file=sys.stderr)
          raise RuntimeError(f"stage {stage} ended with {status}")
      if stage not in flags.stages.split(","):
        continue
      record = json.loads((whole / stage / tables.RECORD.file()).read_text())
      wanted, row = _content(whole), dict.fromkeys(total, 0)
      row_gone = 0.0
      for _ in range(flags.each):
        seconds = draw.uniform(0, record["seconds"])
        found = _trial(before, stage, wanted, source, number, seconds)
        row["kills"] += 1
        row["ran"] += found["status"] != 0
        row["kept"] += found["kept"]
        row["twice"] += len(found["twice"])
        row["unlike"] += bool(found["unlike"])
        is_told = number == signal.SIGKILL or found["status"] == 0
        is_told = is_told or (
          found["status"] == 128 + number
          and found["lines"] == 1
          and not found["traceback"]
        )
        failed = found["again"] != 0 or not is_told
        row["failed"] += failed
        row_gone = max(row_gone, found["gone"])
        if failed or found["unlike"] or found["twice"]:
          print(f"  {stage} after {seconds:.2f} s: {found}", flush=True)
      for name, count in row.items():
        total[name] += count
      slowest = max(slowest, row_gone)
      print(
        f"{stage:10} {row['kills']:5}  {row['ran']:12}  {row['kept']:4}  "
        f"{row['twice']:5}  {row['unlike']:6}  {row['failed']:6}  "
        f"{row_gone:4.1f} s",
        flush=True,
      )
  wrong = total["twice"] + total["unlike"] + total["failed"]
  print(
    json.dumps(
      {
        "benchmark": "kills",
        "ours": time.monotonic() - begin,
        "rivals": {},
        "quality": total | {"slowest_exit_seconds": round(slowest, 2)},
        "work": f"{flags.each} SIG{flags.signal} a stage, seed {flags.seed}",
      }
    )
  )
  sys.exit(bool(wrong))


if __name__ == "__main__":
  main()
