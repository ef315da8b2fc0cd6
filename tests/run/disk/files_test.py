"""Whole or absent."""

import os
import resource

import numpy as np
import pytest
from etils import epath

from ila_jax import errors
from ila_jax.command_line import endings
from ila_jax.run.disk import checksums, columns, files


def test_atomic_leaves_the_old_file_when_the_writer_fails(tmp_path):
  path = epath.Path(tmp_path / "file.txt")
  path.write_text("old")
  with pytest.raises(RuntimeError), files.atomic(path) as file:
    file.write(b"half of the n")
    raise RuntimeError
  assert path.read_text() == "old"
  assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
  """And then the name; otherwise a loss of power could leave an empty file."""
  path = tmp_path / "file.txt"
  synced = []

  def fsync(descriptor):
    is_folder = os.fstat(descriptor).st_ino == tmp_path.stat().st_ino
    synced.append((is_folder, path.exists()))

  monkeypatch.setattr(os, "fsync", fsync)
  with files.atomic(path) as file:
    file.write(b"new")
  assert synced == [(False, False), (True, True)]


def test_tables_come_back_equal(tmp_path):
  columns = {
    "row": np.arange(3),
    "id": np.array(["a", "b", "ü"]),
    "loss": np.array([0.5, -1.0, 2.0], np.float32),
  }
  files.write_table(tmp_path / "t.parquet", columns)
  back = files.read_table(tmp_path / "t.parquet")
  for name, column in columns.items():
    np.testing.assert_array_equal(back[name], column)


def test_a_table_read_by_parts_is_the_whole_in_its_order(tmp_path):
  path = tmp_path / "t.parquet"
  files.write_table(path, {"row": np.arange(10), "id": list("abcdefghij")})
  parts = list(files.read_parts(path, ["row"], rows=4))
  assert [part.num_rows for part in parts] == [4, 4, 2]
  assert {name for part in parts for name in part.schema.names} == {"row"}
  rows = np.concatenate([columns.to_numpy(part)["row"] for part in parts])
  np.testing.assert_array_equal(rows, np.arange(10))
  assert files.count_rows(path) == 10


def test_a_damaged_table_is_read_in_no_way(tmp_path):
  path = epath.Path(tmp_path / "t.parquet")
  files.write_table(path, {"row": np.arange(10)})
  path.write_bytes(path.read_bytes()[:-1] + b"x")
  for read in (files.read_table, files.count_rows):
    with pytest.raises(checksums.Damaged):
      read(path)
  with pytest.raises(checksums.Damaged):
    next(files.read_parts(path, rows=4))


def test_lines_are_added_one_by_one(tmp_path):
  path = tmp_path / "lines.jsonl"
  assert files.read_jsonl(path) == []
  files.append_jsonl(path, {"a": 1})
  files.append_jsonl(path, {"a": 2})
  assert files.read_jsonl(path) == [{"a": 1}, {"a": 2}]


def test_a_lone_surrogate_is_written_escaped(tmp_path):
  files.write_jsonl(tmp_path / "x.jsonl", [{"a": "\ud800", "b": "ü"}])
  assert files.read_jsonl(tmp_path / "x.jsonl") == [{"a": "\ud800", "b": "ü"}]


def test_damaged_json_is_named(tmp_path):
  (tmp_path / "x.json").write_text("{")
  with pytest.raises(errors.InputError, match=r"x.json is damaged"):
    files.read_json(tmp_path / "x.json")


@pytest.fixture
def full_disk():
  """A file of over 4 kB is refused by the system, as on a full disk."""
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
  yield
  resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_fills_up_leaves_what_was_whole(tmp_path, full_disk):
  path = tmp_path / "a.npy"
  files.write_array(path, np.arange(9))
  before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
  with pytest.raises(OSError, match="File too large") as raised:
    files.write_array(path, np.arange(9000))
  assert raised.value.errno in endings._MENDABLE
  # Neither half a file is left, nor an entry of one.
  assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
  assert files.read_array(path).tolist() == list(range(9))
