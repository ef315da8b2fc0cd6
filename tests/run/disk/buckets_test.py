"""Files in a bucket: whole or absent, checked without being read."""

import asyncio
import re
import signal
import threading
import time

import numpy as np
import pytest
from etils import epath

from ila_jax import errors
from ila_jax.run.disk import buckets, checksums, files, folders
from tests.support import forked

_RUN = epath.Path("gs://fake/run")


@pytest.fixture
def small_parts(monkeypatch):
  """Files are sent in many parts."""
  monkeypatch.setattr(buckets, "_PART", 2**18)


@pytest.fixture
def no_waiting(monkeypatch):
  """Retries come at once."""
  sleep = asyncio.sleep
  monkeypatch.setattr(asyncio, "sleep", lambda seconds: sleep(0))


def test_files_come_back_as_from_a_disk(bucket, small_parts):
  content = np.random.default_rng(0).bytes(10**6 + 1)
  columns = {"row": np.arange(9), "text": np.array(list("abcdefghi"))}
  files.write_bytes(_RUN / "part", content)
  files.write_table(_RUN / "table.parquet", columns)
  files.write_json(_RUN / "value.json", {"ü": 1})
  files.append_jsonl(_RUN / "lines.jsonl", 1)
  files.append_jsonl(_RUN / "lines.jsonl", 2)
  assert files.read_bytes(_RUN / "part") == content
  for name, column in files.read_table(_RUN / "table.parquet").items():
    np.testing.assert_array_equal(column, columns[name])
  assert files.read_json(_RUN / "value.json") == {"ü": 1}
  assert files.read_jsonl(_RUN / "lines.jsonl") == [1, 2]
  assert files.read_jsonl(_RUN / "none.jsonl") == []
  assert not bucket.uploads
  # No name but those of the files has ever been written.
  names = {"part", "table.parquet", "value.json", "lines.jsonl"}
  assert bucket.names() == sorted(
    f"run/{name}" for name in (*names, "checksums.json")
  )
  written = {asked for asked in bucket.asked if asked.startswith("POST")}
  assert written == {f"POST {name}" for name in bucket.names()}


@pytest.mark.parametrize("size", [0, 3, 2**18, 10**6])
def test_what_fails_leaves_the_former_file(bucket, small_parts, size):
  path = _RUN / "file"
  files.write_bytes(path, b"old")
  with pytest.raises(RuntimeError), files.create(path) as file:
    file.write(bytes(size))
    raise RuntimeError
  assert files.read_bytes(path) == b"old"
  assert not bucket.uploads


_WRITER = """
from ila_jax.run.disk import buckets, files
buckets._PART = 2**18
files.write_bytes("gs://fake/run/file", bytes(10**6))
"""


@pytest.mark.parametrize(
  ("name", "nth"),
  [("run/file", 1), ("run/file", 3), ("checksums.json", 2)],
)
def test_a_kill_leaves_the_former_file_or_the_new_one(bucket, name, nth):
  path = _RUN / "file"
  files.write_bytes(path, b"old")
  asked: list[str] = []
  answering: list[threading.Thread] = []

  def kill(method, object_name):
    if method == "POST" and object_name.endswith(name):
      asked.append(object_name)
      if len(asked) == nth:
        process.end()
        answering.append(threading.current_thread())

  bucket.fault = kill
  process = forked.start("-c", _WRITER)
  process.join(60)
  assert process.exitcode == -signal.SIGKILL
  while not answering:
    time.sleep(0.01)
  answering[0].join(60)  # What was asked for before the kill may be done yet.
  bucket.fault = lambda method, object_name: None
  assert files.read_bytes(path) in (b"old", bytes(10**6))
  assert not checksums.find_damage(_RUN)
  files.write_bytes(path, b"new")  # By the run that goes on.
  assert files.read_bytes(path) == b"new"


def test_a_file_is_checked_without_being_read(bucket):
  files.write_bytes(_RUN / "file", b"abc")
  bucket.asked.clear()
  checksums.check(_RUN / "file")
  assert not checksums.find_damage(_RUN)
  assert "READ run/file" not in bucket.asked
  assert files.read_bytes(_RUN / "file") == b"abc"
  bucket.put("run/file", b"abd")
  with pytest.raises(checksums.Damaged, match="its checksum is"):
    checksums.check(_RUN / "file")
  bucket.put("run/file", b"ab")
  with pytest.raises(checksums.Damaged, match="it has 2 bytes"):
    checksums.check(_RUN / "file")
  files.remove(_RUN / "file")
  with pytest.raises(checksums.Damaged, match="missing"):
    checksums.check(_RUN / "file")


def test_folders_are_moved_and_removed(bucket):
  for name in ("a", "below/b"):
    files.write_bytes(_RUN / "stage" / name, name.encode())
  before = {name: bucket.content(name) for name in bucket.names()}
  folders.move(_RUN / "stage", _RUN / ".old/stage")
  # The bucket copies: nothing is read here but the names.
  assert before == {
    name.replace(".old/", ""): bucket.content(name) for name in bucket.names()
  }
  folders.remove(_RUN / ".old/stage")
  assert not bucket.names()


@pytest.mark.parametrize("left", (1, 3, 5))
def test_a_move_that_was_cut_is_not_taken_for_whole(bucket, left):
  for name in ("a", "b"):
    files.write_bytes(_RUN / "stage" / name, name.encode())
  before = {name: bucket.content(name) for name in bucket.names()}
  writes = []

  def cut(method, name):
    if method in ("POST", "DELETE"):
      writes.append(name)
      return 403 if len(writes) > left else None
    return None

  bucket.fault = cut
  with pytest.raises(OSError, match="Forbidden"):
    folders.move(_RUN / "stage", _RUN / ".old/stage")
  bucket.fault = lambda method, name: None
  folders.finish_removal(_RUN / "stage")
  folders.finish_removal(_RUN / ".old/stage")
  kept = {n.replace(".old/", ""): bucket.content(n) for n in bucket.names()}
  assert kept == before


def test_folders_of_the_console_are_none_of_their_files(bucket):
  bucket.put("run/", b"")
  bucket.put("run/model/", b"")
  assert not folders.visible(_RUN) - {_RUN / "model"}
  bucket.put("run/file", b"abc")
  assert set(buckets.inside(_RUN)) == {_RUN / "model", _RUN / "file"}
  assert buckets.bytes_in(_RUN) == 3
  assert buckets.bytes_in(_RUN / "none") == 0


def test_one_of_two_creates(bucket):
  assert buckets.create(_RUN / "lock", b"mine")
  assert not buckets.create(_RUN / "lock", b"theirs")
  assert bucket.content("run/lock") == b"mine"


def test_a_bucket_that_is_not_there_is_told_and_not_made(bucket):
  path = epath.Path("gs://fakr/run")
  buckets.make(path)
  for write in (
    lambda: files.write_json(path / "a.json", 1),
    lambda: buckets.create(path / "lock", b""),
  ):
    with pytest.raises(errors.InputError, match="no bucket gs://fakr"):
      write()
  assert not path.exists()


@pytest.mark.parametrize(
  ("status", "exit_status", "said"),
  [
    (401, errors.BAD_INPUT, "refuses this account .*gcloud auth"),
    (
      403,
      errors.BAD_INPUT,
      "bucket gs://fake refuses this account .*run%2Ffile.*objectAdmin",
    ),
    (429, errors.LOST, "run the same command again"),
    (503, errors.LOST, "gs://fake does not answer as it should .*run%2Ffile"),
  ],
)
def test_errors_say_what_to_do(bucket, no_waiting, status, exit_status, said):
  bucket.put("run/file", b"abc")
  bucket.fault = lambda method, name: status
  for ask in (
    lambda: (_RUN / "file").exists(),
    lambda: list((_RUN).iterdir()),
    lambda: files.write_bytes(_RUN / "file", b"abcd"),
    lambda: (_RUN / "file").unlink(),
  ):
    bucket.asked.clear()
    with pytest.raises(Exception) as caught:
      ask()
    told = buckets.explain(caught.value)
    assert told is not None and told[0] == exit_status
    # gcsfs tries again where that may help.
    assert (len(bucket.asked) >= 6) == (exit_status == errors.LOST)
  assert re.search(said, told[1])
  assert bucket.content("run/file") == b"abc"


def test_a_server_that_is_away_is_lost(bucket, no_waiting, monkeypatch):
  monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
  with pytest.raises(Exception) as caught:
    (_RUN / "file").exists()
  status, said = buckets.explain(caught.value)
  assert status == errors.LOST
  assert "127.0.0.1:9" in said
