"""The command line: paths are those that a shell would have made."""

import sys

import pytest

from ila_jax import main, pipeline


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
