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
# The run in the bucket is killed when it begins to write this: the losses of
# the base are there, and the model is trained and has no weights yet.
_LAST = "run/score/reference-0/model.safetensors"


def _command(workdir, source):
  flags = tiny.flags(source, **_SETTINGS)
  stages = f"--stages={','.join(_STAGES)}"
  return ["-m", "ila_jax", f"--workdir={workdir}", *flags, stages]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
  """A run that has selected, on a disk: (folder of its pool, workdir)."""
  folder = tmp_path_factory.mktemp("run")
  (folder / "pool").mkdir()
  rows = tiny.records(220)
  tiny.write(folder / "pool/a.jsonl", rows[:100])
  tiny.write(folder / "pool/b.jsonl", rows[100:])
  done = forked.run(*_command(folder / "work", folder / "pool/*.jsonl"))
  assert done.returncode == 0, done.stderr
  return folder / "pool", folder / "work"


@pytest.fixture(scope="module")
def remote(local, gcs):
  """The same in a bucket, killed and begun again."""
  gcs.clear()
  for path in local[0].iterdir():
    gcs.put(f"pool/{path.name}", path.read_bytes())
  command = _command(_WORKDIR, "gs://fake/pool/*.jsonl")
  assert _exit_status(gcs, command, _LAST) == -signal.SIGKILL
  assert _LAST not in gcs.names()
  assert _exit_status(gcs, command) == 0
  yield gcs
  gcs.clear()


def _exit_status(gcs, command, name=None):
  """Of a run that is killed when it begins to write an object."""
  process = forked.start(*command)

  def kill(method, asked):
    if method == "POST" and asked == name:
      process.end()

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
  content = {}
  for workdir in (local[1], _WORKDIR):
    out = tmp_path / str(len(content))
    assert type_it("export", workdir, "--to=trl", f"--out={out}")[0] == 0
    content[workdir] = (out / "train.jsonl").read_bytes()
  assert content[local[1]] == content[_WORKDIR] != b""


def test_a_redo_sets_aside_and_makes_anew(remote):
  before = remote.content("run/select/selected.jsonl")
  config = tiny.config("gs://fake/pool/*.jsonl", **_SETTINGS)
  remote.asked.clear()
  pipeline.run(config, _WORKDIR, stages=("select",), redo="select")
  assert remote.content("run/select/selected.jsonl") == before
  assert "POST run/select/selected.jsonl" in remote.asked
  assert not remote.names(f"run/{run_folder.OLD}/")
  assert json.loads(remote.content("run/select/stage.json"))["done"]
