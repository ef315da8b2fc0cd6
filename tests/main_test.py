"""The command line: paths are those that a shell would have made."""

import errno
import os
import signal
import sys

import pytest

from ila_jax import errors, interrupts, main, pipeline


# Of ml_collections, which loads the config file so.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_home_folders_are_found(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  (tmp_path / "mine.py").write_text(
    "from configs import quickstart\n\n\n"
    "def get_config():\n"
    "  config = quickstart.get_config()\n"
    "  config.seed = 77\n"
    "  return config\n"
  )
  found = {}

  def run(config, workdir, **options):
    found.update(options, config=config, workdir=workdir)

  monkeypatch.setattr(pipeline, "run", run)
  command = ["ila_jax", "--config=~/mine.py", "--workdir=~/run"]
  command.append("--config.pool.source=~/pool.jsonl")
  monkeypatch.setattr(sys, "argv", command)  # Where overrides are looked for.
  main._run(command)
  assert found["config"].seed == 77
  assert found["config"].pool.source == f"{tmp_path}/pool.jsonl"
  assert found["workdir"] == f"{tmp_path}/run"
  assert len(found["stages"]) == 8


@pytest.mark.parametrize(
  ("error", "status", "said"),
  [
    (errors.InputError("config.x is 1."), 2, "config.x is 1."),
    *(
      (OSError(number, os.strerror(number), "the_file"), 2, "mend it and run")
      for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
    ),
    *(
      (OSError(number, os.strerror(number), "the_file"), 75, "run the same")
      for number in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
    ),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset"), 75, "network"),
    (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), 2, "batch_tokens"),
    (KeyboardInterrupt(), 130, "stopped by SIGINT"),
    (interrupts.Stopped(signal.SIGTERM, "saved"), 143, "SIGTERM; saved"),
    (OSError(errno.ENOENT, "No such file"), 1, None),
    (RuntimeError("UNAVAILABLE"), 1, None),  # There is no other host.
    (ZeroDivisionError(), 1, None),
  ],
)
def test_the_status_tells_what_to_do(error, status, said):
  """As the guide has it: 2 to mend, 75 and 143 to start again, 1 a bug."""
  found, message = main._explain(error)
  assert found == status
  assert (message is None) == (said is None)
  assert said is None or said in message
