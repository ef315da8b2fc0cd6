"""Skipped, resumed or refused, by what a stage was made from."""

import pathlib
import time

import pytest

from ila_jax import errors
from ila_jax.pool import revisions
from ila_jax.run import stage_record
from ila_jax.run.disk import files


def test_stage_is_claimed_resumed_and_skipped(tmp_path):
  def stage():
    return stage_record.Stage(tmp_path, "pool", {"config": {"limit": 5}})

  assert not stage().begin()
  with pytest.raises(errors.InputError, match="has not finished"):
    stage_record.output(tmp_path, "pool")
  assert not stage().begin()  # resumes
  stage().finish(output="abc", used=7)
  assert stage().begin()
  made = stage_record.output(tmp_path, "pool")
  assert made == stage_record.fingerprint(["abc"])


def test_parents_are_those_of_the_graph_and_must_be_done(tmp_path):
  stage = stage_record.Stage(tmp_path, "embed", {})
  stage.begin()
  stage.finish(output="abc")
  assert stage_record.parents(tmp_path, "pool") == {}
  with pytest.raises(errors.InputError, match="'score' is needed"):
    stage_record.parents(tmp_path, "landscape")
  stage = stage_record.Stage(tmp_path, "score", {})
  stage.begin()
  stage.finish(output="def")
  assert stage_record.parents(tmp_path, "landscape") == {
    "embed": stage_record.fingerprint(["abc"]),
    "score": stage_record.fingerprint(["def"]),
  }


def test_stage_of_another_run_is_refused_and_kept(tmp_path):
  first = stage_record.Stage(tmp_path, "pool", {"config": {"limit": 5, "x": 1}})
  first.begin()
  (tmp_path / "pool/data").write_text("precious")
  other = stage_record.Stage(tmp_path, "pool", {"config": {"limit": 6, "x": 1}})
  with pytest.raises(
    errors.InputError, match=r"config.limit was 5 and is now 6.*--redo=pool"
  ):
    other.begin()
  assert (tmp_path / "pool/data").read_text() == "precious"


def test_a_claim_that_made_nothing_binds_nobody(tmp_path):
  stage_record.Stage(tmp_path, "select", {"budget": 9}).begin()
  later = stage_record.Stage(tmp_path, "select", {"budget": 5})
  assert not later.begin()
  later.finish()
  assert later.begin()


def test_folder_without_a_record_is_refused(tmp_path):
  (tmp_path / "pool").mkdir()
  (tmp_path / "pool/mine.txt").write_text("precious")
  with pytest.raises(errors.InputError, match="that no run of ila_jax"):
    stage_record.Stage(tmp_path, "pool", {}).begin()
  assert (tmp_path / "pool/mine.txt").read_text() == "precious"


def test_what_a_killed_writer_left_is_no_content(tmp_path):
  (tmp_path / "pool").mkdir()
  (tmp_path / "pool/.stage.json.123.tmp").write_text("{")
  stage = stage_record.Stage(tmp_path, "pool", {})
  assert not stage.begin()
  stage.finish()
  assert stage.begin()


@pytest.mark.parametrize("replace", ["unfinished", "all"])
def test_an_unfinished_stage_may_be_replaced(tmp_path, replace):
  stage_record.Stage(tmp_path, "pool", {"limit": 5}).begin()
  files.write_bytes(tmp_path / "pool/half", b"half")
  other = stage_record.Stage(tmp_path, "pool", {"limit": 6})
  with pytest.raises(errors.InputError, match="limit was 5"):
    other.begin()
  assert not other.begin(replace=replace)
  assert not (tmp_path / "pool/half").exists()


def test_a_finished_stage_is_replaced_only_where_all_may_be(tmp_path):
  first = stage_record.Stage(tmp_path, "report", {"limit": 5})
  first.begin()
  first.finish()
  other = stage_record.Stage(tmp_path, "report", {"limit": 6})
  with pytest.raises(errors.InputError, match="limit was 5"):
    other.begin(replace="unfinished")
  assert not other.begin(replace="all")


def test_signatures_tell_files_apart(tmp_path):
  (tmp_path / "a").write_text("one")
  before = revisions.of_path(tmp_path)
  assert revisions.of_path(tmp_path) == before
  (tmp_path / "a").write_text("two")
  assert revisions.of_path(tmp_path) != before
  assert revisions.of_path(tmp_path / "absent") is None


def test_what_a_killed_run_had_spent_is_carried_on(tmp_path, monkeypatch):
  now = [0.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  first = stage_record.Stage(tmp_path, "score", {"limit": 5})
  assert not first.begin()
  first.account.add(flops=7e9, tokens=3, cells=4)
  now[0] = 10.0
  first.save_progress()
  now[0] = 500.0  # It was killed, and started again much later.
  second = stage_record.Stage(tmp_path, "score", {"limit": 5})
  assert not second.begin()
  second.account.add(flops=1e9, tokens=2, cells=2)
  now[0] = 505.0
  second.finish(matrix_rate=1e9)
  record = files.read_json(tmp_path / "score/stage.json")
  assert record["done"]
  names = ("seconds", "flops", "tokens", "cells")
  assert [record[name] for name in names] == [15.0, 8e9, 5, 6]
  assert record["utilisation"] == pytest.approx(8 / 15)


def test_another_run_does_not_carry_on_what_was_spent(tmp_path):
  first = stage_record.Stage(tmp_path, "score", {"limit": 5})
  first.begin()
  first.account.add(flops=7e9)
  first.save_progress()
  other = stage_record.Stage(tmp_path, "score", {"limit": 6})
  assert not other.begin(replace="unfinished")
  assert other.account.totals()["flops"] == 0


def test_a_model_is_told_by_the_commit_or_by_its_files(tmp_path, monkeypatch):
  asked = []

  def find(path, *, with_weights=True):
    asked.append((path, with_weights))
    return pathlib.Path("/cache/models--org--m/snapshots/0a1b2c")

  monkeypatch.setattr(revisions.hub, "find", find)
  assert revisions.of_model("hf:org/m@main") == "0a1b2c"
  # The weights are not fetched to tell.
  assert asked == [("hf:org/m@main", False)]
  (tmp_path / "config.json").write_text("{}")
  found = revisions.of_model(tmp_path)
  assert found == revisions.of_path(tmp_path) and "config.json" in found
  assert len(asked) == 1
