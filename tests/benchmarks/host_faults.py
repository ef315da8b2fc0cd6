"""What becomes of two hosts when one of them fails: status and seconds.

A whole small run is begun for each case. When it comes to a file, one host has
a full disk, may not write, meets bad input, is killed (SIGKILL), or stands
still (SIGSTOP), as a machine that is cut off does. The first host writes all
files but checkpoints; to the others it happens when they read.

Run it with `python -m tests.benchmarks.host_faults`; the last line is JSON. It
takes twelve minutes, of which three are spent on waiting.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

_PROGRAM = """
import sys
from tests.support import hosts
host = hosts.join(sys.argv[1:3], devices=1)
from tests.benchmarks import host_faults
host_faults.work(host, *sys.argv[3:])
"""
# The fault, the host that it happens to, and where.
CASES = (
  ("disk", 0, "pool/records-00000.parquet"),
  ("input", 1, "pool/index.parquet"),
  ("kill", 1, "pool/index.parquet"),
  ("stop", 1, "pool/index.parquet"),
  ("permission", 0, "embed/inputs-00000.parquet"),
  ("stop", 0, "embed/inputs-00000.parquet"),
  ("limit", 0, "model/checkpoints-base"),
  ("limit", 1, "model/checkpoints-base"),
  ("input", 0, "score/base-00001.parquet"),
  ("kill", 0, "score/base-00001.parquet"),
  ("disk", 0, "landscape/cells.parquet"),
  ("disk", 0, "select/ranking.parquet"),
  ("kill", 1, "landscape/cells.parquet"),
)
_STAGES = ("pool", "embed", "score", "landscape", "select")


def work(host: int, source: str, workdir: str, what: str) -> None:
  """What a host does: a run by the command line, with one fault."""
  import os
  import signal

  from absl import flags

  from ila_jax import errors, main, pipeline
  from ila_jax.run.disk import files
  from ila_jax.training import checkpoint
  from tests.support import tiny

  fault, fails, where = json.loads(what)

  def fail(path: object) -> None:
    if fails != host or not str(path).endswith(where):
      return
    print("at the fault", file=sys.stderr, flush=True)
    if fault in ("disk", "permission"):
      number = {"disk": 28, "permission": 13}[fault]
      raise OSError(number, os.strerror(number), str(path))
    if fault == "input":
      raise errors.InputError("made up")
    if fault == "limit":
      import resource

      resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    else:
      number = signal.SIGKILL if fault == "kill" else signal.SIGSTOP
      os.kill(os.getpid(), number)

  def failing(owner: object, name: str) -> None:
    real = getattr(owner, name)

    def function(first: object, *others: object) -> object:
      fail(getattr(first, "folder", first))
      return real(first, *others)

    setattr(owner, name, function)

  failing(files, "reading" if host else "atomic")
  failing(checkpoint.Checkpoints, "save")
  flags.FLAGS(["ila_jax"])
  config = tiny.config(source, landscape__iterations=60)
  main._parse_flags = lambda argv: argv
  main._run_stages = lambda: pipeline.run(config, workdir, stages=_STAGES)
  sys.argv = ["ila_jax", f"--workdir={workdir}"]
  sys.exit(main.main())


def _try(
  source: pathlib.Path, workdir: pathlib.Path, case: tuple[str, int, str]
) -> dict[str, object]:
  """Status and seconds after the fault of the host that is well."""
  from tests.support import forked, hosts

  fails, where = case[1], hosts.address()
  words = (source, workdir, json.dumps(case))
  logs = [workdir.with_suffix(f".{host}") for host in range(2)]
  started = []
  for host, log in enumerate(logs):
    with log.open("w") as file:
      started.append(
        forked.start(
          "-c", _PROGRAM, where, f"{host}/2", *words, stderr=file, stdout=file
        )
      )
  while "at the fault" not in logs[fails].read_text():
    assert started[fails].is_alive(), logs[fails].read_text()
    time.sleep(0.05)
  begin = time.monotonic()
  started[1 - fails].join(600)
  seconds = time.monotonic() - begin
  if case[0] != "stop":
    started[fails].join(60)
  for process in started:
    process.kill()
    process.join()
  said = [
    line
    for line in logs[1 - fails].read_text().splitlines()
    if line.startswith("ila_jax:")
  ]
  return {
    "case": case,
    "failed": started[fails].exitcode,
    "other": started[1 - fails].exitcode,
    "seconds": round(seconds, 1),
    "said": said,
  }


def main() -> None:
  """Tries all cases."""
  from tests.support import tiny

  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--tiny", action="store_true")
  cases = CASES[:1] if parser.parse_args().tiny else CASES
  found = []
  with tempfile.TemporaryDirectory() as folder:
    source = tiny.write(pathlib.Path(folder) / "pool.jsonl", tiny.records(240))
    for number, case in enumerate(cases):
      found.append(_try(source, pathlib.Path(folder) / f"{number}", case))
      print(found[-1], file=sys.stderr, flush=True)
  print(json.dumps({"benchmark": "host_faults", "ours": found}))


if __name__ == "__main__":
  main()
