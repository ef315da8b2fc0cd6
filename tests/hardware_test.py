"""The rate of the devices, and programs that are compiled once."""

import time

import jax
import jax.numpy as jnp
import pytest

from ila_jax import hardware
from ila_jax import mesh as mesh_lib


@pytest.fixture
def hits(monkeypatch, keeps_no_programs):
  """Programs that were found in a folder; all are worth keeping."""
  monkeypatch.setattr(hardware, "_WORTH_SECONDS", 0.0)
  found = []

  def listen(event, **_):
    if event == "/jax/compilation_cache/cache_hits":
      found.append(event)

  jax.monitoring.register_event_listener(listen)
  yield found
  jax.monitoring.unregister_event_listener(listen)


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
  rate = hardware.matrix_rate.__wrapped__(mesh_lib.make(), "float32")
  assert rate == 8 * 2 * 16**3 / 0.5


def test_matrix_rate_is_measured_once(monkeypatch):
  monkeypatch.setattr(hardware, "_SIDE", {"cpu": 64})
  hardware.matrix_rate.cache_clear()
  first = hardware.matrix_rate(mesh_lib.make(2, 2, 2), "bfloat16")
  assert 0 < first < 1e18
  assert hardware.matrix_rate(mesh_lib.make(2, 2, 2), "bfloat16") == first
  assert hardware.matrix_rate.cache_info().hits == 1
  # Small matrices measured too little for other tests.
  hardware.matrix_rate.cache_clear()
