"""What ends one host ends all of them, soon and with one status."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from ila_jax import errors, pipeline
from tests.support import forked, hosts, tiny

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

# Two hosts that meet, after which one of them fails.
_HOST = """
import ctypes, os, pathlib, signal, sys, time
import jax
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
address, host, fails, how, *more = sys.argv[1:]
jax.distributed.initialize(address, num_processes=2, process_id=int(host))
from ila_jax import errors, main
from ila_jax.compute import mesh
from ila_jax.run import interrupts

def read_pool(source, workdir):
  # The first host reads, slowly, and the other one waits.
  from ila_jax import pipeline
  from ila_jax.pool import stage
  from tests.support import tiny
  real = stage.reading_lib.examples

  def examples(*arguments, **options):
    for number, example in enumerate(real(*arguments, **options)):
      if number == 9:
        print("listening", flush=True)
        if how == "deaf":  # A call that no signal ends: it waits for itself.
          mutex = ctypes.create_string_buffer(64)
          ctypes.CDLL(None).pthread_mutex_lock(mutex)
          ctypes.CDLL(None).pthread_mutex_lock(mutex)
        time.sleep(200)
      yield example

  stage.reading_lib.examples = examples
  if host != "0":
    print("listening", flush=True)
  pipeline.run(tiny.config(source), workdir, stages=["pool"])

def train(folder):
  # Each host keeps its part of a checkpoint; on one the disk is full.
  import resource
  from tests.support import hosts
  from tests.training import checkpoint_reading_test
  hosts.keep_programs()
  if host == fails:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
  checkpoint_reading_test.train(pathlib.Path(folder))

def redo(source, workdir):
  # One host alone is refused, when the old stage has been set aside.
  from ila_jax import pipeline
  from tests.support import tiny
  pipeline.run(tiny.config(source), workdir, stages=["pool"])

  def refuse(run, name):
    if host == fails:
      raise errors.InputError("config.x is 1; allowed: 2.")
    mesh.barrier("never reached by all")

  pipeline._run_stage = refuse
  pipeline.run(tiny.config(source), workdir, stages=["pool"], redo="pool")

def work():
  mesh.barrier("all are there")
  if how in ("reads", "deaf"):
    read_pool(*more)
  if how == "redo":
    redo(f"{more[0]}.jsonl", more[0])
  if how == "saves":
    train(*more)
  if how == "stops":
    print("listening", flush=True)
    for step in range(10_000):
      time.sleep(0.01)
      interrupts.point()
  if how == "once" and host == fails:
    died = pathlib.Path(more[0])
    if not died.exists():
      died.touch()
      os.kill(os.getpid(), signal.SIGKILL)
  if how == "once":
    time.sleep(1)
    mesh.barrier("done")
    return
  if host == fails:
    if how == "input":
      raise errors.InputError("config.x is 1; allowed: 2.")
    if how == "disk":
      raise OSError(28, "No space left on device")
    if how == "bug":
      raise ZeroDivisionError("a bug")
    os.kill(os.getpid(), signal.SIGKILL)
  mesh.barrier("never reached by all")

from absl import flags
flags.FLAGS(["ila_jax"])
main._parse_flags = lambda argv: None
main._run_stages = work
sys.argv = ["ila_jax", "--workdir=w"]
sys.exit(main.main())
"""


class _Host:
  """One of two processes, and what it says."""

  def __init__(self, *words: object):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    self.process = forked.start("-c", _HOST, *words, **pipes)

  def end(self) -> tuple[int, list[str]]:
    """Exit status, and our lines of stderr."""
    with self.process.stdout, self.process.stderr as stderr:
      error = stderr.read()
    self.process.join(200)
    lines = [line for line in error.splitlines() if line.startswith("ila_jax:")]
    return self.process.exitcode, lines


def _start(fails: int, how: str, *more: pathlib.Path) -> list[_Host]:
  address = hosts.address()
  return [_Host(address, host, fails, how, *more) for host in range(2)]


@pytest.mark.parametrize(
  ("fails", "how", "status", "said"),
  [
    (0, "input", 2, "config.x is 1"),
    (1, "input", 2, "config.x is 1"),
    (0, "disk", 2, "No space left on device"),
    (0, "bug", 1, "ZeroDivisionError: a bug"),
    # Orbax would let the hosts meet first, for which they wait twenty minutes.
    (0, "saves", 2, "cannot be written"),
    (1, "saves", 2, "cannot be written"),
    # Nor do they meet to put back what --redo has set aside.
    (1, "redo", 2, "config.x is 1"),
  ],
)
def test_a_host_that_fails_ends_the_other(tmp_path, fails, how, status, said):
  begin = time.monotonic()
  tiny.write(tmp_path / "work.jsonl", tiny.records(220))
  found = [host.end() for host in _start(fails, how, tmp_path / "work")]
  assert [code for code, _ in found] == [status, status], found
  (line,) = found[1 - fails][1]
  assert f"host {fails} has ended" in line
  assert said in line
  # Far less than the minutes that a barrier waits.
  assert time.monotonic() - begin < 100


# Hosts that are started each in its own way; what each is told of it.
_UNLIKE = """
import json, sys
from tests.support import hosts, tiny
host = hosts.join(sys.argv[1:3], devices=1)
from ila_jax import errors, pipeline
from ila_jax.run.disk import run_folder

run_folder._SEEN_SECONDS = 0.1
source, folder = sys.argv[3:]

def told(name, stages=("pool",), **changes):
  config = tiny.config(source, **changes)
  try:
    pipeline.run(config, f"{folder}/{name}", stages=stages)
  except errors.InputError as error:
    return str(error)

print(json.dumps([
  told("a", seed=host),
  told("b", ["pool", "embed"][: 1 + host]),
  told(f"own-{host}"),
]))
"""


def test_hosts_that_are_started_in_other_ways_are_refused(tmp_path):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(20))
  answers = hosts.run(_UNLIKE, source, tmp_path, seconds=200)
  first, other = (json.loads(out.splitlines()[-1]) for out, _ in answers)
  assert first[:2] == other[:2]
  config, stages, _ = first
  assert "config.seed is 0 on the first host, and 1 on host 1" in config
  assert "--stages is ['pool'] on the first host" in stages
  for host, (*_, folder) in enumerate((first, other)):
    assert f"--workdir is {tmp_path}/own-{host}, and what the first" in folder
    assert "a folder that all hosts share" in folder
  assert sorted(p.name for p in tmp_path.iterdir()) == ["own-0", "pool.jsonl"]


def test_the_other_hosts_hear_of_a_killed_one():
  first, other = (host.end() for host in _start(1, "kill"))
  assert other[0] == -signal.SIGKILL
  assert first[0] == errors.LOST, first
  assert "start all hosts again" in first[1][0]


@pytest.mark.parametrize("dies", [0, 1])
def test_supervised_hosts_meet_again(tmp_path, dies):
  address = hosts.address()
  both = [
    subprocess.Popen(
      [
        *("bash", "launch/supervise.sh", sys.executable, "-c", _HOST, address),
        *(str(host), str(dies), "once", tmp_path / "died"),
      ],
      cwd=CHECKOUT,
      env=os.environ | {"WAIT_SECONDS": "1"},
      stderr=subprocess.PIPE,
      text=True,
    )
    for host in range(2)
  ]
  found = [host.communicate(timeout=300)[1] for host in both]
  assert [host.returncode for host in both] == [0, 0], found
  told = [
    re.findall(r"supervise.sh: status (\d+), failure 1 of 8", error)
    for error in found
  ]
  # The other one hears of it, or JAX aborts it.
  assert told[dies] == ["137"]
  assert told[1 - dies] in (["75"], ["134"])


def test_a_signal_to_one_host_stops_all():
  both = _start(0, "stops")
  for host in both:
    assert any("listening" in line for line in host.process.stdout)
  both[1].process.send_signal(signal.SIGTERM)
  for code, lines in (host.end() for host in both):
    assert code == 128 + signal.SIGTERM
    assert len(lines) == 1
    assert "stopped by SIGTERM" in lines[0]
    assert "python -m ila_jax --workdir=w" in lines[0]


@pytest.mark.parametrize(
  ("how", "number", "to", "status"),
  [
    ("reads", signal.SIGTERM, (0, 1), 143),
    ("reads", signal.SIGTERM, (1,), 143),
    ("reads", signal.SIGINT, (0, 1), 130),
    # JAX tells the others of SIGTERM alone.
    ("reads", signal.SIGINT, (1,), 143),
    ("deaf", signal.SIGTERM, (1,), 143),
  ],
)
def test_a_signal_ends_the_reading_of_the_pool_on_all_hosts(
  tmp_path, how, number, to, status
):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(220))
  both = _start(0, how, source, tmp_path / "work")
  for host in both:
    assert any("listening" in line for line in host.process.stdout)
  time.sleep(1)  # The other one is by now at the barrier.
  begin = time.monotonic()
  for host in to:
    both[host].process.send_signal(number)
  for code, lines in (host.end() for host in both):
    assert code == status, lines
    assert len(lines) == 1
    name = signal.Signals(status - 128).name
    assert f"stopped by {name}; what was whole is kept" in lines[0]
    assert how == "deaf" or "python -m ila_jax --workdir=w" in lines[0]
  assert time.monotonic() - begin < 30
  # Nothing hinders the next run.
  pipeline.run(tiny.config(source), tmp_path / "work", stages=["pool"])
