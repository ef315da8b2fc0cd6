"""TPUs that this machine does not have, as devices that are compiled for.

The package `libtpu` has the whole compiler of TPUs, and needs none of them:
programs are lowered for shapes on a mesh of such devices, compiled, and asked
for their memory and their text. Nothing runs on them.
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import topologies as jax_topologies
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh

from ila_jax import errors
from ila_jax.compute import chips
from ila_jax.compute import mesh as mesh_lib


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
  kind, _ = chips.of(topology)
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
    said = str(error).splitlines()[0].removeprefix("INVALID_ARGUMENT: ")
    raise errors.InputError(
      f"topology {topology!r}: {said.rstrip('.')}. The compiler of TPUs "
      "needs Linux on x86, pip install 'ila_jax[tpu-compile]', and a "
      "slice that exists, such as v5e:4x4, v6e:2x4 or v5p:2x2x4. With "
      "--by-shapes a dry run needs no compiler."
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


@contextlib.contextmanager
def uncached() -> Iterator[None]:
  """Compiles without JAX's cache, which reads such programs on a TPU alone."""
  folder = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  compilation_cache.reset_cache()
  try:
    yield
  finally:
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()


@contextlib.contextmanager
def without_places() -> Iterator[None]:
  """Lowers programs without the places in the source that they come from.

  Their text is then the same in every checkout.
  """
  options = {
    "jax_traceback_in_locations_limit": 0,
    "jax_hlo_source_file_canonicalization_regex": ".*",
  }
  before = {name: getattr(jax.config, name) for name in options}
  for name, value in options.items():
    jax.config.update(name, value)
  try:
    yield
  finally:
    for name, value in before.items():
      jax.config.update(name, value)
