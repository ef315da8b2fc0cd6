"""`ila latents` shows records by what they have."""

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.command_line import words
from ila_jax.run import tables
from ila_jax.run.disk import checksums, files, folders
from ila_jax.score.sae import look


@pytest.fixture
def run(tmp_path, monkeypatch):
  """Three records, and latents 2 and 5 of 8."""
  folder = tmp_path / folders.SIGNALS / "sae_features"
  folder.mkdir(parents=True)
  record = {"stage": "sae_features", "inputs": {}, "done": True}
  files.write_json(folder / "stage.json", record | {"sae": {"latents": 8}})
  assert checksums.read(folder)
  columns = {
    "latent": np.array([2, 2, 5], np.int32),
    "rank": np.array([1, 2, 1], np.int32),
    "row": np.array([9, 4, 4]),
    "id": np.array([90, 40, 40], np.uint64),
    "activation": np.array([7.5, 3, 4], np.float32),
    "share": np.array([0.02, 0.02, 0.01]),
  }
  files.write_table(tables.TOP.path(tmp_path), columns)

  def gather(workdir, rows, columns):
    return [
      [look.shards.records.Turn(role="user", text=f"Row {row}\nis {'x' * 300}")]
      for row in rows
    ]

  monkeypatch.setattr(look.shards, "gather", gather)
  monkeypatch.setattr(look.shards, "turns_of", lambda table: table)
  return tmp_path


def test_rare_latents_come_first(run):
  parts = look.told(run, []).split("\n\n")
  assert parts[0].startswith("latent 5: on for 1.00 % of the records\n")
  lines = parts[1].splitlines()
  assert lines[0] == "latent 2: on for 2.00 % of the records"
  assert lines[1].split()[:5] == ["7.5", f"{90:016x}", "user:", "Row", "9"]
  assert all(len(line) < 220 and "…" in line for line in lines[1:])


def test_a_latent_is_shown_by_its_number(run, capsys):
  assert words.command(["ila", "latents"])([str(run), "5", "3"]) == 0
  told = capsys.readouterr().out
  assert "Row 4 is" in told and "latent 3: on for no record" in told


@pytest.mark.parametrize("word", ["8", "-1", "all"])
def test_what_is_no_latent_is_refused(run, word):
  with pytest.raises(errors.InputError, match="whole numbers from 0 to 7"):
    look.told(run, [word])


def test_a_run_without_features_is_refused(tmp_path):
  with pytest.raises(errors.InputError, match="no finished signal sae_feat"):
    look.told(tmp_path, [])
  with pytest.raises(errors.InputError, match="the folder of one run"):
    words.command(["ila", "latents"])([])
  assert "LATENT" in words.command_help(["ila", "latents", "--help"])
