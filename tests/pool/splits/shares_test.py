"""Shares: what was read beforehand is merged by the run."""

import pytest

from ila_jax import errors, pipeline
from ila_jax.pool.splits import shares, task
from ila_jax.run import tables
from tests.pool.splits import merge_test
from tests.support import forked, hosts, tiny

_FLAGS = {
  "pool__split_bytes": 4000,
  "pool__limit": None,
  "pool__dev_examples": 5,
  "score__reference_examples": 5,
  "pool__workers": 1,
}


def test_tasks_before_a_run_make_what_it_makes_alone(tmp_path, monkeypatch):
  source = merge_test._pool(tmp_path / "source")
  config = tiny.config(source, **_FLAGS)
  alone, work = tmp_path / "alone", tmp_path / "work"
  pipeline.run(config, alone, stages=["pool"])
  said = [shares.run(config, work, f"{i}/3") for i in range(3)]
  assert "task 2 of 3: its " in said[2] and "merges them" in said[2]
  monkeypatch.setattr(task, "run", None)  # Nothing is left to read.
  pipeline.run(config, work, stages=["pool"])
  assert merge_test._made(work) == merge_test._made(alone)
  # A task that is late leaves nothing behind.
  assert "is done, so nothing is read" in shares.run(config, work, "0/3")
  assert not task.folder(work).exists()


def test_the_command_reads_its_share(tmp_path):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(90))
  words = [*tiny.flags(source, **_FLAGS), f"--workdir={tmp_path / 'work'}"]
  done = forked.run("-m", "ila_jax", "pool", "--tasks=1/2", *words)
  assert done.returncode == 0, done.stderr
  assert "task 1 of 2: its " in done.stderr
  there = sorted(
    path.name for path in (tmp_path / "work" / "pool_splits").iterdir()
  )
  assert there and all(int(name) % 2 for name in there)
  for more, said in (
    (["pool", "--tasks=2/2"], "--tasks is '2/2'; allowed: i/N with i from 0"),
    (["pool"], "`ila pool` and --tasks go together"),
    (["--tasks=0/2"], "`ila pool` and --tasks go together"),
    (["pool", "--tasks=0/2", "--dry-run"], "--dry_run does not go with"),
  ):
    wrong = forked.run("-m", "ila_jax", *more, *words)
    assert (wrong.returncode, said in wrong.stderr) == (2, True), wrong.stderr


@pytest.mark.parametrize(
  "text", ["", "1", "a/2", "-1/2", "2/2", "0/0", "1/2/3"]
)
def test_a_share_that_is_none_is_refused(text):
  with pytest.raises(errors.InputError, match="allowed: i/N"):
    shares.splits_lib.share(text)


def test_a_folder_of_someone_else_is_left_alone(tmp_path):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(9))
  (tmp_path / "work").mkdir()
  (tmp_path / "work" / "notes.txt").write_text("mine")
  with pytest.raises(errors.InputError, match="not a folder of ila_jax"):
    shares.run(tiny.config(source, **_FLAGS), tmp_path / "work", "0/1")
  assert not tables.MANIFEST.path(tmp_path / "work").exists()


_HOST = """
import sys
from tests.support import hosts, tiny
host = hosts.join(sys.argv[1:3], devices=1)
source, work, others = sys.argv[3:]
from ila_jax import pipeline
from ila_jax.pool.splits import task
run = task.run
def noted(job, tools, split, *rest):
  print("read", split.number)
  return run(job, tools, split, *rest)
task.run = noted
if host and others == "miss":  # Its disk has no such folder.
  from ila_jax.pool.splits import splits as splits_lib
  of = splits_lib.of
  splits_lib.of = lambda specs, **options: of(
    [f"{spec}.elsewhere" for spec in specs], **options
  )
from tests.pool.splits import shares_test
config = tiny.config(source, **shares_test._FLAGS)
pipeline.run(config, work, stages=["pool"])
"""


def test_hosts_share_the_splits(tmp_path):
  source = merge_test._pool(tmp_path / "source")
  alone = tmp_path / "alone"
  pipeline.run(tiny.config(source, **_FLAGS), alone, stages=["pool"])
  for others in ("see", "miss"):
    work = tmp_path / others
    said = hosts.run(_HOST, source, work, others, seconds=200)
    read = [
      [int(line.split()[1]) for line in out.splitlines() if "read " in line]
      for out, _ in said
    ]
    everything = sorted(read[0] + read[1])
    assert everything == list(range(len(everything))) and len(everything) > 3
    if others == "see":
      assert {n % 2 for n in read[0]} == {0} and {n % 2 for n in read[1]} == {1}
    else:  # The first reads what the other cannot.
      assert read[1] == []
    assert merge_test._made(work) == merge_test._made(alone)
