"""Folders that are removed and moved, and processes that die meanwhile."""

import pathlib

import pytest
from etils import epath

from ila_jax.run.disk import files, folders


class Killed(BaseException):
  """The process ends here: nothing may tidy up."""


def _fill(folder: pathlib.Path) -> dict[str, str]:
  for name in ("stage.json", "a/x", "a/y", "b/z"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(name)
  return _content(folder)


def _content(folder: pathlib.Path) -> dict[str, str]:
  return {
    str(path.relative_to(folder)): path.read_text()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def _die_at(monkeypatch, step: int) -> None:
  """The process dies at the change of that number that it makes to the disk."""
  path, left = type(epath.Path("x")), [step]
  for name in ("rmtree", "unlink", "write_text", "copy", "rename", "mkdir"):
    monkeypatch.setattr(path, name, _counted(getattr(path, name), left))


def _counted(true, left):
  def change(*args, **kwargs):
    if not left[0]:
      raise Killed
    left[0] -= 1
    return true(*args, **kwargs)

  return change


@pytest.mark.parametrize("step", range(6))
def test_a_killed_removal_is_finished(tmp_path, monkeypatch, step):
  folder = tmp_path / "pool"
  before = _fill(folder)
  with monkeypatch.context() as patch:
    _die_at(patch, step)
    try:
      folders.remove(folder)
    except Killed:
      assert step < 5
  folders.finish_removal(folder)
  # It is whole, before anything was done to it, or it is gone.
  if step:
    assert not folder.exists()
  else:
    assert _content(folder) == before


@pytest.mark.parametrize("step", range(3))
def test_a_killed_move_leaves_a_whole_folder(tmp_path, monkeypatch, step):
  folder, target = tmp_path / "score", tmp_path / ".old" / "score"
  before = _fill(folder)
  died = True
  with monkeypatch.context() as patch:
    _die_at(patch, step)
    try:
      folders.move(folder, target)
      died = False
    except Killed:
      pass
  for place in (folder, target):
    folders.finish_removal(place)
  held = [_content(place) for place in (folder, target) if place.exists()]
  assert before in held
  assert all(content == before for content in held if content)
  if not died:
    assert not folder.exists()


def test_sweep_removes_what_the_dead_left_and_nothing_else(tmp_path):
  mine = ["stage.json", ".hidden.tmp", ".x.tmp", "a/.notes.12ab.tmp", "a/x.tmp"]
  dead = [".stage.json.123.tmp", f"a/.model.safetensors.{'0a' * 8}.tmp"]
  for name in (*mine, *dead, "gone/.removed", "gone/half"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(name)
  folders.sweep(tmp_path)
  assert set(_content(tmp_path)) == set(mine)
  assert not (tmp_path / "gone").exists()
  folders.sweep(tmp_path / "absent")


def test_no_two_temporary_names_are_alike(tmp_path):
  names = {folders.temporary(tmp_path / "file") for _ in range(1000)}
  assert len(names) == 1000
  with files.atomic(tmp_path / "file") as file:
    file.write(b"half")
    assert not folders.visible(tmp_path)
  assert folders.visible(tmp_path) == {epath.Path(tmp_path / "file")}
