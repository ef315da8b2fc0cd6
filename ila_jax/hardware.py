"""What the devices can do, and the programs that were compiled for them."""

import contextlib
import functools
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from etils import epath
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ila_jax import mesh as mesh_lib

# Sides of the square matrices: large enough for the full rate, and quick.
_SIDE = {"cpu": 1024}
_REPEATS = 5
# A program that took less to compile is not kept.
_WORTH_SECONDS = 0.2


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


@contextlib.contextmanager
def keep_compiled(folder: epath.PathLike) -> Iterator[None]:
  """Keeps compiled programs in a folder: who runs again does not compile again.

  A cache that the user has set (JAX_COMPILATION_CACHE_DIR) is left in charge.

  Args:
    folder: local or gs://; made when the first program is kept.

  >>> with keep_compiled("/tmp/ila_jax-doctest"):
  ...   jax.jit(jnp.cos)(0.0).item()
  1.0
  """
  if jax.config.jax_compilation_cache_dir is not None:
    yield
    return
  seconds = jax.config.jax_persistent_cache_min_compile_time_secs
  # JAX opens its cache once; to forget it is how another folder is opened.
  compilation_cache.reset_cache()
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update(
    "jax_persistent_cache_min_compile_time_secs", _WORTH_SECONDS
  )
  try:
    yield
  finally:
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    compilation_cache.reset_cache()
