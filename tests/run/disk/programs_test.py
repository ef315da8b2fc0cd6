"""Compiled programs that are damaged are told, removed and made anew."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from ila_jax.run.disk import checksums, programs
from tests.support import damage


def _compile(folder, constant=1.0):
  def some_program(x):
    return jnp.sin(x) * constant

  with programs.kept(folder):
    return jax.jit(some_program).lower(jnp.ones(3)).compile()(jnp.ones(3))


def _program(folder):
  (path,) = folder.glob("*some_program*")
  return path


def test_what_is_kept_is_noted_and_found(tmp_path, hits, capsys):
  _compile(tmp_path)
  assert not checksums.find_damage(tmp_path)
  assert _program(tmp_path).name in checksums.read(tmp_path)
  _compile(tmp_path)
  assert hits
  assert "compiled anew" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", damage.KINDS)
def test_a_damaged_program_is_compiled_anew(tmp_path, hits, capsys, kind):
  wanted = _compile(tmp_path)
  damage.damage(_program(tmp_path), kind)
  before = len(hits)
  assert (_compile(tmp_path) == wanted).all()
  assert len(hits) == before
  said = capsys.readouterr().err
  assert ("1 of the compiled programs in" in said) == (kind != "gone")
  # It was replaced, and serves the next run.
  assert not checksums.find_damage(tmp_path)
  _compile(tmp_path)
  assert len(hits) > before


def test_without_its_ledger_nothing_is_trusted(tmp_path, hits):
  _compile(tmp_path)
  damage.damage(tmp_path / checksums.FILE, "cut")
  _compile(tmp_path)
  assert not hits
  assert not checksums.find_damage(tmp_path)


def test_programs_of_older_versions_are_kept(tmp_path, hits):
  _compile(tmp_path)
  (tmp_path / checksums.FILE).unlink()
  _compile(tmp_path)
  assert hits
  assert _program(tmp_path).name in checksums.read(tmp_path)


def test_a_kill_leaves_programs_that_are_known(tmp_path, hits, capsys):
  """What was compiled is noted at once, and a half-written one is not."""
  program = (
    "import os, sys, jax, jax.numpy as jnp\n"
    "from ila_jax.compute import hardware\n"
    "from ila_jax.run.disk import programs\n"
    "jax.config.update('jax_compilation_cache_dir', None)\n"
    "hardware._WORTH_SECONDS = 0.0\n"
    "with programs.kept(sys.argv[1]):\n"
    "  jax.jit(lambda x: x + 1)(jnp.ones(3))\n"
    "  (open(sys.argv[1] + '/jit_half-cache', 'wb')).write(b'half')\n"
    "  os.kill(os.getpid(), 9)\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", program, str(tmp_path)], check=False
  )
  assert done.returncode == -9
  known = set(checksums.read(tmp_path))
  there = {path.name for path in tmp_path.iterdir()} - {checksums.FILE}
  assert there - known == {"jit_half-cache"}
  assert len(known) >= 1
  with programs.kept(tmp_path):
    assert "such as jit_half-cache: compiled anew" in capsys.readouterr().err
  assert not (tmp_path / "jit_half-cache").exists()
  assert set(checksums.read(tmp_path)) == known
