"""What the devices can do: the limit that a run is measured against."""

import functools
import time

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ila_jax import mesh as mesh_lib

# Sides of the square matrices: large enough for the full rate, and quick.
_SIDE = {"cpu": 1024}
_REPEATS = 5


@functools.cache
def matrix_rate(mesh: Mesh, dtype: str) -> float:
  """Measures how fast the mesh multiplies matrices, in FLOP/s.

  The best of a few products of square matrices, one on each device at the same
  time: the rate that a model FLOP utilisation is a share of.

  Args:
    mesh: all devices work.
    dtype: of the matrices; float32 is multiplied as float32.

  >>> matrix_rate(mesh_lib.make(), "float32") > 1e6
  True
  """
  side = _SIDE.get(jax.default_backend(), 8192)
  sharding = NamedSharding(mesh, PartitionSpec(mesh_lib.AXES))
  shape = (mesh.size, side, side)
  ones = jax.jit(lambda: jnp.ones(shape, dtype), out_shardings=sharding)()
  precision = jax.lax.Precision.HIGHEST if dtype == "float32" else None
  product = jax.jit(
    lambda x: jnp.einsum("dij,djk->dik", x, x, precision=precision)
  )
  seconds = []
  for _ in range(1 + _REPEATS):
    begin = time.perf_counter()
    jax.block_until_ready(product(ones))
    seconds.append(time.perf_counter() - begin)
  return 2 * mesh.size * side**3 / min(seconds[1:])
