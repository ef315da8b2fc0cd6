"""TPUs that this machine does not have, as devices that are compiled for.

The package `libtpu` has the whole compiler of TPUs, and needs none of them:
programs are lowered for shapes on a mesh of such devices, compiled, and asked
for their memory and their text. Nothing runs on them.
"""

import functools
import os
from typing import Any, NamedTuple

from jax.experimental import topologies as jax_topologies
from jax.sharding import Mesh

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib

_GIB = 2**30


class Chip(NamedTuple):
  """A kind of TPU.

  Attributes:
    accelerator: how libtpu calls a slice of it.
    hbm_bytes: memory of a device that programs may take.
  """

  accelerator: str
  hbm_bytes: int


# The memory is what the compiler says that it has when a program needs more.
CHIPS = {
  "v5e": Chip("v5litepod-16", int(15.75 * _GIB)),
  "v6e": Chip("v6e-16", int(31.25 * _GIB)),
  "v5p": Chip("v5p-32", int(95.74 * _GIB)),
}


def chip(topology: str) -> Chip:
  """The kind of TPU of a topology.

  Raises:
    errors.InputError: a kind that is not in `CHIPS`.

  >>> chip("v5e:4x4").hbm_bytes / 2**30
  15.75
  """
  name = topology.partition(":")[0]
  if name not in CHIPS:
    raise errors.InputError(
      f"topology {topology!r} begins with {name!r}; allowed: "
      f"{', '.join(CHIPS)}, and after a colon the sides, as in 'v5e:4x4'."
    )
  return CHIPS[name]


@functools.cache
def devices(topology: str, *, slices: int = 1) -> tuple[Any, ...]:
  """The devices of a topology, which programs can be compiled for.

  Args:
    topology: kind and sides, such as "v5e:4x4" or "v5p:2x2x4".
    slices: how many of these, between which the network is slow.

  Raises:
    errors.InputError: no such topology, or libtpu is not installed or cannot
      be loaded.
  """
  kind = chip(topology)
  # libtpu asks the machine where it is on a pod, unless it is told; and several
  # processes may compile at the same time, since none takes a TPU.
  told = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": kind.accelerator,
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  }
  for name, value in told.items():
    os.environ.setdefault(name, value)
  more = {"num_slices": slices} if slices > 1 else {}
  try:
    found = jax_topologies.get_topology_desc(topology, "tpu", **more)
  except (RuntimeError, ValueError, ImportError) as error:
    raise errors.InputError(
      f"topology {topology!r}: {str(error).splitlines()[0]}. To compile for "
      "TPUs needs Linux on x86, pip install 'ila_jax[tpu-compile]', and a "
      "topology that exists, such as v5e:4x4, v6e:2x4 or v5p:2x2x4."
    ) from error
  return tuple(found.devices)


def mesh(
  topology: str,
  *,
  slices: int = 1,
  data: int | None = None,
  fsdp: int = 1,
  tensor: int = 1,
) -> Mesh:
  """A mesh of a topology's devices; the axes are those of `mesh.make`."""
  return mesh_lib.make(
    data, fsdp, tensor, devices=devices(topology, slices=slices)
  )
