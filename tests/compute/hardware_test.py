"""The rate of the devices, and programs that are compiled once."""

import time

import jax
import jax.numpy as jnp
import pytest

from ila_jax import errors
from ila_jax.compute import hardware, mesh


def _settings():
  return (
    jax.config.jax_compilation_cache_dir,
    jax.config.jax_persistent_cache_min_compile_time_secs,
  )


def _compile(constant: float):
  """A function that was never compiled in this process, but for its text."""

  def cached_program(x):
    return jnp.sin(x) * constant

  return jax.jit(cached_program).lower(jnp.ones(3)).compile()


def test_a_program_is_compiled_once_for_all_runs(tmp_path, hits):
  before = _settings()
  with hardware.keep_compiled(tmp_path / "compiled"):
    assert _settings() == (str(tmp_path / "compiled"), 0.0)
    _compile(1.0)
    assert not hits
    assert list((tmp_path / "compiled").glob("*cached_program*"))
  assert _settings() == before
  # What is compiled between is neither kept nor found.
  _compile(1.0)
  assert not hits
  with hardware.keep_compiled(tmp_path / "other"):
    _compile(1.0)
    assert not hits
  with hardware.keep_compiled(tmp_path / "compiled"):
    _compile(1.0)
    assert len(hits) == 1
    _compile(2.0)
    assert len(hits) == 1


def test_settings_come_back_after_an_error(tmp_path, hits):
  before = _settings()
  with pytest.raises(KeyError), hardware.keep_compiled(tmp_path):
    raise KeyError
  assert _settings() == before


def test_a_cache_of_the_user_is_left_in_charge(tmp_path, hits):
  before = _settings()
  mine = str(tmp_path / "mine")
  jax.config.update("jax_compilation_cache_dir", mine)
  try:
    with hardware.keep_compiled(tmp_path / "ours"):
      assert _settings() == (mine, before[1])
    assert _settings() == (mine, before[1])
  finally:
    jax.config.update("jax_compilation_cache_dir", before[0])
  assert not (tmp_path / "ours").exists()


def test_matrix_rate_is_the_best_of_a_few(monkeypatch):
  monkeypatch.setattr(hardware, "_SIDE", {"cpu": 16})
  # The first holds the compilation, and does not count.
  seconds = [0.125, 3.0, 0.5, 2.0, 4.0, 1.0]
  clock = iter([t for s in seconds for t in (10.0, 10.0 + s)])
  monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
  rate = hardware.matrix_rate.__wrapped__(mesh.make(), "float32")
  assert rate == 8 * 2 * 16**3 / 0.5


def test_matrix_rate_is_measured_once(monkeypatch):
  monkeypatch.setattr(hardware, "_SIDE", {"cpu": 64})
  hardware.matrix_rate.cache_clear()
  first = hardware.matrix_rate(mesh.make(2, 2, 2), "bfloat16")
  assert 0 < first < 1e18
  assert hardware.matrix_rate(mesh.make(2, 2, 2), "bfloat16") == first
  assert hardware.matrix_rate.cache_info().hits == 1
  # Small matrices measured too little for other tests.
  hardware.matrix_rate.cache_clear()


@pytest.fixture
def no_gpus(monkeypatch, tmp_path):
  """A machine without GPUs, whatever this one has; the test adds some."""
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  monkeypatch.setenv("PATH", str(tmp_path))
  monkeypatch.setattr(hardware, "_DEVICES", str(tmp_path))
  return tmp_path


def _nvidia_smi(folder, text, status=0):
  program = folder / "nvidia-smi"
  program.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
  program.chmod(0o755)


def test_gpus_are_counted(no_gpus, monkeypatch):
  assert hardware.gpu_count() == 0
  # A tool of the driver without a GPU behind it, as images have it.
  _nvidia_smi(no_gpus, "NVIDIA-SMI has failed", status=9)
  assert hardware.gpu_count() == 0
  for name in ("nvidia0", "nvidia1", "nvidiactl"):
    (no_gpus / name).touch()
  assert hardware.gpu_count() == 2
  _nvidia_smi(
    no_gpus, "GPU 0: H100 (UUID: a)\n  MIG 1g.10gb\nGPU 1: H100\nGPU 2: H100"
  )
  assert hardware.gpu_count() == 3
  for named, count in (("0,5", 2), ("", 0), ("-1", 0), ("3,-1,4", 1)):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert hardware.gpu_count() == count


def test_an_idle_gpu_is_refused(no_gpus):
  (no_gpus / "nvidia0").touch()
  hardware.check_devices()  # The tests have JAX_PLATFORMS=cpu.
  jax.config.update("jax_platforms", None)
  try:
    with pytest.raises(errors.InputError, match="has 1 NVIDIA GPU, and JAX"):
      hardware.check_devices()
    (no_gpus / "nvidia0").unlink()
    hardware.check_devices()
  finally:
    jax.config.update("jax_platforms", "cpu")


@pytest.mark.parametrize(
  ("environment", "gpus", "ids"),
  [
    # sbatch with --ntasks-per-node=1 on 2 nodes of 8 GPUs.
    (
      {"SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "2"},
      8,
      [*range(8)],
    ),
    # A process a GPU: JAX's own rule.
    ({"SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "16"}, 8, None),
    # A pod of TPUs, and nodes of CPUs.
    ({}, 0, None),
    ({"SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "2"}, 0, None),
    # The user's word.
    (
      {
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_NUM_TASKS": "1",
        "JAX_LOCAL_DEVICE_IDS": "3",
      },
      8,
      None,
    ),
  ],
)
def test_a_process_alone_on_its_node_takes_all_gpus(
  environment, gpus, ids, no_gpus, monkeypatch
):
  for name in ("STEP_NUM_NODES", "STEP_NUM_TASKS"):
    monkeypatch.delenv(f"SLURM_{name}", raising=False)
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  for number in range(gpus):
    (no_gpus / f"nvidia{number}").touch()
  given = []
  monkeypatch.setattr(
    jax.distributed, "initialize", lambda **options: given.append(options)
  )
  hardware.join_hosts()
  assert given == [{"local_device_ids": ids}]
