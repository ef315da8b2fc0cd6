"""`ila export`, as it is typed."""

import json
import re
import sys

import pytest

from ila_jax import errors, main
from ila_jax.export import command, formats
from ila_jax.run import interrupts
from tests.support import artifacts, selected_run


@pytest.fixture
def workdir(tmp_path):
  selected_run.write(tmp_path / "run")
  return tmp_path / "run"


def _type(monkeypatch, capsys, *words):
  monkeypatch.setattr(interrupts, "listen", lambda: None)
  monkeypatch.setattr(sys, "argv", ["ila", "export", *map(str, words)])
  status = main.main()
  said = capsys.readouterr()
  return status, said.out + said.err


def test_it_tells_how_many_where_and_what_trains(workdir, monkeypatch, capsys):
  status, said = _type(monkeypatch, capsys, workdir, "--to", "trl")
  target = workdir / "export/trl"
  assert status == 0
  assert said.startswith(
    f"5 records in the order of rank: {target}\n1 left out"
  )
  assert f"--dataset_name {target}" in said
  assert "--max_length 67" in said
  assert "the longest record, 67 tokens" in said
  assert "1 record is longer: the run has cut" in said
  lines = (target / "train.jsonl").read_text().split("\n")[:-1]
  assert [json.loads(line)["rank"] for line in lines] == [1, 2, 3, 4, 5]
  assert not [one for one in artifacts.faults(workdir) if "export" in one]


def test_the_selection_stays_as_it_was_read(workdir):
  path = workdir / "select/selected.jsonl"
  before = path.read_bytes()
  for name in ("hf", "openai"):
    command.run([str(workdir), f"--to={name}"])
  assert path.read_bytes() == before


def test_a_prefix_goes_where_it_is_told(workdir, tmp_path, monkeypatch, capsys):
  out = tmp_path / "to here"
  words = (workdir, "--to", "openai", "--first", 2, "--out", out)
  status, said = _type(monkeypatch, capsys, *words)
  assert status == 0
  assert "2 records in the order of rank, the first 2 of 6 selected" in said
  assert "a job wants 10 examples at least" in said
  assert f"'file=@{out}/train.jsonl'" in said
  assert (out / "train.jsonl").read_bytes().count(b"\n") == 2


REFUSED = {
  "--to tfds": "--to is 'tfds'; allowed: hf, ",
  "": "the following arguments are required: --to",
  "--to hf --first 0": "--first is '0'; allowed: a whole number",
  "--to hf --first x": "--first is 'x'",
  "--to hf --first 9": "--first is 9; allowed: 1 to 6",
  "--to hf --nothing": "unrecognized arguments: --nothing",
  "--to hf --out gs://bucket/x": "--out is 'gs://bucket/x'",
  "--to hf --out {}/select": "select holds .*, and no ila_export",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_wrong_is_said(workdir, monkeypatch, capsys, words):
  typed = words.replace("{}", str(workdir)).split()
  status, said = _type(monkeypatch, capsys, workdir, *typed)
  assert status == errors.BAD_INPUT, said
  assert re.search(REFUSED[words], said), said
  assert len(said.splitlines()) == 1
  assert not (workdir / "export").exists()


def test_the_help_lists_the_formats(monkeypatch, capsys):
  status, said = _type(monkeypatch, capsys, "--help")
  assert status == 0
  assert command.USAGE in said
  assert all(f"  {name} " in said for name in formats.FORMATS)
