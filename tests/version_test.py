"""The commit of the code: from git in a checkout, from a file elsewhere."""

import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest

from ila_jax import version

PACKAGE = pathlib.Path(version.__file__).parent


def _git(folder: pathlib.Path, *words: str) -> str:
  who = ("-c", "user.name=Anna", "-c", "user.email=anna@example.org")
  done = subprocess.run(
    ["git", "-C", str(folder), *who, *words],
    stdout=subprocess.PIPE,
    text=True,
    check=True,
    env={k: v for k, v in os.environ.items() if k[:4] != "GIT_"},
  )
  return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
  """A repository with the one file of the package that is asked."""
  root = tmp_path / "checkout"
  (root / "ila_jax").mkdir(parents=True)
  shutil.copy(PACKAGE / version.COMMIT_FILE, root / "ila_jax")
  shutil.copy(PACKAGE.parent / ".gitattributes", root)
  _git(root, "init", "-q")
  _git(root, "add", "-A")
  _git(root, "commit", "-q", "-m", "first")
  version.commit.cache_clear()
  yield root
  version.commit.cache_clear()


def test_a_checkout_asks_git(checkout, monkeypatch):
  head = _git(checkout, "rev-parse", "HEAD")
  # As in a hook of another repository.
  monkeypatch.setenv("GIT_DIR", "/no/such/repository")
  assert version.commit(checkout / "ila_jax") == head
  version.commit.cache_clear()
  (checkout / ".gitattributes").write_text("# Changed.\n")
  assert version.commit(checkout / "ila_jax") == f"{head}-dirty"


def test_an_archive_has_the_commit_in_it(checkout, tmp_path):
  head = _git(checkout, "rev-parse", "HEAD")
  _git(checkout, "archive", "-o", str(tmp_path / "it.tar"), "HEAD")
  with tarfile.open(tmp_path / "it.tar") as archive:
    archive.extractall(tmp_path / "out", filter="data")
  assert version.commit(tmp_path / "out/ila_jax") == head


def test_what_nobody_tells_is_unknown(checkout, tmp_path, monkeypatch):
  # A repository above is not ours: an environment may stand in anything.
  below = checkout / "venv/ila_jax"
  shutil.copytree(checkout / "ila_jax", below)
  assert version.commit(below) == version.UNKNOWN
  monkeypatch.setenv("PATH", str(tmp_path))  # Without git.
  assert version.commit(checkout / "ila_jax") == version.UNKNOWN


def test_unknown_is_said(monkeypatch):
  monkeypatch.setattr(version, "commit", lambda: version.UNKNOWN)
  assert version.describe().endswith(
    "(commit unknown: neither the package nor git tells it)"
  )
