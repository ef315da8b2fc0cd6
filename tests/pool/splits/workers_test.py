"""Workers: any number makes the same; what was read is not read again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from etils import epath

from ila_jax import errors, pipeline
from ila_jax.pool.splits import merge as merge_lib
from ila_jax.pool.splits import shares, splits, task, workers
from ila_jax.run import tables
from tests.pool.splits import merge_test
from tests.support import forked, tiny


@pytest.fixture
def source(tmp_path):
  return tiny.write(tmp_path / "pool.jsonl", tiny.records(90))


def _config(source, **overrides):
  settings = {
    "pool__split_bytes": 3000,
    "pool__limit": None,
    "pool__dev_examples": 5,
    "score__reference_examples": 5,
    "tokens__overflow": "reject",
    "pool__workers": 1,
  }
  return tiny.config(source, **settings | overrides)


def _contents(work):
  """The files of all splits, but for their ledgers."""
  folder = work / "pool_splits"
  return {
    path.relative_to(folder): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file() and path.name != "checksums.json"
  }


def test_two_workers_write_what_one_process_writes(source, tmp_path):
  one, two = tmp_path / "one", tmp_path / "two"
  for work, asked in ((one, 1), (two, 2)):
    shares.run(_config(source, pool__workers=asked), work, "0/1")
  assert len(_contents(one)) >= 9
  assert _contents(one) == _contents(two)


def test_what_is_whole_is_not_read_again(source, tmp_path, monkeypatch):
  config = _config(source)
  with shares.opened(config, tmp_path / "work") as (job, cut):
    read, run = [], task.run

    def noted(job, tools, split, *rest):
      read.append(split.number)
      return run(job, tools, split, *rest)

    monkeypatch.setattr(task, "run", noted)

    def again():
      read.clear()
      passing = workers.finished(job, cut, tmp_path / "work", asked=1)
      assert [split.number for split in passing] == list(range(len(cut)))
      return list(read)

    assert again() == list(range(len(cut)))
    assert again() == []
    # One that was killed before its end, one that is damaged.
    tables.SPLIT.path(tmp_path / "work", shard=1).unlink()
    damaged = tables.SPLIT_RECORDS.path(tmp_path / "work", shard=2)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert again() == [1, 2]
    # A file that has changed, and a job that has.
    content = epath.Path(source).read_text()
    epath.Path(source).write_text(content)
    os.utime(source, ns=(1, 1))
    assert again() == list(range(len(cut)))
  longer = _config(source, tokens__max_tokens=200)
  with shares.opened(longer, tmp_path / "work") as (other, cut):
    assert other.key(cut[0]) != job.key(cut[0])


def test_what_is_wrong_in_a_worker_is_told_as_ever(tmp_path):
  path = tmp_path / "pool.jsonl"
  rows = [json.dumps(row) for row in tiny.records(60)]
  path.write_text("\n".join(rows))
  config = _config(path, pool__workers=2)
  with shares.opened(config, tmp_path / "work") as (job, cut):
    tables.SPLIT.path(tmp_path / "work", shard=0).parent.mkdir(parents=True)
    # A folder stands where a file is to be.
    tables.SPLIT.path(tmp_path / "work", shard=0).mkdir()
    with pytest.raises(OSError, match="directory"):
      list(workers.finished(job, cut, tmp_path / "work", asked=2))


def test_a_killed_worker_ends_the_run_with_file_and_line(
  source, tmp_path, monkeypatch
):
  config = _config(source, pool__workers=2)
  ask = workers._Worker.ask

  def killed(self, what, split):
    if split is not None and split.number == 2:
      os.kill(self._process.pid, signal.SIGKILL)
      self._process.wait()
    ask(self, what, split)

  with shares.opened(config, tmp_path / "work") as (job, cut):
    monkeypatch.setattr(workers._Worker, "ask", killed)
    with pytest.raises(errors.InputError) as caught:
      list(workers.finished(job, cut, tmp_path / "work", asked=2))
    said = str(caught.value)
    assert "was killed by SIGKILL while it read" in said
    assert os.path.basename(source) in said and "--config.pool.workers" in said
    monkeypatch.undo()
    found = list(workers.finished(job, cut, tmp_path / "work", asked=1))
    assert found == cut


def test_a_worker_ends_with_the_process_that_asks(source, tmp_path):
  work = tmp_path / "work"
  with shares.opened(_config(source), work) as (job, cut):
    # Its source is a pipe now that nobody writes to: it reads for ever.
    os.unlink(source)
    os.mkfifo(source)
    worker = subprocess.Popen(
      [sys.executable, "-m", "ila_jax.pool.splits.worker"],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    with worker:
      for line in ([str(work), job.text()], cut[0]):
        worker.stdin.write(json.dumps(line) + "\n")
      worker.stdin.flush()
      with open(source, "w"):  # Waits until it is opened for reading.
        worker.stdin.close()
        try:
          assert worker.wait(20) == 0
        finally:
          worker.kill()
  assert not tables.SPLIT.path(work, shard=0).exists()


def test_the_place_of_a_worker_counts_the_lines_before(source):
  cut = splits.of([str(source)], most_bytes=3000)
  text = workers._place(cut[1], [str(source), 3, 3])
  with open(source, "rb") as file:
    before = file.read(3000).count(b"\n") + 1
  assert text == f"{source} after line {before + 3}"


def test_a_small_input_is_read_without_workers():
  def some(size, count):
    one = splits.spans.Span("a.jsonl", None, size=size)
    return [splits.Split(i, (one,)) for i in range(count)]

  assert workers.count(some(1000, 50), 0) == 1
  assert workers.count(some(1 << 24, 500), 0) == workers.cores()
  assert workers.count(some(1 << 24, 1), 0) == 1
  assert workers.count(some(1000, 50), 3) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_goes_on_with_what_was_read(tmp_path, number):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(900))
  work = tmp_path / "work"
  settings = {
    "pool__split_bytes": 4000,
    "pool__limit": 1_000_000,  # A flag cannot say None here.
    "pool__workers": 2,
    "pool__dev_examples": 5,
    "score__reference_examples": 5,
  }
  words = [*tiny.flags(source, **settings), "--stages=pool"]
  mark = tables.SPLIT.path(work, shard=1)
  for _ in range(5):
    run = forked.start("-m", "ila_jax", *words, f"--workdir={work}")
    end = time.monotonic() + 120
    while run.is_alive() and not mark.exists():
      assert time.monotonic() < end
      time.sleep(0.02)
    if run.is_alive():
      run.send_signal(number)
    run.join(30)
    if (work / "pool_splits").exists():
      break
    shutil.rmtree(work)  # On a busy machine it was done by then.
  assert run.exitcode == (143 if number == signal.SIGTERM else -number)
  there = list((work / "pool_splits").iterdir())
  assert len(there) >= 2
  read = {path: os.stat(path).st_mtime_ns for path in [mark]}
  settings["pool__workers"] = 1
  made = []

  def merged(merge, split, root):
    made.append(split.number)
    if split.number == 1:
      assert os.stat(mark).st_mtime_ns == read[mark]
    add(merge, split, root)

  add = merge_lib.Merge.add
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(merge_lib.Merge, "add", merged)
    pipeline.run(tiny.config(source, **settings), work, stages=["pool"])
  alone = tmp_path / "alone"
  pipeline.run(tiny.config(source, **settings), alone, stages=["pool"])
  assert len(made) > len(there)  # No worker has gone on alone.
  assert merge_test._made(work) == merge_test._made(alone)
