"""Several hosts on one machine: processes that join, and keep programs."""

import os
import pathlib
import socket
import subprocess
import sys
from concurrent import futures
from typing import Any

import jax
from jax._src import compiler

_CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


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


def start(
  program: str, *arguments: Any, count: int = 2
) -> list[subprocess.Popen]:
  """Starts a program on each host, with pipes for all that it says.

  Args:
    program: in Python; it calls `join(sys.argv[1:3])` before it uses a device.
    arguments: of the program, from `sys.argv[3]` on.
    count: of hosts.
  """
  with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"
  words = list(map(str, arguments))
  return [
    subprocess.Popen(
      [sys.executable, "-c", program, address, f"{host}/{count}", *words],
      cwd=_CHECKOUT,
      env=os.environ | {"JAX_PLATFORMS": "cpu"},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for host in range(count)
  ]


def join(words: list[str], *, devices: int = 2) -> int:
  """Makes this process the host that `start` meant; returns its number."""
  address, place = words
  host, count = map(int, place.split("/"))
  jax.config.update("jax_num_cpu_devices", devices)
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  jax.distributed.initialize(address, num_processes=count, process_id=host)
  keep_programs()
  return host


def run(
  program: str, *arguments: Any, seconds: float, count: int = 2
) -> list[tuple[str, str]]:
  """Starts a program on each host, and returns stdout and stderr of each."""
  started = start(program, *arguments, count=count)
  # The pipe of one host may be full while another one is waited for.
  with futures.ThreadPoolExecutor(count) as pool:
    told = pool.map(lambda host: host.communicate(timeout=seconds), started)
    answers = list(told)
  assert [host.returncode for host in started] == [0] * count, answers
  return answers
