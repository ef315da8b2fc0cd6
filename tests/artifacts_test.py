"""Whole or absent; skipped, resumed or refused."""

import numpy as np
import pytest
from etils import epath

from ila_jax import artifacts, errors


def test_atomic_leaves_the_old_file_when_the_writer_fails(tmp_path):
  path = epath.Path(tmp_path / "file.txt")
  path.write_text("old")
  with pytest.raises(RuntimeError), artifacts.atomic(path) as temporary:
    temporary.write_text("half of the n")
    raise RuntimeError
  assert path.read_text() == "old"
  assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_tables_come_back_equal(tmp_path):
  columns = {
    "row": np.arange(3),
    "id": np.array(["a", "b", "ü"]),
    "loss": np.array([0.5, -1.0, 2.0], np.float32),
  }
  artifacts.write_table(tmp_path / "t.parquet", columns)
  back = artifacts.read_table(tmp_path / "t.parquet")
  for name, column in columns.items():
    np.testing.assert_array_equal(back[name], column)


def test_lines_are_added_one_by_one(tmp_path):
  path = tmp_path / "lines.jsonl"
  assert artifacts.read_jsonl(path) == []
  artifacts.append_jsonl(path, {"a": 1})
  artifacts.append_jsonl(path, {"a": 2})
  assert artifacts.read_jsonl(path) == [{"a": 1}, {"a": 2}]


def test_a_lone_surrogate_is_written_escaped(tmp_path):
  artifacts.write_jsonl(tmp_path / "x.jsonl", [{"a": "\ud800", "b": "ü"}])
  assert artifacts.read_jsonl(tmp_path / "x.jsonl") == [
    {"a": "\ud800", "b": "ü"}
  ]


def test_stage_is_claimed_resumed_and_skipped(tmp_path):
  def stage():
    return artifacts.Stage(tmp_path, "pool", {"config": {"limit": 5}})

  assert not stage().open()
  with pytest.raises(errors.InputError, match="has not finished"):
    artifacts.output(tmp_path, "pool")
  assert not stage().open()  # resumes
  stage().finish(output="abc")
  assert stage().open()
  assert artifacts.output(tmp_path, "pool") == "abc"


def test_stage_of_another_run_is_refused_and_kept(tmp_path):
  first = artifacts.Stage(tmp_path, "pool", {"config": {"limit": 5, "x": 1}})
  first.open()
  (tmp_path / "pool/data").write_text("precious")
  other = artifacts.Stage(tmp_path, "pool", {"config": {"limit": 6, "x": 1}})
  with pytest.raises(
    errors.InputError, match=r"config.limit was 5 and is now 6.*--redo=pool"
  ):
    other.open()
  assert (tmp_path / "pool/data").read_text() == "precious"


def test_a_claim_that_made_nothing_binds_nobody(tmp_path):
  artifacts.Stage(tmp_path, "select", {"budget": 9}).open()
  later = artifacts.Stage(tmp_path, "select", {"budget": 5})
  assert not later.open()
  later.finish()
  assert later.open()


def test_folder_without_a_record_is_refused(tmp_path):
  (tmp_path / "pool").mkdir()
  (tmp_path / "pool/mine.txt").write_text("precious")
  with pytest.raises(errors.InputError, match="that no run of ila_jax"):
    artifacts.Stage(tmp_path, "pool", {}).open()
  assert (tmp_path / "pool/mine.txt").read_text() == "precious"


def test_damaged_json_is_named(tmp_path):
  (tmp_path / "x.json").write_text("{")
  with pytest.raises(errors.InputError, match=r"x.json is damaged"):
    artifacts.read_json(tmp_path / "x.json")
