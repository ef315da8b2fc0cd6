"""A sweep: points that share stages, one that fails, and the same again."""

import json
import os
import pathlib
import re
import runpy
import sys

import pytest
from etils import epath

from ila_jax import errors, main
from ila_jax.run import stage_record
from ila_jax.sweep import command, points, runs
from tests.support import forked, tiny

# As the quickstart, with a sweep whose second point is refused.
_CONFIG = """
import pathlib

from tests.support import tiny

SOURCE = pathlib.Path(__file__).with_name("pool.jsonl")


def get_config():
  return tiny.config_dict(SOURCE, score__reference_seeds=(0,))


def sweep_depth():
  for depth in ("ila", "no_such_depth", "ila_length"):
    yield {"landscape.depth": depth}
"""


@pytest.fixture
def config(tmp_path):
  tiny.write(tmp_path / "pool.jsonl", tiny.records(160))
  path = tmp_path / "mine.py"
  path.write_text(_CONFIG)
  return str(path)


@pytest.fixture
def started(monkeypatch):
  """The commands that were started; each in a process that is quickly there."""
  commands = []

  def run(self, words):
    del self
    commands.append(words)
    done = forked.run(*words[1:])
    sys.stderr.write(done.stderr)
    lines = done.stderr.splitlines() if done.returncode else []
    return runs.Ended(done.returncode, 1.0, runs.message(lines))

  monkeypatch.setattr(runs.Stopper, "run", run)
  return commands


def test_points_share_stages_and_one_that_fails_ends_nothing(
  config, tmp_path, started, capsys
):
  folder = tmp_path / "sweep"
  words = [f"--config={config}", "--sweep", "depth", f"--workdir={folder}"]
  words += ["--stages", "pool,embed,score,landscape,select,report"]
  assert command.run(words) == 2
  said = capsys.readouterr().err
  assert len(started) == 3
  lines = [
    json.loads(line)
    for line in (folder / "sweep-depth.jsonl").read_text().splitlines()
  ]
  assert [line["state"] for line in lines] == ["done", "failed", "done"]
  assert "no_such_depth" in lines[1]["message"]
  assert "2 of 3 points are done" in said
  first, last = (folder / f"depth={name}" for name in ("ila", "ila_length"))
  for stage in ("pool", "embed", "score", "model"):
    record = stage_record.read_record(last / stage)
    assert record["copied_from"] == str(first / stage)
  for stage in ("landscape", "select"):
    record = stage_record.read_record(last / stage)
    assert record["done"] and "copied_from" not in record
  # The same again starts what failed, and nothing else.
  assert command.run(words) == 2
  assert re.findall(r"\[(.*)\] skipped", capsys.readouterr().err) == [
    "depth=ila",
    "depth=ila_length",
  ]
  assert len(started) == 4 and "no_such_depth" in " ".join(started[-1])
  # With another flag no point is done, and each run looks at its folder.
  states = {}
  for more in ([], ["--config.seed=1"]):
    flags, rest = command._parse([*words, *more])
    found = points.of_sweep(config, "depth")
    sweep = command._Sweep(flags, rest, found, epath.Path(folder))
    states[len(more)] = {line["state"] for line in sweep._lines().values()}
  assert states == {0: {"done", "failed"}, 1: {"not begun"}}


def test_a_stop_ends_the_sweep_and_the_same_command_goes_on(
  config, tmp_path, monkeypatch, capsys
):
  folder, statuses = tmp_path / "sweep", [0, 130]
  monkeypatch.setattr(
    runs.Stopper, "run", lambda self, words: runs.Ended(statuses.pop(0), 1, "")
  )
  monkeypatch.setattr(
    command.answers,
    "of_run",
    lambda workdir: {"sentence": "It helped.", "law": None, "check": []},
  )
  words = [f"--config={config}", "--sweep=depth", f"--workdir={folder}"]
  for name in ("ila", "no_such_depth", "ila_length"):
    (folder / f"depth={name}").mkdir(parents=True)
    (folder / f"depth={name}/manifest.json").write_text("{}")
  assert command.run(words) == 130
  assert "1 of 3 points are done" in capsys.readouterr().err
  statuses += [0, 1]
  assert command.run(words) == 1
  assert "depth=ila: It helped." in capsys.readouterr().err
  statuses += [0]
  assert command.run(words) == 0


def test_sweeps_are_listed(capsys):
  assert command.run([]) == 0
  said = capsys.readouterr().out
  assert "--config scaling --sweep depth\n  depth=ila\n" in said
  assert "projection=tsne,cells=grid" in said


def test_it_is_launched_from_a_checkout(monkeypatch, capsys):
  script = pathlib.Path(__file__).parents[2] / "launch/sweep.py"
  monkeypatch.setattr(sys, "argv", [str(script), "--config", "scaling"])
  monkeypatch.setattr(sys, "path", list(sys.path))
  monkeypatch.setenv("PYTHONPATH", "elsewhere")
  with pytest.raises(SystemExit) as ended:
    runpy.run_path(str(script), run_name="__main__")
  assert ended.value.code == 0
  assert "--sweep depth" in capsys.readouterr().out
  # The runs find the package, too.
  first = os.environ["PYTHONPATH"].split(os.pathsep)[0]
  assert pathlib.Path(first) == script.parents[1]


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--sweep=depth"], "ila sweep: --config is not set"),
    (["--sweep=depth", "--config=scaling"], "--workdir is not set"),
    (["--sweep=depth", "--redo=pool"], "--redo does not go with"),
    (
      ["--sweep=depth", "--config.landscape.depth=ila"],
      "--config.landscape.depth is set by the sweep",
    ),
    (["--config=quickstart"], "quickstart, which has no sweep"),
  ],
)
def test_words_that_are_wrong_are_refused(words, message, tmp_path):
  if "not set" not in message and "--sweep=depth" in words:
    words = [*words, "--config=scaling", f"--workdir={tmp_path}"]
  with pytest.raises(errors.InputError, match=message):
    command.run(words)


def test_the_folder_of_a_run_is_no_folder_of_a_sweep(config, tmp_path):
  (tmp_path / "manifest.json").write_text("{}")
  words = [f"--config={config}", "--sweep=depth", f"--workdir={tmp_path}"]
  with pytest.raises(errors.InputError, match="the folder of one run"):
    command.run(words)


def test_redo_and_reuse_do_not_go_together(monkeypatch, capsys, tmp_path):
  words = ["--redo=score", f"--reuse={tmp_path}", f"--workdir={tmp_path}"]
  monkeypatch.setattr(sys, "argv", ["ila", "--config=quickstart", *words])
  assert main.main() == 2
  assert "--redo=score makes a stage anew" in capsys.readouterr().err
