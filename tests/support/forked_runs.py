"""Runs many command lines in forks of one process, which imports only once.

python -m tests.support.forked_runs < COMMANDS, a JSON object of lists of flags.
Prints a JSON object: exit status, stderr, seconds of the processor and peak
bytes. Tests call `run`, which does this.
"""

import gc
import importlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile

_CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
# No run that is refused takes so long, not even on a busy machine.
_SECONDS = 60
_BYTES = 12 << 30
# What a run imports, here or there, before it looks at anything.
_IMPORTED = (
  *("ila_jax.main", "ila_jax.pipeline", "ila_jax.dry_run"),
  *("ila_jax.pool.stage", "ila_jax.embed.stage"),
  *("transformers.tokenization_utils_tokenizers", "tensorflow_datasets"),
  *("transformers.models.auto.tokenization_auto", "fsspec.implementations"),
)


def run(commands: dict[str, list[str]]) -> dict[str, dict]:
  """What became of each command line, by its name."""
  done = subprocess.run(
    [sys.executable, "-m", "tests.support.forked_runs"],
    input=json.dumps(commands),
    stdout=subprocess.PIPE,
    text=True,
    check=True,
    cwd=_CHECKOUT,
  )
  return json.loads(done.stdout.splitlines()[-1])


def _child(flags: list[str], stderr: int) -> None:
  os.dup2(stderr, 2)
  os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
  resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
  resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
  signal.alarm(4 * _SECONDS)
  from ila_jax import main

  sys.argv = ["ila_jax", *flags]
  status = 1
  try:
    status = main.main()
  except BaseException:
    sys.excepthook(*sys.exc_info())
  finally:
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
  """Runs what stdin lists."""
  for module in _IMPORTED:
    importlib.import_module(module)
  # A collection in a fork would copy all that was imported.
  gc.collect()
  gc.freeze()
  found = {}
  for name, flags in json.load(sys.stdin).items():
    with tempfile.TemporaryFile() as stderr:
      child = os.fork()
      if not child:
        _child(flags, stderr.fileno())
      _, status, usage = os.wait4(child, 0)
      stderr.seek(0)
      found[name] = {
        "status": os.waitstatus_to_exitcode(status),
        "stderr": stderr.read().decode(errors="replace"),
        "seconds": usage.ru_utime + usage.ru_stime,
        "bytes": usage.ru_maxrss * 1024,
      }
  print(json.dumps(found))


if __name__ == "__main__":
  main()
