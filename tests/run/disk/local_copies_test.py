"""Copies of what is in a bucket."""

import errno

import pytest
from etils import epath

from ila_jax import errors
from ila_jax.run.disk import files, local_copies


def test_a_folder_is_copied_with_those_in_it(bucket, tmp_path):
  content = {"a.json": b"{}", "1_Pooling/config.json": b"1", "b": b""}
  for name, one in {**content, "": b""}.items():
    bucket.put(f"model/{name}", one)  # The console has made the folder.
  assert local_copies.copy("gs://fake/model", tmp_path) == epath.Path(tmp_path)
  assert content == {
    str(path.relative_to(tmp_path)): path.read_bytes()
    for path in tmp_path.rglob("*")
    if path.is_file()
  }
  with files.local("gs://fake/model/a.json") as copy:
    assert epath.Path(copy).read_bytes() == b"{}"
  assert not epath.Path(copy).exists()


def test_a_full_disk_names_folder_and_bytes(bucket, tmp_path, monkeypatch):
  bucket.put("model/weights", bytes(5))

  def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(local_copies, "_copy", full)
  with pytest.raises(errors.InputError, match=r"5 bytes.*TMPDIR"):
    local_copies.copy("gs://fake/model", tmp_path)
