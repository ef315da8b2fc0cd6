"""All that only an accelerator can show, in one call of under nine minutes.

    bash launch/device_check.sh [--tiny] [--out FOLDER] [PART ...]

The parts run one after the other, the most valuable first, each in a process
and with a limit of its own. They share the time of the whole, which is less
than their limits together: what a part does not need is left to those after it,
and the last ones are cut, or not begun where none is left. What was not begun
is named at the end; ask for it by name in another call. The JSON line that a
part ends with goes to FOLDER/results.jsonl, all that it printed to
FOLDER/PART.log. `--tiny` tries every part on a CPU, and measures nothing.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

from tests.benchmarks import device

_TOTAL_SECONDS = 520
_TINY_SECONDS = 900  # Of a part: a loaded CPU is slow to compile.
_LEAST_SECONDS = 20  # With less no part is begun.
_TESTS = "tests/end_to_end/mesh_shapes_test.py"


class Part(NamedTuple):
  """A benchmark with its flags, and the seconds that it may take."""

  name: str
  seconds: int
  module: str
  flags: tuple[str, ...] = ()


_SCORE, _TRAIN, _TSNE = "device_score", "device_train", "device_tsne"
_SMALL = ("--model", "qwen2_1_5b")
PARTS = (
  Part("score_7b", 60, _SCORE, ("--model", "qwen2_7b")),
  Part("train_1_5b", 60, _TRAIN, _SMALL),
  Part("tsne_100k", 60, _TSNE, ("--points", "100000")),
  Part("argmax", 30, "device_argmax"),
  Part("agree", 150, "device_agree"),
  Part("tsne_1m", 120, _TSNE, ("--points", "1000000")),
  Part("score_1_5b", 40, _SCORE, _SMALL),
  Part("score_blocked", 40, _SCORE, (*_SMALL, "--attention", "blocked")),
  Part("score_plain", 40, _SCORE, (*_SMALL, "--attention", "plain")),
  Part("embed", 40, "device_embed"),
  Part("score_adapters", 60, _SCORE, (*_SMALL, "--adapters", "4")),
  Part("train_lora", 60, _TRAIN, ("--model", "qwen2_7b", "--lora-rank", "16")),
  Part("runs", 240, "device_runs"),
  Part("signals", 220, "device_runs", ("--signals",)),
  Part("sharded", 90, "pytest", ("-q", "-x", _TESTS)),
)


def run(
  part: Part, *, seconds: float, tiny: bool, log: pathlib.Path
) -> dict[str, Any]:
  """Runs a part in a process of its own; ends it when its time is over.

  Args:
    part: which.
    seconds: that it may take.
    tiny: on a CPU, as a trial.
    log: gets all that it prints.

  Returns:
    Its JSON line with its name, or what became of it.
  """
  is_test = part.module == "pytest"
  module = part.module if is_test else f"tests.benchmarks.{part.module}"
  command = [sys.executable, "-m", module, *part.flags]
  environment = dict(os.environ)
  if is_test:
    # Eight devices: eight parts of the CPU.
    environment["JAX_PLATFORMS"] = "cpu"
    command += ["-k", "llama"] if tiny else []
  elif tiny:
    command.append("--tiny")
  begin = time.perf_counter()
  with log.open("wb") as file:
    process = subprocess.Popen(
      command,
      stdin=subprocess.DEVNULL,
      stdout=file,
      stderr=subprocess.STDOUT,
      env=environment,
      start_new_session=True,
    )
    try:
      status: int | str = process.wait(seconds)
    except subprocess.TimeoutExpired:
      # The whole group: a part may have processes of its own.
      os.killpg(process.pid, signal.SIGKILL)
      process.wait()
      status = f"out of time after {seconds:.0f} s"
  lines = log.read_text(errors="replace").splitlines()
  # After it there may be what was wrong.
  told = [line for line in lines if line.startswith('{"benchmark"')]
  found = json.loads(told[-1]) if told else {}
  wall = round(time.perf_counter() - begin, 1)
  return {"part": part.name, "exit": status, "wall_seconds": wall, **found}


def main() -> int:
  """Runs the parts, prints what they print; 1 unless all are well."""
  flags = device.flags(__doc__)
  flags.add_argument("--out", default="runs/device_check", help="folder")
  flags.add_argument("parts", nargs="*", metavar="PART", help="default: all")
  options = flags.parse_args()
  names = [part.name for part in PARTS]
  for name in options.parts:
    if name not in names:
      flags.error(f"there is no part {name!r}; allowed: {', '.join(names)}")
  out = pathlib.Path(options.out)
  out.mkdir(parents=True, exist_ok=True)
  wanted = [p for p in PARTS if not options.parts or p.name in options.parts]
  end = time.perf_counter() + _TOTAL_SECONDS
  failed, not_begun = [], []
  with (out / "results.jsonl").open("w") as results:
    for part in wanted:
      left = _TINY_SECONDS if options.tiny else end - time.perf_counter()
      if left < _LEAST_SECONDS:
        print(f"== {part.name}: not begun, no time is left")
        not_begun.append(part.name)
        continue
      seconds = left if options.tiny else min(part.seconds, left)
      print(f"== {part.name}: at most {seconds:.0f} s", flush=True)
      log = out / f"{part.name}.log"
      found = run(part, seconds=seconds, tiny=options.tiny, log=log)
      print("\n".join(log.read_text(errors="replace").splitlines()[-25:]))
      print(f"== {part.name}: exit {found['exit']}, {found['wall_seconds']} s")
      results.write(json.dumps(found) + "\n")
      results.flush()
      if found["exit"] != 0:
        failed.append(part.name)
  print(f"Results: {out / 'results.jsonl'}; failed: {failed or 'none'}")
  if not_begun:
    names = " ".join(not_begun)
    print(f"Not begun: bash launch/device_check.sh {names}")
  return 1 if failed or not_begun else 0


if __name__ == "__main__":
  sys.exit(main())
