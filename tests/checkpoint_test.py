"""Checkpoints come back to the bit, and belong to one run."""

import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from ila_jax import checkpoint, errors, mesh


def _state(seed: int) -> dict:
  w = jax.random.normal(jax.random.key(seed), (16, 3))
  return {
    "layers": {0: {"w": w}, 1: {"w": w.astype(jnp.bfloat16)}},
    "count": jnp.int32(seed),
    "empty": (),
  }


def _files(folder) -> dict[str, bytes]:
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def _assert_same(found, wanted) -> None:
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_newest_comes_back_to_the_bit_and_old_ones_go(tmp_path):
  record = {"history": [{"loss": 0.1 + 0.2, "step": 1}]}
  with checkpoint.Checkpoints(tmp_path, fingerprint="a", keep=2) as ours:
    assert ours.latest() is None
    for step in (1, 2, 3):
      ours.save(step, _state(step), record)
  assert {path.name for path in tmp_path.iterdir()} == {"2", "3"}
  with checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours:
    assert ours.latest() == 3
    state, found = ours.restore(_state(0))
  _assert_same(state, _state(3))
  assert found == record


def test_a_state_donated_right_after_saving_is_saved(tmp_path):
  state = _state(1)
  with checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours:
    ours.save(1, state, {})
    jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)(state)
  with checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours:
    _assert_same(ours.restore(_state(0))[0], _state(1))


def test_restored_arrays_take_the_sharding_asked_for(tmp_path):
  rows = NamedSharding(mesh.make(data=8), PartitionSpec("data"))
  state = _state(1)
  with checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours:
    ours.save(1, state, {})
  like = _state(0)
  like["layers"][0]["w"] = jax.device_put(like["layers"][0]["w"], rows)
  with checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours:
    found, _ = ours.restore(like)
  assert found["layers"][0]["w"].sharding == rows
  _assert_same(found, state)


def test_another_run_is_refused_and_its_files_stay(tmp_path):
  with checkpoint.Checkpoints(tmp_path, fingerprint="theirs") as theirs:
    theirs.save(4, _state(4), {})
  before = _files(tmp_path)
  with pytest.raises(errors.InputError, match=r"another run.*theirs.*mine"):
    checkpoint.Checkpoints(tmp_path, fingerprint="mine")
  assert _files(tmp_path) == before


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
  (tmp_path / "5").mkdir()
  (tmp_path / "5" / "notes.txt").write_text("not ours")
  before = _files(tmp_path)
  with pytest.raises(errors.InputError, match="not a whole checkpoint"):
    checkpoint.Checkpoints(tmp_path, fingerprint="mine")
  assert _files(tmp_path) == before


@pytest.mark.parametrize("damage", ["another shape", "cut short"])
def test_arrays_that_do_not_fit_are_refused(tmp_path, damage):
  # One array: where several are read at once, Orbax complains of the others.
  state = {"w": jnp.arange(4000.0)}
  with checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours:
    ours.save(1, state, {})
  if damage == "another shape":
    state = {"w": jnp.zeros((4000, 2))}
  else:
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:10])
  before = _files(tmp_path)
  with (
    checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours,
    pytest.raises(errors.InputError, match="not a whole checkpoint"),
  ):
    ours.restore(state)
  assert _files(tmp_path) == before


def test_an_unwritable_folder_is_the_users_to_mend(tmp_path):
  (tmp_path / "file").write_text("in the way")
  with pytest.raises(errors.InputError, match="cannot be written"):
    checkpoint.Checkpoints(tmp_path / "file" / "run", fingerprint="a")


def test_a_full_disk_is_told_and_whole_checkpoints_stay(tmp_path):
  with checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours:
    ours.save(1, _state(1), {})
  # The system refuses files above 100 kB, as it would on a full disk.
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
  large = {"w": jax.random.normal(jax.random.key(0), (300, 1000))}
  try:
    with (
      pytest.raises(
        errors.InputError,
        match=r"cannot be written.*File too large.*Free space",
      ),
      checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours,
    ):
      ours.save(2, large, {})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  with checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours:
    assert ours.latest() == 1
    _assert_same(ours.restore(_state(0))[0], _state(1))
