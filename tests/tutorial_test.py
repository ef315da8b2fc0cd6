"""The tutorial's commands work, in its order, on a smaller run."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from tests.support import forked, tiny

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
TEXT = (CHECKOUT / "docs/tutorial.md").read_text()
# The test takes these instead, and leaves out what is not of the selection.
_SMALLER = (
  "--stages=pool,embed,score,landscape,select",
  *(
    f"--config.{name}={value}"
    for name, value in tiny.OVERRIDES.items()
    if not name.startswith(("scaling.", "finetune."))
  ),
)


def _blocks(language: str) -> list[str]:
  return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)


def _commands() -> list[list[str]]:
  lines = "".join(_blocks("sh")).replace("\\\n", "").splitlines()
  return [shlex.split(line) for line in lines]


class _Shell:
  """Runs the commands of the tutorial in a folder."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder

  def __call__(self, words: list[str]) -> tuple[int, str]:
    """The exit status, and what was said."""
    if words[0] == "ila":
      words = [*words, *(_SMALLER if "--workdir" in words else ())]
      done = forked.run("-m", "ila_jax", *words[1:], cwd=self._folder)
      return done.returncode, done.stdout + done.stderr
    if words[0] == "python":
      words = [sys.executable, *words[1:]]
    done = subprocess.run(
      words,
      cwd=self._folder,
      env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
      capture_output=True,
      text=True,
      check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
  """A folder in which the tutorial's pool has been made by its own words."""
  folder = tmp_path_factory.mktemp("tutorial")
  program, _ = _blocks("python")
  (folder / "make_pool.py").write_text(program)
  run = _Shell(folder)
  status, said = run(["python", "make_pool.py"])
  assert status == 0, said
  return run, folder, said


def test_the_pool_is_large_enough_for_the_preset(shell):
  _, folder, said = shell
  rows = (folder / "my_pool.jsonl").read_text().splitlines()
  assert said == f"{len(rows):,} records\n"
  assert 2000 < len(rows) < 4000  # The preset reads no more.
  assert {frozenset(json.loads(row)) for row in rows} == {
    frozenset(("question", "answer", "topic"))
  }


def test_the_commands_work_in_their_order(shell):
  run, folder, _ = shell
  commands = _commands()
  # The others install, print a file, or take time: the dry run.
  choose, another, redo = (
    words
    for words in commands
    if words[0] == "ila" and "--workdir" in words and "--dry-run" not in words
  )
  status, said = run(choose)
  assert status == 0, said
  assert "domain = topic" in said
  chosen = folder / "runs/tutorial/select/selected.jsonl"
  first = chosen.read_text()
  status, said = run(another)
  assert status == 2
  (shown,) = [text for text in _blocks("text") if text.startswith("ila_jax: ")]
  assert " ".join(shown.split()).split(";")[0] in said
  assert chosen.read_text() == first
  status, said = run(redo)
  assert status == 0, said
  assert chosen.read_text() != first
  (export,) = [words for words in commands if words[:2] == ["ila", "export"]]
  status, said = run(export)
  assert status == 0, said
  assert (folder / "runs/tutorial/export/trl/train.jsonl").exists()


def test_all_else_in_its_commands_is_there():
  for words in _commands():
    assert words[0] in ("ila", "python", "python3", "pip", "head", "source")
    if words[0] == "head":
      assert words[-1] in (
        "my_pool.jsonl",
        "runs/tutorial/select/selected.jsonl",
      )
