"""Files are known by all of their bytes."""

import builtins
import hashlib
import os

import pytest
from etils import epath

from ila_jax import errors
from ila_jax.pool import revisions
from ila_jax.run import tables
from ila_jax.run.disk import hashes

_HOUR_AGO = 3600


def _write(path, size, *, at=None, byte=b"x"):
  """A file of zeros, with another byte at one place; an hour old."""
  content = bytearray(size)
  if at is not None:
    content[at : at + 1] = byte
  path.write_bytes(content)
  os.utime(path, (_HOUR_AGO, _HOUR_AGO))


@pytest.fixture
def digests(monkeypatch):
  """How often a file is read to its end."""
  read, true = [], hashes._digest

  def digest(file, advance):
    read.append(file.name)
    return true(file, advance)

  monkeypatch.setattr(hashes, "_digest", digest)
  return read


@pytest.mark.parametrize("size", [0, 1, 131_072, 300_000, 2**21 + 17])
def test_the_hash_is_that_of_sha256sum(tmp_path, size):
  path = tmp_path / "file"
  path.write_bytes(os.urandom(size))
  for workdir in (None, tmp_path):
    found = hashes.of_files([path], workdir=workdir)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == [{"bytes": size, "sha256": digest}]


@pytest.mark.parametrize("size", [200_000, 3 * 2**20])
@pytest.mark.parametrize("place", ["head", "middle", "tail"])
@pytest.mark.parametrize("keep_time", [False, True])
def test_one_byte_anywhere_is_seen(
  tmp_path, monkeypatch, size, place, keep_time
):
  monkeypatch.setattr(hashes, "_SETTLED_SECONDS", 0.0)
  path, work = tmp_path / "file", tmp_path / "work"
  _write(path, size)
  before = revisions.of_path(path, workdir=work)
  assert revisions.of_path(path, workdir=work) == before
  at = {"head": 0, "middle": size // 2, "tail": size - 1}[place]
  with path.open("r+b") as file:
    file.seek(at)
    file.write(b"x")
  if keep_time:  # What a careless copy does, and an attacker.
    os.utime(path, (_HOUR_AGO, _HOUR_AGO))
  assert revisions.of_path(path, workdir=work) != before


def test_a_large_file_is_read_once(tmp_path, monkeypatch, digests):
  monkeypatch.setattr(hashes, "_SETTLED_SECONDS", 0.0)
  files = [tmp_path / "large", tmp_path / "small"]
  _write(files[0], 2**20)
  _write(files[1], 2**20 - 1)
  first = hashes.of_files(files, workdir=tmp_path / "work")
  assert hashes.of_files(files, workdir=tmp_path / "work") == first
  assert digests == ["large", "small", "small"]
  # Another run knows nothing, and a copy is another file.
  hashes.of_files(files[:1], workdir=tmp_path / "other")
  (tmp_path / "copy").write_bytes(files[0].read_bytes())
  hashes.of_files([tmp_path / "copy"], workdir=tmp_path / "work")
  assert digests[3:] == ["large", "copy"]


def test_what_was_written_a_moment_ago_is_read_again(tmp_path, digests):
  _write(tmp_path / "file", 2**20)  # Its inode changed just now.
  for _ in range(2):
    hashes.of_files([tmp_path / "file"], workdir=tmp_path / "work")
  assert digests == ["file", "file"]
  assert not tables.HASHES.path(tmp_path / "work").exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"x": 1}'])
def test_a_damaged_list_of_hashes_costs_time_only(tmp_path, digests, text):
  _write(tmp_path / "file", 2**20)
  tables.HASHES.path(tmp_path).write_text(text)
  hashes.of_files([tmp_path / "file"], workdir=tmp_path)
  assert digests == ["file"]


def test_what_has_no_end_is_refused_and_not_opened(tmp_path, monkeypatch):
  os.mkfifo(tmp_path / "pipe")
  monkeypatch.setattr(builtins, "open", None)
  for path in (tmp_path / "pipe", "/dev/zero"):
    with pytest.raises(errors.InputError, match="is no regular file"):
      hashes.of_files([epath.Path(path)])


def test_a_long_hash_says_how_far_it_is(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(hashes.progress, "_FIRST_SECONDS", 0.0)
  monkeypatch.setattr(hashes, "_CHUNK_BYTES", 2**20)
  _write(tmp_path / "file", 4 * 2**20)
  hashes.of_files([tmp_path / "file"])
  assert "hashing: 4 MB in" in capsys.readouterr().err
