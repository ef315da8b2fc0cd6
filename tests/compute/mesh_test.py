"""One mesh; what goes in comes out; two processes see the same."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from ila_jax import errors
from ila_jax.compute import mesh

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

# Two hosts of four devices each: what `pipeline` asks of them.
_HOST = """
import sys
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
address, host = sys.argv[1], int(sys.argv[2])
jax.distributed.initialize(address, num_processes=2, process_id=host)
from ila_jax.compute import mesh
devices = mesh.make(fsdp=2)
rows = mesh.put(np.arange(16, dtype=np.float32), devices)
assert not rows.is_fully_addressable
total = jax.jit(lambda x: (x * x).sum())(rows)
mesh.barrier("done")
same = mesh.fetch(rows).tolist() == list(range(16))
said = mesh.share([host + 7, 0]), mesh.first_host_says([host == 0, host == 1])
same = same and said == ([7, 0], [True, False])
same = same and mesh.tell("") == ["", ""]
same = same and mesh.tell("é" * host) == ["", "é"]
print(mesh.is_writer(), same, float(total))
"""


def test_session_has_eight_devices():
  assert jax.device_count() == 8


def test_axes_take_all_devices():
  assert mesh.make().shape == {"data": 8, "fsdp": 1, "tensor": 1}
  assert mesh.make(fsdp=2, tensor=2).shape == {
    "data": 2,
    "fsdp": 2,
    "tensor": 2,
  }
  assert mesh.batch_multiple(mesh.make(fsdp=2, tensor=2)) == 4


def test_axes_that_do_not_multiply_are_refused():
  with pytest.raises(
    errors.InputError, match=r"data=3 × fsdp=1 .* there are 8"
  ):
    mesh.make(data=3)


def test_put_and_fetch_are_inverse():
  tree = {"a": np.arange(16.0).reshape(8, 2), "b": np.arange(8)}
  back = mesh.fetch(mesh.put(tree, mesh.make()))
  for name, array in tree.items():
    np.testing.assert_array_equal(back[name], array)


def test_put_rows_fills_up_with_the_last():
  found = mesh.fetch(mesh.put_rows(np.arange(9), mesh.make()))
  assert found.tolist() == [*range(9), *[8] * 7]


def test_two_hosts():
  with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"
  environment = os.environ | {"JAX_PLATFORMS": "cpu"}
  hosts = [
    subprocess.Popen(
      [sys.executable, "-c", _HOST, address, str(host)],
      cwd=CHECKOUT,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for host in range(2)
  ]
  answers = [host.communicate(timeout=120) for host in hosts]
  assert [host.returncode for host in hosts] == [0, 0], answers
  said = [stdout.splitlines()[-1] for stdout, _ in answers]
  assert said == ["True True 1240.0", "False True 1240.0"]
