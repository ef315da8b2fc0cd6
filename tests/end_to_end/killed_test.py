"""Runs of the command line in processes of their own: killed, and refused."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from ila_jax.run import status
from tests.support import forked, tiny

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def _command(workdir: pathlib.Path, *flags: str) -> list[str]:
  return [
    *("-m", "ila_jax", f"--workdir={workdir}"),
    *(*tiny.flags("docstrings:email,logging"), *flags),
  ]


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
  """Kill -9 in the middle of scoring; the files come out equal to the bit."""

  def start(name, stages):
    command = _command(tmp_path / name, f"--stages={stages}")
    with (tmp_path / "log").open("a") as log:
      return forked.start(*command, stderr=log)

  def wait(process):
    process.join(300)
    assert process.exitcode == 0, (tmp_path / "log").read_text()

  wait(start("whole", "pool,embed,score"))
  shutil.copytree(
    *(tmp_path / "whole", tmp_path / "killed"),
    ignore=shutil.ignore_patterns("score", "log.txt"),
  )
  # Programs are kept in the workdir where no other folder is set.
  unset = dict(os.environ)
  unset.pop("JAX_COMPILATION_CACHE_DIR", None)
  command = [sys.executable, *_command(tmp_path / "killed", "--stages=score")]
  with (tmp_path / "log").open("a") as log:
    killed = subprocess.Popen(command, cwd=CHECKOUT, env=unset, stderr=log)
  first_shard = tmp_path / "killed/score/base-00000.parquet"
  deadline = time.monotonic() + 300
  while not first_shard.exists() and killed.poll() is None:
    assert time.monotonic() < deadline
    time.sleep(0.01)
  found = status.find(tmp_path / "killed")
  assert (found["life"], found["stages"]["score"]["state"]) == (
    *("alive", "running"),
  )
  assert found["stages"]["score"]["total"] == 3 * 2
  killed.send_signal(signal.SIGKILL)
  killed.wait()
  found = status.find(tmp_path / "killed")
  assert (found["life"], found["stages"]["score"]["state"]) == ("dead", "begun")
  written = first_shard.stat().st_mtime_ns
  assert not (tmp_path / "killed/score/scores.parquet").exists()
  programs = (tmp_path / "killed/compiled").iterdir()
  assert any(path.stat().st_size > 1000 for path in programs)
  wait(start("killed", "score"))
  log = (tmp_path / "killed/log.txt").read_text()
  assert log.count("run by process") == 2 and log.count("ended: done") == 1
  assert "died and left its lock" in log
  assert first_shard.stat().st_mtime_ns == written  # no shard is done twice
  for name in ("scores.parquet", "reference.parquet"):
    assert (tmp_path / "whole/score" / name).read_bytes() == (
      tmp_path / "killed/score" / name
    ).read_bytes()


def test_a_quiet_run_is_in_the_log(tmp_path):
  done = forked.run(*_command(tmp_path / "work", "--stages=pool", "--quiet"))
  log = (tmp_path / "work/log.txt").read_text()
  assert done.returncode == 0 and "[pool]" in log and "  read " in log
  warned = [line for line in log.splitlines() if "warning:" in line]
  assert done.stderr.count("\n") == len(warned)
  assert all("warning:" in line for line in done.stderr.splitlines())
  refused = forked.run(*_command(tmp_path / "work", "--stages=pol", "--quiet"))
  assert refused.returncode == 2 and "names 'pol'" in refused.stderr


def test_command_line_refuses_with_exit_2(tmp_path):
  done = forked.run(*_command(tmp_path / "work", "--stages=pool,nothing"))
  assert done.returncode == 2
  assert done.stderr.count("\n") == 1
  assert "names 'nothing'; allowed: pool, embed, score" in done.stderr
