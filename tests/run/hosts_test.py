"""What ends one host ends all of them, soon and with one status."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from ila_jax import errors

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

# Two hosts that meet, after which one of them fails.
_HOST = """
import os, signal, sys, time
import jax
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
address, host, fails, how = sys.argv[1:]
jax.distributed.initialize(address, num_processes=2, process_id=int(host))
from ila_jax import errors, main
from ila_jax.compute import mesh
from ila_jax.run import interrupts

def work():
  mesh.barrier("all are there")
  if how == "stops":
    print("listening", flush=True)
    for step in range(10_000):
      time.sleep(0.01)
      interrupts.point()
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

  def __init__(self, address: str, host: int, fails: int, how: str):
    self.process = subprocess.Popen(
      [sys.executable, "-c", _HOST, address, str(host), str(fails), how],
      cwd=CHECKOUT,
      env=os.environ | {"JAX_PLATFORMS": "cpu"},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  def end(self) -> tuple[int, list[str]]:
    """Exit status, and our lines of stderr."""
    error = self.process.communicate(timeout=200)[1]
    lines = [line for line in error.splitlines() if line.startswith("ila_jax:")]
    return self.process.returncode, lines


def _start(fails: int, how: str) -> list[_Host]:
  with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"
  return [_Host(address, host, fails, how) for host in range(2)]


@pytest.mark.parametrize(
  ("fails", "how", "status", "said"),
  [
    (0, "input", 2, "config.x is 1"),
    (1, "input", 2, "config.x is 1"),
    (0, "disk", 2, "No space left on device"),
    (0, "bug", 1, "ZeroDivisionError: a bug"),
  ],
)
def test_a_host_that_fails_ends_the_other(fails, how, status, said):
  begin = time.monotonic()
  found = [host.end() for host in _start(fails, how)]
  assert [code for code, _ in found] == [status, status], found
  (line,) = found[1 - fails][1]
  assert f"host {fails} has ended" in line
  assert said in line
  # Far less than the minutes that a barrier waits.
  assert time.monotonic() - begin < 100


def test_the_other_hosts_hear_of_a_killed_one():
  first, other = (host.end() for host in _start(1, "kill"))
  assert other[0] == -signal.SIGKILL
  assert first[0] == errors.LOST, first
  assert "start all hosts again" in first[1][0]


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
