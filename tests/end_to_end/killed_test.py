"""Runs of the command line in processes of their own: killed, and refused."""

import os
import pathlib
import signal
import subprocess
import sys
import time

from ila_jax.run import status
from tests.support import tiny

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def _command(workdir: pathlib.Path, *flags: str) -> list[str]:
  overrides = tiny.config_dict("docstrings:email,logging").to_dict()
  del overrides["pool"]["overrides"]
  flat = []

  def walk(prefix, value):
    for key, item in value.items():
      if isinstance(item, dict):
        walk(f"{prefix}.{key}", item)
      elif item is not None and item != "":
        flat.append(f"--{prefix}.{key}={item}")

  walk("config", overrides)
  return [
    *(sys.executable, "-m", "ila_jax", "--config=configs/quickstart.py"),
    *(f"--workdir={workdir}", *flat, *flags),
  ]


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
  """Kill -9 in the middle of scoring; the files come out equal to the bit."""
  environment = os.environ | {"JAX_PLATFORMS": "cpu"}
  stages = "--stages=pool,embed,score"

  # Programs are kept in the workdir where no other folder is set.
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)

  def start(workdir):
    with (tmp_path / "log").open("a") as log:
      return subprocess.Popen(
        _command(workdir, stages), cwd=CHECKOUT, env=environment, stderr=log
      )

  def wait(process):
    assert process.wait(timeout=300) == 0, (tmp_path / "log").read_text()

  wait(start(tmp_path / "whole"))
  programs = (tmp_path / "whole/compiled").iterdir()
  assert any(path.stat().st_size > 1000 for path in programs)
  killed = start(tmp_path / "killed")
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
  wait(start(tmp_path / "killed"))
  log = (tmp_path / "killed/log.txt").read_text()
  assert log.count("run by process") == 2 and log.count("ended: done") == 1
  assert "died and left its lock" in log
  assert first_shard.stat().st_mtime_ns == written  # no shard is done twice
  for name in ("scores.parquet", "reference.parquet"):
    assert (tmp_path / "whole/score" / name).read_bytes() == (
      tmp_path / "killed/score" / name
    ).read_bytes()


def test_command_line_refuses_with_exit_2(tmp_path):
  done = subprocess.run(
    _command(tmp_path / "work", "--stages=pool,nothing"),
    cwd=CHECKOUT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  assert done.stderr.count("\n") == 1
  assert "names 'nothing'; allowed: pool, embed, score" in done.stderr
