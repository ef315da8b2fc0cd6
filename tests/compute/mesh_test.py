"""One mesh; what goes in comes out; two processes see the same."""

import json

import jax
import numpy as np
import pytest

from ila_jax import errors
from ila_jax.compute import mesh
from tests.support import hosts

# Two hosts of four devices each: what `pipeline` asks of them.
_HOST = """
import json, sys
from tests.support import hosts
host = hosts.join(sys.argv[1:3], devices=4)
import jax, numpy as np
from ila_jax import errors
from ila_jax.compute import mesh
devices = mesh.make(fsdp=2)
rows = mesh.put(np.arange(16, dtype=np.float32), devices)
assert not rows.is_fully_addressable
total = jax.jit(lambda x: (x * x).sum())(rows)
mesh.barrier("done")
assert mesh.fetch(rows).tolist() == list(range(16))
assert mesh.share([host + 7, 0]) == [7, 0]
assert mesh.first_host_says([host == 0, host == 1]) == [True, False]
assert mesh.tell("") == ["", ""]
assert mesh.tell("é" * host) == ["", "é"]

def own(devices, count=16):
  asked = []

  def make(rows):
    asked.extend(rows.tolist())
    return np.stack([rows, rows * rows], axis=1)

  placed = mesh.put_own_rows(make, count, devices)
  expected = np.arange(count)[:, None] ** [1, 2]
  np.testing.assert_array_equal(mesh.fetch(placed), expected)
  return asked

# Devices of the two hosts in turn, as the network of a slice may have them.
order = np.arange(8).reshape(2, 4).T.reshape(8, 1, 1)
in_turn = jax.sharding.Mesh(np.array(jax.devices())[order], mesh.AXES)
asked = {
  "by host": own(devices),
  "in turn": own(in_turn),
  "both": own(mesh.make(data=1, tensor=8)),
}
# Seven rows are filled up to eight with the last.
assert mesh.fetch(mesh.put_rows(np.arange(7), devices)).tolist() == [
  0, 1, 2, 3, 4, 5, 6, 6
]
assert mesh.first_host_does(lambda: host == 0)
said = None
try:
  mesh.first_host_does(lambda: (_ for _ in ()).throw(errors.InputError("né")))
except errors.InputError as error:
  said = str(error)
print(json.dumps([mesh.is_writer(), float(total), asked, said]))
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
    errors.InputError, match=r"data=3 × fsdp=1 .* there are 8.*data at None"
  ):
    mesh.make(data=3)
  # It is None: to leave it so does not help.
  with pytest.raises(errors.InputError, match=r"whose product is 8\.$"):
    mesh.make(fsdp=64)


def test_put_and_fetch_are_inverse():
  tree = {"a": np.arange(16.0).reshape(8, 2), "b": np.arange(8)}
  back = mesh.fetch(mesh.put(tree, mesh.make()))
  for name, array in tree.items():
    np.testing.assert_array_equal(back[name], array)


def test_put_rows_fills_up_with_the_last():
  found = mesh.fetch(mesh.put_rows(np.arange(9), mesh.make()))
  assert found.tolist() == [*range(9), *[8] * 7]


@pytest.fixture(scope="module")
def two():
  """What two hosts say."""
  answers = hosts.run(_HOST, seconds=120)
  return [json.loads(stdout.splitlines()[-1]) for stdout, _ in answers]


def test_two_hosts_have_the_same_arrays_and_the_first_writes(two):
  assert [(writes, total) for writes, total, _, _ in two] == [
    (True, 1240.0),
    (False, 1240.0),
  ]


def test_a_host_makes_the_rows_of_its_devices_alone(two):
  (_, _, first, _), (_, _, other, _) = two
  assert first["by host"] == list(range(8))
  assert other["by host"] == list(range(8, 16))
  assert first["in turn"] == [0, 1, 4, 5, 8, 9, 12, 13]
  assert other["in turn"] == [2, 3, 6, 7, 10, 11, 14, 15]
  # One layer is on the devices of both: both need all rows.
  assert first["both"] == other["both"] == list(range(16))


def test_a_refusal_of_the_first_host_is_in_the_same_words_on_all(two):
  assert [said for *_, said in two] == ["né", "né"]
