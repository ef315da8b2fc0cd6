"""A run in a bucket, from a pool in it: killed, resumed, then read."""

import json
import pathlib
import signal
import sys

import pytest

from ila_jax import main, pipeline
from ila_jax.run import interrupts
from ila_jax.run.disk import run_folder
from tests.support import forked, tiny

_WORKDIR = "gs://fake/run"
_STAGES = ("pool", "embed", "score", "landscape", "select")
_SETTINGS = {
  "landscape__projection": "pca",
  "landscape__stability": (),
  "score__reference_seeds": (0,),
}
# Where the run in the bucket is killed: before a checkpoint has its mark, and
# before a model has its weights.
_KILLS = (
  "model/checkpoints-base/3/commit_success.txt",
  "score/reference-0/model.safetensors",
)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
  """A run that has selected, on a disk: (folder of its pool, workdir)."""
  folder = tmp_path_factory.mktemp("run")
  (folder / "pool").mkdir()
  rows = tiny.records(220)
  tiny.write(folder / "pool/a.jsonl", rows[:100])
  tiny.write(folder / "pool/b.jsonl", rows[100:])
  config = tiny.config(folder / "pool/*.jsonl", **_SETTINGS)
  pipeline.run(config, folder / "work", stages=_STAGES)
  return folder / "pool", folder / "work"


@pytest.fixture(scope="module")
def remote(local, gcs):
  """The same in a bucket, killed twice and begun again."""
  gcs.clear()
  for path in local[0].iterdir():
    gcs.put(f"pool/{path.name}", path.read_bytes())
  flags = tiny.flags("gs://fake/pool/*.jsonl", **_SETTINGS)
  command = ["-m", "ila_jax", f"--workdir={_WORKDIR}", *flags]
  command.append(f"--stages={','.join(_STAGES)}")
  for name in _KILLS:
    assert _exit_status(gcs, command, f"run/{name}") == -signal.SIGKILL, name
    assert f"run/{name}" not in gcs.names()
  assert _exit_status(gcs, command) == 0
  yield gcs
  gcs.clear()


def _exit_status(gcs, command, name=None):
  """Of a run that is killed when it begins to write an object."""
  process = forked.start(*command)

  def kill(method, asked):
    if method == "POST" and asked == name:
      process.send_signal(signal.SIGKILL)
      process.join()

  gcs.fault = kill
  process.join(300)
  process.kill()
  process.join()
  gcs.fault = lambda method, asked: None
  return process.exitcode


@pytest.fixture
def type_it(monkeypatch, capsys):
  """Types a command: (exit status, what it says)."""

  def type_words(*words):
    monkeypatch.setattr(interrupts, "listen", lambda: None)
    monkeypatch.setattr(sys, "argv", ["ila", *map(str, words)])
    status = main.main()
    said = capsys.readouterr()
    return status, said.out + said.err

  return type_words


def _artifacts(names):
  """Files that hold results, and not when or where they were made."""
  left_out = ("stage.json", "checksums.json", "log.txt", "manifest.json")
  return {n for n in names if pathlib.PurePath(n).name not in left_out}


def test_a_run_in_a_bucket_is_the_run_on_a_disk(local, remote):
  _, workdir = local
  files = {
    str(path.relative_to(workdir)): path.read_bytes()
    for path in workdir.rglob("*")
    if path.is_file()
  }
  names = {name.removeprefix("run/") for name in remote.names("run/")}
  assert _artifacts(names) == _artifacts(files)
  for name in _artifacts(names):
    assert remote.content(f"run/{name}") == files[name], name
  # No half of a file has ever had a name.
  assert not [asked for asked in remote.asked if asked.endswith(".tmp")]


def test_it_is_read_by_all_commands(local, remote, type_it, tmp_path):
  status, said = type_it("status", _WORKDIR)
  assert status == 0 and "select" in said
  status, said = type_it("verify", _WORKDIR)
  assert status == 0, said
  assert "all is well" in said
  for name, workdir in (("here", local[1]), ("there", _WORKDIR)):
    type_it("export", workdir, "--to=jsonl", f"--out={tmp_path / name}")
  here, there = (
    {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()}
    for name in ("here", "there")
  )
  assert here and there.keys() == here.keys()


def test_what_is_damaged_is_told(remote, type_it):
  name = "run/select/selected.jsonl"
  content = remote.content(name)
  remote.put(name, content[:-9])
  status, said = type_it("verify", _WORKDIR)
  assert status == 1
  assert "select/selected.jsonl" in said
  remote.put(name, content)


def test_a_redo_sets_aside_and_makes_anew(remote):
  before = remote.content("run/select/selected.jsonl")
  config = tiny.config("gs://fake/pool/*.jsonl", **_SETTINGS)
  remote.asked.clear()
  pipeline.run(config, _WORKDIR, stages=("select",), redo="select")
  assert remote.content("run/select/selected.jsonl") == before
  assert "POST run/select/selected.jsonl" in remote.asked
  assert not remote.names(f"run/{run_folder.OLD}/")
  assert json.loads(remote.content("run/select/stage.json"))["done"]
