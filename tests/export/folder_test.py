"""An export is whole or absent, and goes over nobody's files."""

import pytest

from ila_jax import errors
from ila_jax.export import folder


def _write(target, text="one"):
  with folder.replacing(target) as fresh:
    (fresh / "data").mkdir()
    (fresh / "data/a.txt").write_text(text)


def _beside(target):
  return [path.name for path in target.parent.iterdir()]


def test_an_earlier_export_is_replaced(tmp_path):
  target = tmp_path / "new/hf"
  _write(target)
  _write(target, "two")
  assert (target / "data/a.txt").read_text() == "two"
  assert _beside(target) == ["hf"]


def test_an_empty_folder_is_taken(tmp_path):
  _write(tmp_path)
  assert (tmp_path / "data/a.txt").exists()


@pytest.mark.parametrize("is_first", [True, False])
def test_what_fails_leaves_all_as_it_was(tmp_path, is_first):
  target = tmp_path / "hf"
  if not is_first:
    _write(target)
  with pytest.raises(KeyboardInterrupt), folder.replacing(target) as fresh:
    (fresh / "b.txt").write_text("half")
    raise KeyboardInterrupt
  assert _beside(target) == ([] if is_first else ["hf"])
  if not is_first:
    assert (target / "data/a.txt").read_text() == "one"


def _added(target):
  (target / "notes.txt").write_text("mine")


def _changed(target):
  (target / "data/a.txt").write_text("my edit")


def _foreign(target):
  (target / folder.NOTE).unlink()


def _damaged(target):
  (target / folder.NOTE).write_text("{")


@pytest.mark.parametrize(
  ("do", "said"),
  [
    (_added, r"holds notes\.txt"),
    (_changed, r"holds data/a\.txt, which"),
    (_foreign, r"holds data, and no ila_export\.json"),
    (_damaged, r"and no ila_export\.json"),
  ],
)
def test_what_is_not_ours_is_left(tmp_path, do, said):
  target = tmp_path / "hf"
  _write(target)
  do(target)
  before = {
    path: path.is_dir() or path.read_bytes() for path in target.rglob("*")
  }
  with pytest.raises(errors.InputError, match=said):
    _write(target, "two")
  after = {
    path: path.is_dir() or path.read_bytes() for path in target.rglob("*")
  }
  assert before == after
  assert _beside(target) == ["hf"]


def test_a_file_is_no_folder(tmp_path):
  (tmp_path / "hf").write_text("mine")
  with pytest.raises(errors.InputError, match="is a file"):
    _write(tmp_path / "hf")


def test_what_comes_meanwhile_is_left(tmp_path):
  target = tmp_path / "hf"
  refused = pytest.raises(errors.InputError, match=r"holds mine\.txt")
  with refused, folder.replacing(target):
    target.mkdir()
    (target / "mine.txt").write_text("mine")
  assert (target / "mine.txt").read_text() == "mine"
  assert _beside(target) == ["hf"]
