"""One run a folder: two at once, dead ones, other machines."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import threading
import time

import pytest

from ila_jax import errors
from ila_jax.run.disk import folders
from ila_jax.run.disk.lock import lock
from tests.support import forked, tiny

_HOLDER = """
import sys, time
from ila_jax.run.disk.lock import lock
with lock.hold(sys.argv[1]):
  print("held", flush=True)
  time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
  """A process that holds the lock of a folder until it is killed."""
  process = forked.start("-c", _HOLDER, tmp_path, stdout=subprocess.PIPE)
  assert process.stdout.readline() == "held\n"
  yield process
  process.kill()
  process.join()
  process.stdout.close()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
  """(path, note) of a lock that another machine has left; short patience."""
  monkeypatch.setattr(lock.holder, "BEAT_SECONDS", 0.05)
  monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 0.5)
  monkeypatch.setattr(lock, "_SETTLE_SECONDS", 0.01)
  note = {
    "host": "node7",
    "boot": "b",
    "process": 4,
    "started": "2026-01-02T03:04:05+00:00",
    "command": "python -m ila_jax",
  }
  path = tmp_path / folders.LOCK
  path.write_text(json.dumps(note))
  return path, note


def _refused(folder, said="in use by process"):
  with pytest.raises(errors.InputError, match=said), lock.hold(folder):
    pass


def test_a_living_process_is_named_and_nothing_changes(holder, tmp_path):
  before = (tmp_path / folders.LOCK).read_bytes()
  said = (
    rf"in use by process {holder.pid} on host '.+' \(since \d{{4}}-.*remove"
  )
  _refused(tmp_path, said)
  assert (tmp_path / folders.LOCK).read_bytes() == before
  assert os.listdir(tmp_path) == [folders.LOCK]


def test_the_lock_falls_with_its_process(holder, tmp_path, capsys):
  holder.send_signal(signal.SIGKILL)
  holder.join()
  begin = time.monotonic()
  with lock.hold(tmp_path):
    pass
  assert time.monotonic() - begin < 5  # Nobody waits for the dead.
  assert f"process {holder.pid} on host" in capsys.readouterr().err
  assert not os.listdir(tmp_path)


def test_a_lock_is_held_again_and_gone_after_an_error(tmp_path):
  for _ in range(2):
    with pytest.raises(RuntimeError), lock.hold(tmp_path):
      _refused(tmp_path)
      raise RuntimeError
    assert not os.listdir(tmp_path)


def test_a_file_that_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
  path, true = tmp_path / folders.LOCK, fcntl.flock
  removed = []

  def flock(file, how):
    true(file, how)
    if not removed:  # By who held it, between opening and locking.
      removed.append(path.unlink())

  monkeypatch.setattr(fcntl, "flock", flock)
  with lock.hold(tmp_path):
    _refused(tmp_path)


def test_a_silent_machine_is_waited_for_once(elsewhere, tmp_path, capsys):
  with lock.hold(tmp_path):
    held = json.loads(elsewhere[0].read_text())
  assert held["process"] == os.getpid()
  said = capsys.readouterr().err
  assert "process 4 on host 'node7'" in said
  assert "waiting up to 0 s for a sign of life" in said
  assert "died and left its lock" in said


def test_a_sign_of_life_from_another_machine_is_refused(elsewhere, tmp_path):
  path, _ = elsewhere
  stop = threading.Event()

  def live():
    for tick in range(1000):
      if stop.wait(0.05):
        return
      os.utime(path, (tick, tick))

  alive = threading.Thread(target=live)
  alive.start()
  before = path.read_bytes()
  try:
    _refused(tmp_path, "on host 'node7'")
  finally:
    stop.set()
    alive.join()
  assert path.read_bytes() == before


def test_another_machine_that_ends_meanwhile_makes_room(
  elsewhere, tmp_path, monkeypatch
):
  monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 600.0)
  timer = threading.Timer(0.2, elsewhere[0].unlink)
  timer.start()
  with lock.hold(tmp_path):
    pass
  timer.join()


@pytest.fixture
def no_flock(monkeypatch):
  """A file system that knows no locks."""

  def flock(file, how):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", flock)


def test_without_locks_of_the_system_life_tells(
  elsewhere, no_flock, tmp_path, capsys
):
  elsewhere[0].unlink()
  with lock.hold(tmp_path):
    _refused(tmp_path)
  assert not os.listdir(tmp_path)


def test_who_loses_the_lock_ends(elsewhere, no_flock, tmp_path):
  path, note = elsewhere
  path.unlink()
  with (
    pytest.raises(
      errors.InputError, match="taken by process 4 on host 'node7'"
    ),
    lock.hold(tmp_path),
  ):
    path.write_text(json.dumps(note))
    for _ in range(600):  # The interrupt comes between two naps.
      time.sleep(0.05)
  assert json.loads(path.read_text()) == note  # It is theirs now.


def test_two_runs_in_one_folder(tmp_path):
  """The second ends at once with exit 2; the first does not notice."""
  tiny.write(tmp_path / "pool.jsonl", tiny.records(90))
  command = [
    *("-m", "ila_jax", "--config=configs/quickstart.py"),
    *("--stages=pool", f"--workdir={tmp_path}/work"),
    f"--config.pool.source={tmp_path}/pool.jsonl",
    *("--config.pool.dev_examples=5", "--config.score.reference_examples=5"),
  ]
  first = forked.start(*command, stderr=subprocess.PIPE)
  held = tmp_path / "work" / folders.LOCK
  deadline = time.monotonic() + 300
  while not held.exists() or not held.read_text():
    assert first.exitcode is None and time.monotonic() < deadline
    time.sleep(0.001)
  first.send_signal(signal.SIGSTOP)
  try:
    assert held.exists()
    work = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    second = forked.run(*command)
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
  finally:
    first.send_signal(signal.SIGCONT)
  with first.stderr as stderr:
    said = stderr.read()
  first.join()
  assert second.returncode == 2, second.stderr
  # The first line says what runs where.
  assert second.stderr.count("\n") == 2
  assert f"in use by process {first.pid} on host" in second.stderr
  assert work == after
  assert first.exitcode == 0, said
  assert not held.exists()


_BUCKET = "gs://fake/run"


@pytest.fixture
def quick(monkeypatch):
  """Signs of life come soon: a bucket dates its objects by the second."""
  monkeypatch.setattr(lock.holder, "BEAT_SECONDS", 0.05)
  monkeypatch.setattr(lock, "_SETTLE_SECONDS", 0.01)


def test_a_bucket_has_one_run_at_a_time(bucket, quick):
  with lock.hold(_BUCKET):
    assert bucket.names() == [f"run/{folders.LOCK}"]
    before = bucket.content(bucket.names()[0])
    _refused(_BUCKET)
    assert bucket.content(bucket.names()[0]) == before
  assert not bucket.names()


def test_two_that_begin_at_once_are_one(bucket, quick, monkeypatch):
  # Both have seen that nobody is there.
  monkeypatch.setattr(lock.holder, "read", lambda path: None)
  with lock.hold(_BUCKET):
    _refused(_BUCKET, "in use by another run")


def test_a_dead_process_of_here_is_not_waited_for(bucket, monkeypatch):
  monkeypatch.setattr(lock, "_watch", None)
  monkeypatch.setattr(lock, "_SETTLE_SECONDS", 0.01)
  process = forked.start("-c", _HOLDER, _BUCKET, stdout=subprocess.PIPE)
  assert process.stdout.readline() == "held\n"
  process.kill()
  process.join()
  process.stdout.close()
  assert bucket.names() == [f"run/{folders.LOCK}"]
  with lock.hold(_BUCKET):
    pass
  assert not bucket.names()


def test_a_lock_in_a_bucket_that_another_takes_ends_the_run(
  bucket, elsewhere, capsys
):
  _, note = elsewhere
  bucket.put(f"run/{folders.LOCK}", json.dumps(note).encode())
  with (
    pytest.raises(errors.InputError, match="was taken by process 5"),
    lock.hold(_BUCKET),  # After some patience: that machine was silent.
  ):
    taker = json.dumps(note | {"process": 5}).encode()
    bucket.put(f"run/{folders.LOCK}", taker)
    for _ in range(400):
      time.sleep(0.05)
  assert "died and left its lock" in capsys.readouterr().err
  assert bucket.content(f"run/{folders.LOCK}") == taker
