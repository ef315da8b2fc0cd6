"""What the devices can do, and the programs that were compiled for them."""

import contextlib
import functools
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from etils import epath
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import ila_jax
from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib

# What the driver shows of GPUs, whether or not JAX can use them.
_DEVICES = "/dev"
# Sides of the square matrices: large enough for the full rate, and quick.
_SIDE = {"cpu": 1024}
_REPEATS = 5
# Of each device: 32 MB.
_ROWS, _WIDTH = 2**16, 256
# A program that took less to compile is not kept.
_WORTH_SECONDS = 0.2


def describe() -> str:
  """Versions and devices, for the first line of a run.

  >>> describe().startswith(f"ila_jax {ila_jax.__version__}, Python 3.")
  True
  """
  count, hosts = jax.device_count(), jax.process_count()
  devices = f"{count} × {jax.devices()[0].device_kind}"
  if jax.default_backend() == "cpu":
    devices = f"{count} CPU device{'s' * (count > 1)} of {os.cpu_count()} cores"
  return (
    f"ila_jax {ila_jax.__version__}, Python {platform.python_version()}, "
    f"JAX {jax.__version__} on {devices}"
    + (f", {hosts} processes" if hosts > 1 else "")
  )


def check_devices() -> None:
  """Refuses to leave a GPU idle, unless that is what the user asked for.

  Raises:
    errors.InputError: the machine has a GPU, JAX runs on the CPU, and
      JAX_PLATFORMS does not say that this is meant.

  >>> if jax.config.jax_platforms == "cpu":
  ...   check_devices()
  """
  if jax.default_backend() != "cpu" or jax.config.jax_platforms:
    return
  gpus = gpu_count()
  if gpus:
    raise errors.InputError(
      f"this machine has {gpus} NVIDIA GPU{'s' * (gpus > 1)}, and JAX "
      f"{jax.__version__} runs on the CPU: its CUDA part is not installed, or "
      "does not suit the driver. Run by bash launch/gpu.sh, or install it: "
      "pip install 'jax[cuda13]' ('jax[cuda12]' for drivers older than 580). "
      "If you want the CPU, say so: JAX_PLATFORMS=cpu before the command."
    )


def gpu_count() -> int:
  """NVIDIA GPUs that this process may use, whether or not JAX can use them.

  Those that CUDA_VISIBLE_DEVICES names, or else those of the machine.
  """
  named = os.environ.get("CUDA_VISIBLE_DEVICES")
  if named is not None:
    names = [name.strip() for name in named.split(",")]
    # CUDA takes the names before the first that is none.
    return next((i for i, n in enumerate(names) if n in ("", "-1")), len(names))
  if shutil.which("nvidia-smi"):
    done = subprocess.run(
      ["nvidia-smi", "-L"], capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    listed = sum(line.startswith("GPU ") for line in lines)
    if listed:
      return listed
  return sum(
    bool(re.fullmatch(r"nvidia\d+", name)) for name in os.listdir(_DEVICES)
  )


def join_hosts() -> None:
  """Joins the other processes of a pod, a Slurm job or an Open MPI job.

  A process that is alone on its node takes all GPUs there; where there are
  more, each takes one, as JAX does by itself. JAX_LOCAL_DEVICE_IDS overrules
  both.
  """
  environment = os.environ
  # Of Slurm, JAX would give one GPU to each process, however few they are.
  alone = "SLURM_STEP_NUM_NODES" in environment and (
    environment.get("SLURM_STEP_NUM_TASKS")
    == environment["SLURM_STEP_NUM_NODES"]
  )
  ids = None
  if alone and "JAX_LOCAL_DEVICE_IDS" not in environment:
    ids = list(range(gpu_count())) or None
  jax.distributed.initialize(local_device_ids=ids)


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


@functools.cache
def row_rate(mesh: Mesh) -> float:
  """Measures how fast the mesh multiplies rows by a vector, in bytes/s.

  The best of a few products of int16 rows, more than a cache holds: what a
  greedy choice does again and again, whose time is that of reading the rows.

  Args:
    mesh: all devices work.

  >>> row_rate(mesh_lib.make()) > 1e6
  True
  """
  sharding = NamedSharding(mesh, PartitionSpec(mesh_lib.AXES))
  shape = (mesh.size * _ROWS, _WIDTH)
  rows = jax.jit(lambda: jnp.ones(shape, jnp.int16), out_shardings=sharding)()
  product = jax.jit(
    lambda x: jnp.sum(x.astype(jnp.int32) * x[:1].astype(jnp.int32), axis=1)
  )
  seconds = []
  for _ in range(1 + _REPEATS):
    begin = time.perf_counter()
    jax.block_until_ready(product(rows))
    seconds.append(time.perf_counter() - begin)
  return 2 * mesh.size * _ROWS * _WIDTH / min(seconds[1:])


def device_bytes() -> int:
  """Memory that programs may take on each device; on a CPU half of the host's.

  >>> device_bytes() > 2**20
  True
  """
  limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
  if limit:
    return limit
  pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
  return pages * size // 2 // jax.local_device_count()


@contextlib.contextmanager
def keep_compiled(folder: epath.PathLike) -> Iterator[None]:
  """Keeps compiled programs in a folder, so that a second run compiles none.

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
