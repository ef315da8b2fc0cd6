"""Devices as one mesh, and the two doors between host and device arrays.

Axes: `data` (replicas of the model), `fsdp` (examples and weights are both
sharded) and `tensor` (a layer is sharded). A batch is split over `data` and
`fsdp`. Everything else in the package runs under `jax.jit` on arrays that
carry their sharding, so the same code runs on one CPU and on a pod.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int, PyTree

from ila_jax import errors

AXES = ("data", "fsdp", "tensor")
BATCH = PartitionSpec(("data", "fsdp"))
REPLICATED = PartitionSpec()


def make(
  data: int | None = None,
  fsdp: int = 1,
  tensor: int = 1,
  *,
  devices: Sequence[Any] | None = None,
) -> Mesh:
  """Arranges all devices of all hosts as a mesh (`data`, `fsdp`, `tensor`).

  Slices of TPUs, between which the network is slow, are along `data`, or along
  `fsdp` where they do not divide `data`.

  Args:
    data: devices along `data`; None takes all that the other axes leave.
    fsdp: devices along `fsdp`.
    tensor: devices along `tensor`.
    devices: to arrange; None: all that this run has.

  Raises:
    errors.InputError: the axes do not multiply to the number of devices, or
      slices divide neither `data` nor `fsdp`.

  >>> make().axis_names
  ('data', 'fsdp', 'tensor')
  """
  devices = jax.devices() if devices is None else devices
  count = len(devices)
  or_none = "" if data is None else ", or leave config.mesh.data at None"
  if data is None:
    data = max(count // (fsdp * tensor), 1)
  if data * fsdp * tensor != count:
    raise errors.InputError(
      f"config.mesh asks for data={data} × fsdp={fsdp} × tensor={tensor} = "
      f"{data * fsdp * tensor} devices, but there are {count}. Choose axes "
      f"whose product is {count}{or_none}."
    )
  slices = len({getattr(device, "slice_index", 0) for device in devices})
  if data % slices and fsdp % slices:
    raise errors.InputError(
      f"config.mesh has data={data} and fsdp={fsdp}, and the devices are "
      f"{slices} slices. Choose a config.mesh.data that {slices} divides: each "
      "slice is then a part of that axis."
    )
  # Axes may be parts of the sides of a slice: not every mesh has its shape.
  options = {"devices": devices, "allow_split_physical_axes": True}
  if slices == 1:
    grid = mesh_utils.create_device_mesh((data, fsdp, tensor), **options)
  else:
    outer = (slices, 1, 1) if data % slices == 0 else (1, slices, 1)
    inner = (data // outer[0], fsdp // outer[1], tensor)
    grid = mesh_utils.create_hybrid_device_mesh(inner, outer, **options)
  return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def platform() -> str:
  """The platform that programs are compiled for: "cpu", "gpu" or "tpu".

  It is that of the mesh that `jax.set_mesh` set, which need not be of this
  machine (`topologies`), and else JAX's default.

  >>> with jax.set_mesh(make()):
  ...   platform() == jax.default_backend()
  True
  """
  device = jax.sharding.get_abstract_mesh().abstract_device
  return jax.default_backend() if device is None else device.platform


def current() -> Mesh:
  """The mesh that `jax.set_mesh` set; where none is set, all devices.

  >>> mesh = make(data=1, devices=jax.devices()[:1])
  >>> with jax.set_mesh(mesh):
  ...   current() == mesh
  True
  """
  mesh = jax.sharding.get_mesh()
  return make() if mesh.empty else mesh


def batch_multiple(mesh: Mesh) -> int:
  """The number of shards of a batch: rows must be a multiple of it."""
  return mesh.shape["data"] * mesh.shape["fsdp"]


def put(tree: PyTree, mesh: Mesh, spec: PartitionSpec = BATCH) -> PyTree:
  """Places host arrays, equal on every host, on the mesh under one spec.

  >>> put(np.arange(8), make()).shape
  (8,)
  """
  sharding = NamedSharding(mesh, spec)

  def place(array: Any) -> jax.Array:
    array = np.asarray(array)
    return jax.make_array_from_callback(
      array.shape, sharding, lambda index: array[index]
    )

  return jax.tree.map(place, tree)


def put_own_rows(
  make: Callable[[Int[np.ndarray, " r"]], PyTree], count: int, mesh: Mesh
) -> PyTree:
  """Shards rows over all batch shards; a host makes those of its devices alone.

  Args:
    make: from the numbers of some rows, ascending, to arrays of these rows.
    count: of all rows; the batch shards divide it.
    mesh: rows are split over `data` and `fsdp`.

  >>> put_own_rows(lambda rows: 2 * rows, 8, make()).tolist()
  [0, 2, 4, 6, 8, 10, 12, 14]
  """
  sharding = NamedSharding(mesh, BATCH)
  parts = sharding.addressable_devices_indices_map((count,)).values()
  own = np.unique(np.concatenate([np.arange(count)[part] for part in parts]))

  def place(array: np.ndarray) -> jax.Array:
    def part(index: tuple[slice, ...]) -> np.ndarray:
      first, end, _ = index[0].indices(count)
      start = int(np.searchsorted(own, first))
      return array[start : start + end - first]

    shape = (count, *array.shape[1:])
    return jax.make_array_from_callback(shape, sharding, part)

  return jax.tree.map(place, make(own))


def put_rows(rows: Any, mesh: Mesh) -> jax.Array:
  """Shards rows over all batch shards; the last row is repeated to fill up.

  Args:
    rows: an array; or what has a length and gives the rows of one by their
      numbers, such as `embed.rows.Rows`, of which a host reads its own alone.
    mesh: rows are split over `data` and `fsdp`.

  >>> put_rows(np.zeros((9, 2)), make()).shape[0] % batch_multiple(make())
  0
  """
  multiple = batch_multiple(mesh)
  count = -(-len(rows) // multiple) * multiple
  last = len(rows) - 1
  return put_own_rows(lambda own: rows[np.minimum(own, last)], count, mesh)


def row_sharding(x: Any) -> tuple[Mesh | None, Any]:
  """The mesh over which the rows of `x` are sharded, and the axes' names.

  >>> row_sharding(np.zeros(8))
  (None, None)
  """
  sharding = getattr(x, "sharding", None)
  if not isinstance(sharding, NamedSharding) or sharding.is_fully_replicated:
    return None, None
  return sharding.mesh, sharding.spec[0]


def fetch(tree: PyTree) -> PyTree:
  """Brings device arrays whole to every host, as NumPy arrays.

  >>> fetch(put(np.arange(8), make())).sum()
  np.int64(28)
  """

  def gather(array: Any) -> np.ndarray:
    here = getattr(array, "is_fully_addressable", True)
    if here or array.is_fully_replicated:
      return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))

  return jax.tree.map(gather, tree)


def is_writer() -> bool:
  """Whether this process writes the artifacts (the first host of a pod)."""
  return jax.process_index() == 0


def share(numbers: list[int]) -> list[int]:
  """The numbers of the first host, on every host.

  >>> share([1, 2])
  [1, 2]
  """
  if jax.process_count() == 1:
    return numbers
  said = multihost_utils.broadcast_one_to_all(np.array(numbers, np.int32))
  return np.asarray(said).tolist()


def first_host_says(flags: list[bool]) -> list[bool]:
  """What the first host says, on every host.

  >>> first_host_says([True, False])
  [True, False]
  """
  return list(map(bool, share(list(map(int, flags)))))


def first_host_does(action: Callable[..., object], *args: Any) -> bool:
  """Does something on the first host alone, for which the others wait.

  An error of another kind than `InputError` is left to end the first host, and
  with it the others (`run.hosts`).

  Returns:
    Whether the action returned what is true; on every host.

  Raises:
    errors.InputError: the action raised it; on every host, in the same words.

  >>> first_host_does(lambda: 7)
  True
  """
  outcome, refusal = False, None
  if is_writer():
    try:
      outcome = bool(action(*args))
    except errors.InputError as error:
      refusal = error
  outcome, is_refused = first_host_says([outcome, refusal is not None])
  if is_refused:
    said = tell("" if refusal is None else str(refusal))
    raise refusal or errors.InputError(said[0])
  return outcome


def tell(text: str) -> list[str]:
  """What every host tells, on every host, in the order of the hosts.

  >>> tell("all is well")
  ['all is well']
  """
  return [content.decode() for content in exchange(text.encode())]


def exchange(own: bytes) -> list[bytes]:
  """What every host has, on every host, in the order of the hosts.

  Args:
    own: of this host, below 2 GiB; it passes over the devices.

  >>> exchange(b"abc")
  [b'abc']
  """
  if jax.process_count() == 1:
    return [own]
  content = np.frombuffer(own, np.uint8)
  sizes = multihost_utils.process_allgather(np.array(len(content)))
  rows = np.zeros((len(sizes), 0), np.uint8)
  if max(sizes):
    padded = np.pad(content, (0, max(sizes) - len(content)))
    rows = multihost_utils.process_allgather(padded)
  return [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]


def barrier(name: str) -> None:
  """Waits until every host is here, so that all see what the first wrote."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)
