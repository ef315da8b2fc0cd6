"""Checkpoints come back to the bit, and belong to one run."""

import resource
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.training import checkpoint
from tests.support import damage


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


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
  """A folder with the checkpoints of the steps 1 and 2."""
  folder = tmp_path_factory.mktemp("two")
  with checkpoint.Checkpoints(folder, fingerprint="a") as ours:
    for step in (1, 2):
      ours.save(step, _state(step), {"history": [{"loss": 1.5 * step}]})
  return folder


@pytest.mark.parametrize("kind", damage.KINDS)
def test_what_is_damaged_gives_way_to_the_one_before(
  two_steps, tmp_path, capsys, kind
):
  files = [path for path in (two_steps / "2").rglob("*") if path.is_file()]
  fallen = 0
  for number, file in enumerate(files):
    folder = tmp_path / str(number)
    shutil.copytree(two_steps, folder)
    damage.damage(folder / file.relative_to(two_steps), kind)
    with checkpoint.Checkpoints(folder, fingerprint="a") as ours:
      state, record = ours.restore(_state(0))
      step = ours.latest()
      # A file may hold nothing that counts, such as the time of writing.
      _assert_same(state, _state(step))
      assert record == {"history": [{"loss": 1.5 * step}]}
      said = capsys.readouterr().err
      assert ("2 is damaged" in said) == (step == 1), file
      if step == 1:
        fallen += 1
        assert "goes on from step 1" in said
        ours.save(2, _state(2), {})
    if step == 1:
      with checkpoint.Checkpoints(folder, fingerprint="a") as ours:
        _assert_same(ours.restore(_state(0))[0], _state(2))
  # Arrays and record at least.
  assert fallen >= 2


def test_where_none_is_whole_training_starts_anew(tmp_path, capsys):
  with checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours:
    ours.save(1, _state(1), {})
  files = [path for path in tmp_path.rglob("d/*") if path.is_file()]
  damage.damage(max(files, key=lambda path: path.stat().st_size), "cut")
  with checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours:
    assert ours.restore(_state(0)) is None
    assert ours.latest() is None
  assert "training starts anew" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int8, bool])
def test_every_bit_counts_and_the_mesh_does_not(dtype):
  array = np.asarray(jnp.arange(48).reshape(16, 3).astype(dtype))
  whole = checkpoint._checksum(jnp.asarray(array), {})
  rows = NamedSharding(mesh.make(data=8), PartitionSpec("data"))
  assert checkpoint._checksum(jax.device_put(array, rows), {}) == whole
  for place in range(0, array.nbytes, 7):
    bits = bytearray(array.tobytes())
    bits[place] ^= 1
    other = np.frombuffer(bytes(bits), array.dtype).reshape(array.shape)
    assert checkpoint._checksum(jnp.asarray(other), {}) != whole
  moved = jnp.asarray(array[::-1].copy())
  assert (checkpoint._checksum(moved, {}) != whole) or (moved == array).all()
  assert checkpoint._checksum(jnp.asarray(array), {"a": 1}) != whole


def test_an_unwritable_folder_is_the_users_to_mend(tmp_path):
  (tmp_path / "file").write_text("in the way")
  with pytest.raises(errors.InputError, match="cannot be written"):
    checkpoint.Checkpoints(tmp_path / "file" / "run", fingerprint="a")


def test_a_full_disk_is_told_and_whole_checkpoints_stay(tmp_path, caplog):
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
  assert "Traceback" not in caplog.text  # Of the threads of Orbax.
  with checkpoint.Checkpoints(tmp_path, fingerprint="a") as ours:
    assert ours.latest() == 1
    _assert_same(ours.restore(_state(0))[0], _state(1))


@pytest.fixture
def clock(monkeypatch):
  """A clock of the test, and how often hosts met to look at it."""
  state = {"now": 1000.0, "looks": 0}

  def share(numbers):
    state["looks"] += 1
    return numbers

  monkeypatch.setattr(time, "monotonic", lambda: state["now"])
  monkeypatch.setattr(checkpoint.mesh, "share", share)
  return state


def _due(clock, due, seconds, steps):
  """The steps after which one is due, each of which takes some seconds."""
  found = []
  for step in range(1, steps + 1):
    clock["now"] += seconds(step)
    if due.after(step):
      found.append(step)
  return found


def test_what_comes_first_steps_or_minutes(clock):
  due = checkpoint.Due(steps=10, minutes=1)
  # Steps of 7 s: 9 of them are the first to last a minute; 10 is due anyway,
  # and the minute begins anew.
  assert _due(clock, due, lambda step: 7.0, 30) == [9, 10, 19, 20, 29, 30]
  due = checkpoint.Due(steps=10, minutes=1)
  assert _due(clock, due, lambda step: 5.0, 30) == [10, 20, 30]


def test_hosts_seldom_meet_to_look_at_the_clock(clock):
  due = checkpoint.Due(steps=10**9, minutes=10)
  found = _due(clock, due, lambda step: 2**-7, 230_400)
  assert found == [76_800, 153_600, 230_400]  # 600 s apart, by hand.
  assert clock["looks"] < 120
  # The first step compiles, and later ones are slow for a while.
  due = checkpoint.Due(steps=10**9, minutes=10)

  def slow(step):
    return 60.0 if step == 1 else 0.1 if step < 3000 else 0.2

  (first, *_) = _due(clock, due, slow, 9000)
  seconds = sum(map(slow, range(1, first + 1)))
  assert 600 <= seconds < 700


def _saved_in(folder, step=1):
  with checkpoint.Checkpoints(folder, fingerprint="mine") as checkpoints:
    checkpoints.save(step, {"w": jnp.arange(3) + step}, {"step": step})


def _restored_from(folder):
  with checkpoint.Checkpoints(folder, fingerprint="mine") as checkpoints:
    return checkpoints.restore({"w": jnp.zeros(3, int)})


def test_a_checkpoint_in_a_bucket_is_whole_by_its_mark(bucket):
  folder = "gs://fake/run/checkpoints"
  _saved_in(folder)
  mark = "run/checkpoints/2/commit_success.txt"

  def lose(method, name):
    return 403 if method == "POST" and name == mark else None

  bucket.fault = lose
  with pytest.raises(OSError, match="Forbidden"):
    _saved_in(folder, step=2)
  bucket.fault = lambda method, name: None
  assert bucket.names("run/checkpoints/2/") and mark not in bucket.names()
  state, record = _restored_from(folder)
  assert record == {"step": 1}
  np.testing.assert_array_equal(state["w"], [1, 2, 3])
  _saved_in(folder, step=2)
  assert _restored_from(folder)[1] == {"step": 2}


def test_a_bucket_that_refuses_is_no_damage(bucket):
  folder = "gs://fake/run/checkpoints"
  _saved_in(folder)
  names = bucket.names()
  # TensorStore reads the arrays.
  bucket.fault = lambda method, name: 403 if ".ocdbt" in name else None
  with pytest.raises(PermissionError, match="PERMISSION_DENIED"):
    _restored_from(folder)
  # gcsfs reads the rest.
  bucket.fault = lambda method, name: 403 if "_METADATA" in name else None
  with pytest.raises(OSError, match="Forbidden"):
    _restored_from(folder)
  bucket.fault = lambda method, name: None
  assert bucket.names() == names
  assert _restored_from(folder)[1] == {"step": 1}
