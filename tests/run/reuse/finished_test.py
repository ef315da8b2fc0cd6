"""What another run has made of the same is copied, whole; all else is made."""

import os

import pytest

from ila_jax.run import stage_record
from ila_jax.run.disk import checksums, files, folders
from ila_jax.run.reuse import finished


def _stage(workdir, **inputs):
  return stage_record.Stage(workdir, "pool", inputs or {"limit": 5})


@pytest.fixture
def first(tmp_path):
  """A run whose stage is done, with a folder in it."""
  workdir = tmp_path / "first"
  stage = _stage(workdir)
  assert not stage.begin()
  files.write_json(stage.folder / "counts.json", {"used": 7})
  files.write_json(stage.folder / "tokenizer/vocab.json", {"a": 1})
  stage.finish(output="abc")
  return workdir


def test_a_stage_of_the_same_inputs_is_copied(first, tmp_path, capsys):
  second = tmp_path / "second"
  with finished.from_runs(second, [tmp_path / "absent", first]):
    assert _stage(second).begin()
  assert f"copied from {first / 'pool'}" in capsys.readouterr().err
  for name in ("counts.json", "tokenizer/vocab.json"):
    assert files.read_json(second / "pool" / name) == files.read_json(
      first / "pool" / name
    )
  # Of a parent it says what that of the first run says.
  assert stage_record.output(second, "pool") == stage_record.output(
    first, "pool"
  )
  record = stage_record.read_record(second / "pool")
  assert record["copied_from"] == str(first / "pool")
  assert not checksums.find_damage(second / "pool")
  assert not folders.theirs(second / "pool")
  assert _stage(second).begin()  # Also without the other run.


def _laboratory(workdir, **arms):
  scope = {"runs": [*arms], "arms": arms}
  return stage_record.Stage(workdir, "laboratory", {"seed": 0}, scope=scope)


def test_runs_of_arms_that_are_others_are_not_copied(tmp_path):
  first = _laboratory(tmp_path / "first", ours="ila", far="kcenter")
  first.begin()
  files.write_json(first.folder / "runs.jsonl", {"arm": "ours"})
  first.finish()
  for name, arms, is_copied in (
    ("more", {"ours": "ila", "late": "ila_marginal"}, True),
    ("other", {"ours": "longest"}, False),
  ):
    with finished.from_runs(tmp_path / name, [tmp_path / "first"]):
      _laboratory(tmp_path / name, **arms).begin()
    assert (tmp_path / name / "laboratory/runs.jsonl").exists() == is_copied


def test_what_a_base_has_made_brings_the_base(first, tmp_path):
  for name in ("model", "score"):
    stage = stage_record.Stage(first, name, {"of": name})
    stage.begin()
    files.write_json(stage.folder / "weights.json", {"of": name})
    stage.finish()
  second = tmp_path / "second"
  with finished.from_runs(second, [first]):
    assert _stage(second).begin()
    assert not (second / "model").exists()  # A pool has no base.
    assert stage_record.Stage(second, "score", {"of": "score"}).begin()
    assert stage_record.Stage(second, "model", {"of": "model"}).begin()
  assert not checksums.find_damage(second / "model")


def test_the_copy_is_the_runs_own(first, tmp_path):
  second = tmp_path / "second"
  with finished.from_runs(second, [first]):
    _stage(second).begin()
  files.write_json(second / "pool/counts.json", {"used": 8})
  folders.remove(second / "pool/tokenizer")
  assert files.read_json(first / "pool/counts.json") == {"used": 7}
  assert not checksums.find_damage(first / "pool")
  assert "copied_from" not in stage_record.read_record(first / "pool")


@pytest.mark.parametrize(
  "change", ["inputs", "version", "unfinished", "record"]
)
def test_what_is_not_the_same_is_made(first, tmp_path, change, monkeypatch):
  second, inputs = tmp_path / "second", {"limit": 5}
  if change == "inputs":
    inputs = {"limit": 6}
  elif change == "version":
    monkeypatch.setitem(stage_record.VERSIONS, "jax", "0.0.1")
  elif change == "unfinished":
    _stage(first).save_progress()
  else:
    (first / "pool/stage.json").write_text("{")
  with finished.from_runs(second, [first]):
    assert not _stage(second, **inputs).begin()
  assert folders.visible(second / "pool") == {second / "pool/stage.json"}


def test_what_is_damaged_there_is_made_here(first, tmp_path):
  second = tmp_path / "second"
  (first / "pool/counts.json").write_text('{"used": 9}')
  with finished.from_runs(second, [first]):
    assert not _stage(second).begin()
  assert not (second / "pool/counts.json").exists()
  assert (first / "pool/counts.json").exists()


def test_a_copy_that_was_killed_goes(first, tmp_path, monkeypatch):
  second = tmp_path / "second"

  def killed(*_):
    raise KeyboardInterrupt

  with finished.from_runs(second, [first]):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
      patch.setattr(finished, "_copy_file", killed)
      _stage(second).begin()
    assert (second / "pool").exists()
    assert _stage(second).begin()
  assert not checksums.find_damage(second / "pool")


def test_another_disk_has_copies(first, tmp_path, monkeypatch):
  second = tmp_path / "second"

  def refused(*_):
    raise OSError("Invalid cross-device link")

  monkeypatch.setattr(os, "link", refused)
  with finished.from_runs(second, [first]):
    assert _stage(second).begin()
  assert (second / "pool/counts.json").stat().st_nlink == 1
  assert not checksums.find_damage(second / "pool")


def test_folders_in_a_bucket_are_copied(first, bucket, tmp_path):
  from etils import epath

  second, third = epath.Path("gs://fake/second"), tmp_path / "third"
  with finished.from_runs(second, [first]):
    assert _stage(second).begin()
  with finished.from_runs(third, [second]):
    assert _stage(third).begin()
  counts = files.read_json(third / "pool/counts.json")
  assert counts == files.read_json(first / "pool/counts.json")


def test_programs_of_another_run_are_copied_by_their_ledger(first, tmp_path):
  theirs = first / "compiled"
  files.write_bytes(theirs / "jit_f-cache", b"program")
  (theirs / "half-cache").write_bytes(b"of a kill")
  second = tmp_path / "second"
  with finished.from_runs(second, [first]):
    finished.take_programs(second / "compiled")
    (theirs / "later-cache").write_bytes(b"")
    finished.take_programs(second / "compiled")  # It has its own by now.
  names = {path.name for path in (second / "compiled").iterdir()}
  assert names == {"jit_f-cache", checksums.FILE}
