"""Runs many command lines, within limits, and tells what became of each."""

import json
import pathlib
import tempfile

from tests.support import forked

# No run that is refused takes so long, not even on a busy machine.
_PROGRAM = """
import json, resource, signal, sys
seconds, path = 60, sys.argv.pop()
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
signal.alarm(4 * seconds)
from ila_jax import main
try:
  sys.exit(main.main())
finally:
  usage = resource.getrusage(resource.RUSAGE_SELF)
  told = {
    "seconds": usage.ru_utime + usage.ru_stime,
    "bytes": usage.ru_maxrss * 1024,
  }
  with open(path, "w") as file:
    json.dump(told, file)
"""


def run(commands: dict[str, list[str]]) -> dict[str, dict]:
  """What became of each command line of ila_jax, by its name.

  Returns:
    Exit status, stderr, and, of those that were not killed, seconds of the
    processor and peak bytes.
  """
  found = {}
  with tempfile.TemporaryDirectory() as folder:
    for number, (name, flags) in enumerate(commands.items()):
      path = pathlib.Path(folder) / str(number)
      done = forked.run("-c", _PROGRAM, *flags, path)
      usage = json.loads(path.read_text()) if path.exists() else {}
      told = {"status": done.returncode, "stderr": done.stderr}
      found[name] = told | usage
  return found
