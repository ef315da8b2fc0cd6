"""Several hosts on one machine: processes that join, and keep programs."""

import socket
import subprocess
from concurrent import futures
from typing import Any

import jax
from jax._src import compiler

from tests.support import forked


class _First:
  """What JAX knows of the hosts, but that each is the first."""

  def __init__(self, state: Any):
    self.state = state
    self.process_id = 0

  def __getattr__(self, name: str) -> Any:
    return getattr(self.state, name)


class _Distributed:
  """Takes the place of JAX's module of that name, where programs are kept."""

  def __init__(self, module: Any):
    self.global_state = _First(module.global_state)


def keep_programs() -> None:
  """Lets each host of this process's run keep its own programs.

  JAX keeps those of the first, so that a store may have one who writes, and the
  others compile all their programs again. Here they have one disk.
  """
  compiler.distributed = _Distributed(compiler.distributed)


def join(words: list[str], *, devices: int = 2) -> int:
  """Makes this process the host that `run` meant; returns its number."""
  address, place = words
  host, count = map(int, place.split("/"))
  jax.config.update("jax_num_cpu_devices", devices)
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  jax.distributed.initialize(address, num_processes=count, process_id=host)
  keep_programs()
  return host


def address() -> str:
  """Where the hosts of a run may meet: a free port of this machine."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    return f"localhost:{free.getsockname()[1]}"


def run(
  program: str, *arguments: Any, seconds: float, count: int = 2
) -> list[tuple[str, str]]:
  """Runs a program on each host, and returns stdout and stderr of each.

  Args:
    program: in Python; it calls `join(sys.argv[1:3])` before it uses a device.
    arguments: of the program, from `sys.argv[3]` on.
    seconds: after which the hosts are killed.
    count: of hosts.
  """
  where = address()

  def one(host: int) -> subprocess.CompletedProcess:
    words = ("-c", program, where, f"{host}/{count}", *arguments)
    return forked.run(*words, seconds=seconds)

  with futures.ThreadPoolExecutor(count) as pool:
    done = list(pool.map(one, range(count)))
  answers = [(host.stdout, host.stderr) for host in done]
  assert [host.returncode for host in done] == [0] * count, answers
  return answers
