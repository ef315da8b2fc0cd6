"""What a run has said stands in its folder, and what it is at."""

import json
import os
import pathlib
import re
import time

import pytest
from etils import epath

from ila_jax import errors
from ila_jax.run import interrupts, log, progress, tables


@pytest.fixture(autouse=True)
def nothing_said():
  """A log without what other tests have said."""
  log.begin()


def _texts(folder: pathlib.Path) -> list[str]:
  """The lines of a log, without their times."""
  lines = tables.LOG.path(folder).read_text().splitlines()
  for line in lines:
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  ", line), line
  return [line[22:] for line in lines]


def test_what_is_said_is_kept_over_several_runs(tmp_path, capsys):
  for number in range(2):
    log.begin()
    progress.say(f"versions {number}")  # Before the folder is known.
    with log.kept(tmp_path):
      progress.say("[pool]\n  a second line")
    progress.say("said of no run")
  texts = _texts(tmp_path)
  assert texts[0].startswith(f"run by process {os.getpid()} on host")
  assert texts[1:5] == [
    *("versions 0", "[pool]", "  a second line", "ended: done"),
  ]
  assert texts[6:] == ["versions 1", *texts[2:5]]
  assert "[pool]\n  a second line\n" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("error", "said"),
  [
    (errors.InputError("x is 1; allowed: 2."), ["ended: x is 1; allowed: 2."]),
    (
      interrupts.Stopped(15, "training is saved at step 5/9"),
      ["ended: stopped by SIGTERM; training is saved at step 5/9"],
    ),
    (OSError(28, "No space left"), ["ended: [Errno 28] No space left"]),
  ],
)
def test_how_a_run_ended_is_told(tmp_path, error, said):
  with pytest.raises(type(error)), log.kept(tmp_path):
    raise error
  assert _texts(tmp_path)[1:] == said


def test_a_bug_is_told_with_its_place(tmp_path):
  with pytest.raises(ZeroDivisionError), log.kept(tmp_path):
    raise ZeroDivisionError("a bug")
  texts = _texts(tmp_path)
  assert texts[1].startswith("ended: Traceback")
  assert any("log_test.py" in text for text in texts)
  assert texts[-1] == "ZeroDivisionError: a bug"


def test_a_line_that_was_cut_is_ended(tmp_path):
  tables.LOG.path(tmp_path).write_text("half of a li")
  with log.kept(tmp_path):
    progress.say("half a \ud83d pair")
  lines = tables.LOG.path(tmp_path).read_text().splitlines()
  assert lines[0] == "half of a li" and "run by" in lines[1]
  assert lines[2].endswith("half a ? pair")


def test_a_run_goes_on_without_a_log(tmp_path, capsys):
  tables.LOG.path(tmp_path).mkdir()
  tables.PROGRESS.path(tmp_path).mkdir()
  with log.kept(tmp_path):
    progress.say("one")
    log.enter("pool")
    progress.say("two")
  said = capsys.readouterr().err.splitlines()
  assert [line for line in said if "warning" not in line] == ["one", "two"]
  (warning,) = [line for line in said if "warning" in line]
  assert f"{tables.LOG.path(tmp_path)} cannot be written" in warning


def test_progress_is_there_while_a_run_is(tmp_path, monkeypatch):
  path = tables.PROGRESS.path(tmp_path)
  monkeypatch.setattr(log, "_SECONDS", 0.01)
  with log.kept(tmp_path):
    log.enter("scaling")
    assert json.loads(path.read_text())["works"] == []
    with (
      progress.counter(4, desc="scaling", unit="subsets") as outer,
      progress.counter(None, desc="train", unit="steps") as inner,
    ):
      outer(1)
      inner(5, total=9)
      deadline = time.monotonic() + 60
      while True:
        found = json.loads(path.read_text())
        if [work["done"] for work in found["works"]] == [1, 5]:
          break
        assert time.monotonic() < deadline
        time.sleep(0.01)
    outer, inner = found["works"]
    assert (outer["what"], outer["total"]) == ("scaling", 4)
    assert (inner["what"], inner["total"], inner["unit"]) == (
      *("train", 9, "steps"),
    )
    assert inner["left"] >= 0
  assert found["stage"] == "scaling"
  assert {p.name for p in tmp_path.iterdir()} == {tables.LOG.file()}


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_logged_now_and_then(
  tmp_path, monkeypatch, terminal, capsys
):
  monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
  with log.kept(tmp_path):
    with progress.counter(60, desc="train", unit="steps") as advance:
      now = time.monotonic()
      for minute in range(1, 31):
        clock = now + 60 * minute
        monkeypatch.setattr(time, "monotonic", lambda at=clock: at)
        advance(1)
      monkeypatch.undo()
      monkeypatch.setattr(time, "monotonic", lambda: clock)
    monkeypatch.undo()
  texts = [text for text in _texts(tmp_path) if "  train:" in text]
  assert [text.split(" in ")[0] for text in texts] == [
    f"  train: {done} steps" for done in ("10/60", "20/60", "30/60")
  ]
  assert "about 3000 s left" in texts[0]


def test_a_bucket_has_the_log_too(bucket):
  workdir = epath.Path("gs://fake/run")
  for number in range(2):
    with log.kept(workdir):
      progress.say(f"hello {number}")
      log.enter("pool")
      assert _texts(workdir)[-1] == f"hello {number}"
      assert "run/progress.json" in bucket.names()
  texts = _texts(workdir)
  assert [t for t in texts if "run by" not in t] == [
    *("hello 0", "ended: done", "hello 1", "ended: done"),
  ]
  assert bucket.names() == ["run/log.txt"]
