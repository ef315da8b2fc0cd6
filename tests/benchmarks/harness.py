"""Contenders in processes of their own, in turn; medians, a table, JSON."""

import argparse
import contextlib
import dataclasses
import functools
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import pathlib
import re
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

MATRIX = "matrix rate"
_MATRIX_SIZE = 2048
_THREADS = (
  "OMP_NUM_THREADS",
  "OPENBLAS_NUM_THREADS",
  "MKL_NUM_THREADS",
  "RAYON_NUM_THREADS",
)
_ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "TOKENIZERS_PARALLELISM": "true",
  "HF_HUB_OFFLINE": "1",
  "TQDM_DISABLE": "1",
}
_AFFINITY = hasattr(os, "sched_setaffinity")

# A task does the whole work once, in one of the modes of the benchmark, and
# returns what is to be known of it: arrays and numbers on the host.
Task = Callable[[str], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Contender:
  """One way to do the work.

  Attributes:
    name: as printed.
    make: makes the task, in a process of its own: imports, loads the model.
    arguments: of `make`.
    needs: packages without which it is left out.
  """

  name: str
  make: Callable[..., Task]
  arguments: dict[str, Any]
  needs: tuple[str, ...] = ()

  @property
  def is_ours(self) -> bool:
    return self.name.startswith("ours")


@dataclasses.dataclass
class Measured:
  """What one contender showed; all but the peak by mode.

  Attributes:
    first: seconds of the warm-up pass.
    seconds: of each later pass.
    found: what the last pass returned.
    peak_bytes: held at most beyond the loaded model; None where unknown.
  """

  first: dict[str, float]
  seconds: dict[str, list[float]]
  found: dict[str, dict[str, Any]]
  peak_bytes: int | None = None

  def median(self, mode: str) -> float:
    return statistics.median(self.seconds[mode])


def parser(name: str, *, rounds: int) -> argparse.ArgumentParser:
  """The flags that all benchmarks have."""
  flags = argparse.ArgumentParser(prog=f"python -m tests.benchmarks.{name}")
  cpus = len(os.sched_getaffinity(0)) if _AFFINITY else os.cpu_count()
  flags.add_argument("--tiny", action="store_true", help="a trial, in seconds")
  flags.add_argument("--rounds", type=int, default=rounds)
  flags.add_argument("--threads", type=int, default=cpus)
  flags.add_argument("--dtype", default="float32", help="of ours, or bfloat16")
  flags.add_argument("--seed", type=int, default=0)
  flags.add_argument(
    "--only", default="", help="a regular expression: contenders to run"
  )
  return flags


def parse(flags: argparse.ArgumentParser) -> argparse.Namespace:
  """The flags given, and the same CPUs and threads for all that starts here.

  Leaves with a line where ours has no fast product of the dtype asked for.
  """
  options = flags.parse_args()
  jax_version = importlib.metadata.version("jax")
  version = tuple(int(part) for part in jax_version.split(".")[:2])
  if options.dtype == "bfloat16" and version < (0, 12):
    raise SystemExit(
      f"skipped: JAX {jax_version} has no native bfloat16 product on CPU; "
      "bfloat16 is measured with JAX 0.12 or newer, on Python 3.12 or newer."
    )
  if _AFFINITY:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
  os.environ.update(dict.fromkeys(_THREADS, str(options.threads)))
  os.environ.update(_ENVIRONMENT)
  # Compilations are counted, so none may come from an earlier run.
  if not options.tiny:
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
  return options


def run(
  contenders: Sequence[Contender],
  options: argparse.Namespace,
  *,
  modes: Sequence[str] = ("",),
) -> tuple[dict[str, Measured], list[str]]:
  """Starts all that are installed, warms them up, and lets them take turns.

  Returns:
    What each showed, by name, and the lines that say who was left out.
  """
  chosen, skipped = _installed(contenders, options.only)
  size = 256 if options.tiny else _MATRIX_SIZE
  arguments = {"size": size, "dtype": options.dtype}
  chosen.insert(0, Contender(MATRIX, _matrix, arguments))
  workers: dict[str, _Worker] = {}
  try:
    # All load at the same time; nothing is timed until all are ready.
    for contender in chosen:
      worker = _Worker(contender, options.threads, fresh=not options.tiny)
      workers[contender.name] = worker
    for name in list(workers):
      if workers[name].refused:
        skipped.append(f"skipped {name}: {workers[name].refused}")
        workers.pop(name).close()
    for worker in workers.values():
      worker.turn(modes, warm=True)
    for turn in range(options.rounds):
      order = list(workers.values())
      # Nobody always follows the same neighbour's heat and noise.
      for worker in order[turn % len(order) :] + order[: turn % len(order)]:
        worker.turn(modes, warm=False)
  finally:
    for worker in workers.values():
      worker.close()
  for line in skipped:
    print(line)
  return {name: w.measured for name, w in workers.items()}, skipped


def _installed(
  contenders: Sequence[Contender], only: str
) -> tuple[list[Contender], list[str]]:
  chosen, skipped = [], []
  for contender in contenders:
    missing = [n for n in contender.needs if not importlib.util.find_spec(n)]
    if missing:
      skipped.append(
        f"skipped {contender.name}: {', '.join(missing)} not installed "
        "(tests/benchmarks/requirements.txt)"
      )
    elif contender.is_ours or re.search(only, contender.name):
      chosen.append(contender)
    else:
      skipped.append(f"skipped {contender.name}: not in --only={only}")
  return chosen, skipped


class _Worker:
  """One task in a fresh process, and what it has shown so far.

  In a trial they are threads, which saves importing JAX and torch for each.
  """

  def __init__(
    self, contender: Contender, threads: int, *, fresh: bool
  ) -> None:
    context = multiprocessing.get_context("spawn")
    self._pipe, theirs = context.Pipe()
    start = context.Process if fresh else threading.Thread
    self._process = start(
      target=_serve, args=(theirs, contender, threads), daemon=True
    )
    self._process.start()
    if fresh:
      theirs.close()
    self._name = contender.name
    self.measured = Measured({}, {}, {})
    if not fresh:
      # Threads would import the same modules at the same time.
      self.refused  # noqa: B018

  @functools.cached_property
  def refused(self) -> str:
    """Why it cannot take part, or nothing; waits until it is ready."""
    return self._receive()

  def turn(self, modes: Sequence[str], *, warm: bool) -> None:
    for mode in modes:
      self._pipe.send(mode)
      seconds, self.measured.found[mode], peak = self._receive()
      if warm:
        self.measured.first[mode] = seconds
      else:
        self.measured.seconds.setdefault(mode, []).append(seconds)
      self.measured.peak_bytes = peak

  def close(self) -> None:
    self._pipe.close()
    self._process.join(10)

  def _receive(self) -> Any:
    try:
      return self._pipe.recv()
    except EOFError:
      raise RuntimeError(f"{self._name} failed, see above") from None


def _serve(pipe: Connection, contender: Contender, threads: int) -> None:
  """The life of a worker: makes its task, then works when told to."""
  if "torch" in contender.needs:
    import torch

    torch.set_num_threads(threads)
  with pipe, contextlib.suppress(EOFError):
    try:
      task = contender.make(**contender.arguments)
    except ImportError as error:
      pipe.send(str(error).strip().splitlines()[0])
      return
    pipe.send("")
    base = _forget_peak()
    while True:
      mode = pipe.recv()
      start = time.perf_counter()
      found = task(mode)
      seconds = time.perf_counter() - start
      pipe.send((seconds, found, None if base is None else _peak() - base))


def _forget_peak() -> int | None:
  """Bytes held now; the peak counts from here. None where unknown."""
  try:
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return _peak()
  except OSError:
    return None


def _peak() -> int:
  status = pathlib.Path("/proc/self/status").read_text()
  return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def _matrix(size: int, dtype: str) -> Task:
  """The rate of a large matrix product, the better of NumPy's and JAX's."""
  import jax
  import jax.numpy as jnp

  x, y = np.random.default_rng(0).normal(size=(2, size, size)).astype("f4")
  ours = jnp.asarray(x, dtype), jnp.asarray(y, dtype)
  product = jax.jit(jnp.dot)

  def rate(multiply: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(10):
      start = time.perf_counter()
      multiply()
      seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[1:])

  rates: list[float] = []

  def task(mode: str) -> dict[str, Any]:
    del mode
    found = [rate(lambda: product(*ours).block_until_ready())]
    if dtype == "float32":
      found.append(rate(lambda: x @ y))
    rates.append(max(found))
    return {"rate": statistics.median(rates)}

  return task


def report(
  name: str,
  measured: dict[str, Measured],
  *,
  tables: dict[str, str],
  amount: int,
  unit: str,
  flops: int,
  quality: dict[str, Any],
  work: dict[str, Any],
) -> None:
  """Prints a table for each mode, and the JSON line; the first mode counts.

  Args:
    name: of the benchmark.
    measured: from `run`; one of them is "ours".
    tables: title of the table of each mode.
    amount: units of work in a pass, such as tokens.
    unit: their name.
    flops: necessary work of a pass.
    quality: what ours found, and how near it is to the rivals.
    work: what was done.
  """
  measured = dict(measured)
  rate = next(iter(measured.pop(MATRIX).found.values()))["rate"]
  wide = max(map(len, measured))
  for mode, title in tables.items():
    print(f"\n{title}; {amount:,} {unit}, {flops / 1e9:,.0f} GFLOP needed")
    print(
      f"{'':{wide}} {'seconds':>8} {'(least, most)':>17} {'x ours':>7} "
      f"{unit + '/s':>12} {'% limit':>8} {'peak MB':>8} {'1st pass':>9}"
    )
    ours = measured["ours"].median(mode)
    for who, shown in measured.items():
      each, seconds = shown.seconds[mode], shown.median(mode)
      spread = f"({min(each):.3f}, {max(each):.3f})"
      peak = shown.peak_bytes
      print(
        f"{who:{wide}} {seconds:8.3f} {spread:>17} {seconds / ours:7.2f} "
        f"{amount / seconds:12,.0f} {flops / seconds / rate:8.1%} "
        f"{'?' if peak is None else round(peak / 1e6):>8} "
        f"{shown.first[mode]:9.2f}"
      )
  print(f"\nmatrix rate {rate / 1e9:,.0f} GFLOP/s: the limit of this run")
  mode = next(iter(tables))
  medians = {who: shown.median(mode) for who, shown in measured.items()}
  peaks = {
    who: shown.peak_bytes and shown.peak_bytes / 1e6
    for who, shown in measured.items()
  }
  result = {
    "benchmark": name,
    "ours": medians.pop("ours"),
    "rivals": medians,
    "quality": {
      **quality,
      "matrix_gflops": rate / 1e9,
      "percent_of_limit": 100 * flops / measured["ours"].median(mode) / rate,
      "first_pass": measured["ours"].first[mode],
      "peak_mb": peaks,
    },
    "work": {**work, unit: amount, "flops": flops},
  }
  print(json.dumps(result))


class Compilations:
  """Counts the programs that JAX compiles from here on, and their seconds."""

  def __init__(self) -> None:
    import jax

    self.programs, self.seconds = 0, 0.0
    jax.monitoring.register_event_duration_secs_listener(self._count)

  def _count(self, event: str, seconds: float, **_: Any) -> None:
    if event.startswith("/jax/core/compile/"):
      self.seconds += seconds
      self.programs += event.endswith("backend_compile_duration")
