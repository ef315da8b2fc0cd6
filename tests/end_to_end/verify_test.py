"""`ila verify` on a whole run, and on one with a fault of each kind."""

import json
import pathlib
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ila_jax import main, pipeline
from ila_jax.run import interrupts
from ila_jax.run.disk import files
from tests.support import damage, tiny

_STAGES = ("pool", "embed", "score", "landscape", "select")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A run that has selected."""
  folder = tmp_path_factory.mktemp("run")
  rows = tiny.records(220)
  rows[7]["output"] = ""  # a reject
  config = tiny.config(
    tiny.write(folder / "pool.jsonl", rows),
    landscape__projection="pca",
    landscape__stability=(),
    score__reference_seeds=(0,),
  )
  pipeline.run(config, folder / "work", stages=_STAGES)
  return folder / "work"


@pytest.fixture
def workdir(whole, tmp_path):
  """A copy of it, to damage."""
  return pathlib.Path(shutil.copytree(whole, tmp_path / "work"))


@pytest.fixture
def verify(monkeypatch, capsys):
  """Types the command: (exit status, what it says)."""

  def type_it(*words):
    monkeypatch.setattr(interrupts, "listen", lambda: None)
    monkeypatch.setattr(sys, "argv", ["ila", "verify", *map(str, words)])
    status = main.main()
    said = capsys.readouterr()
    return status, said.out or said.err

  return type_it


def _content(workdir):
  return {
    path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
    for path in workdir.rglob("*")
  }


def test_a_whole_run_is_well_and_nothing_is_written(whole, verify):
  before = _content(whole)
  status, said = verify(whole)
  assert status == 0, said
  assert said.startswith(f"{whole}: all is well in 12 checks; 1 left out\n")
  assert "64 examples under 2 models, computed again" in said
  assert "220 read = 219 used + 1 rejected" in said
  assert "not done: finetune, scaling, laboratory, report" in said
  assert "What differs" not in said
  assert _content(whole) == before


def _edit(path, column, change):
  """Changes a column of a table, and lets its checksum be the new one."""
  table = pq.read_table(path)
  held = table.column(column)
  new = pa.array(change(held.to_pylist()), held.type)
  place = table.schema.get_field_index(column)
  files.write_table(path, table.set_column(place, table.field(place), new))


def _edit_json(path, **changes):
  files.write_json(path, json.loads(path.read_text()) | changes)


def _first_two_swapped(values):
  return [values[1], values[0], *values[2:]]


def _swap_lines(path):
  lines = _first_two_swapped(path.read_text().splitlines(keepends=True))
  files.write_lines(path, lines)


def _shorten(path):
  files.write_table(path, pq.read_table(path)[:-1])


def _rename(path, old, new):
  table = pq.read_table(path)
  names = [new if name == old else name for name in table.schema.names]
  files.write_table(path, table.rename_columns(names))


def _other_text(turns):
  return [[one | {"text": one["text"] + "!"} for one in t] for t in turns]


# By the check that finds it: what is done to a file, and what is said of it.
FAULTS = {
  "a flipped bit": (
    "files",
    "score/base-00001.parquet",
    lambda path: damage.damage(path, "flip"),
    "its checksum is",
  ),
  "a shard cut short": (
    "files",
    "embed/embeddings-00001.npy",
    lambda path: damage.damage(path, "cut"),
    "bytes, and",
  ),
  "a shard that is gone": (
    "files",
    "pool/records-00002.parquet",
    lambda path: damage.damage(path, "gone"),
    "it is missing",
  ),
  "a shard that its ledger forgot, too": (
    "shards",
    "score/sft-0-00002.parquet",
    files.remove,
    "it is missing",
  ),
  "a shard cut short, and its checksum is that of the rest": (
    "shards",
    "embed/embeddings-00001.npy",
    lambda path: files.write_bytes(path, path.read_bytes()[:200]),
    "it is unreadable",
  ),
  "a table that is none": (
    "formats",
    "score/reference.parquet",
    lambda path: files.write_bytes(path, b"PAR1"),
    "it is no Parquet table",
  ),
  "an index with fewer rows": (
    "shards",
    "pool/index.parquet",
    _shorten,
    "it has 218 rows, and the shards of records have 219",
  ),
  "a shard with fewer rows": (
    "shards",
    "embed/inputs-00000.parquet",
    _shorten,
    "99 rows, and the pool's shard 100",
  ),
  "a file of nobody": (
    "files",
    "select/notes.txt",
    lambda path: path.write_text("mine"),
    "no run has noted",
  ),
  "a count that does not add up": (
    "counts",
    "pool/counts.json",
    lambda path: _edit_json(path, read=300),
    "read is 300, and used 219 + rejected 1 + contaminated 0 = 220",
  ),
  "an id that stands twice": (
    "counts",
    "pool/index.parquet",
    lambda path: _edit(path, "id", lambda v: [v[1], *v[1:]]),
    "row 1: its id stands in an earlier row, too",
  ),
  "an id of another example": (
    "counts",
    "landscape/cells.parquet",
    lambda path: _edit(path, "id", _first_two_swapped),
    "rows 0, 1: its id is not that of the index",
  ),
  "text of another id": (
    "texts",
    "pool/records-00000.parquet",
    lambda path: _edit(path, "turns", _other_text),
    "its text is not that of its id",
  ),
  "a score that was edited": (
    "losses",
    "score/scores.parquet",
    lambda path: _edit(path, "nll_base", lambda v: [*v[:9], 1.0, *v[10:]]),
    "row 9: its nll_base is not that of the shards",
  ),
  "a depth that was edited": (
    "landscape",
    "landscape/cells.parquet",
    lambda path: _edit(path, "depth", lambda v: [9.0, *v[1:]]),
    "row 0: its depth is not that of the scores",
  ),
  "a rank that is missing": (
    "selection",
    "select/ranking.parquet",
    _shorten,
    "a candidate without a rank",
  ),
  "chosen lines in another order": (
    "selection",
    "select/selected.jsonl",
    _swap_lines,
    "lines 1, 2: its record is not that of this rank",
  ),
  "another version": (
    "versions",
    "select/stage.json",
    lambda path: _edit_json(path, versions={"ila_jax": "9.9", "jax": "0.1"}),
    "made by ila_jax 9.9 with JAX 0.1, and this is ila_jax",
  ),
  "another parent": (
    "records",
    "landscape/stage.json",
    lambda path: _edit_json(path, output="0123"),
    "it was made from another landscape than is there",
  ),
  "a column of another name": (
    "formats",
    "embed/inputs-00000.parquet",
    lambda path: _rename(path, "lost", "cut"),
    "column 'lost' is missing",
  ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named(workdir, verify, fault):
  check, name, do, wanted = FAULTS[fault]
  do(workdir / name)
  status, said = verify(workdir, "--no-scores")
  assert status == 1, said
  first, _, rest = said.partition("\n")
  assert check in first.partition(": ")[2]
  told = rest.partition("What differs:\n")[2].splitlines()
  assert [line for line in told if wanted in line], said
  assert pathlib.PurePath(name).stem.split("-")[0] in rest or "select" in rest


def test_losses_that_no_model_gives(workdir, verify):
  """Shards and scores fit together; only the model knows better."""
  for name, column in (
    ("sft-0-00000.parquet", "nll_0"),
    ("sft-0-00001.parquet", "nll_0"),
    ("sft-0-00002.parquet", "nll_0"),
    ("scores.parquet", "nll_sft"),
  ):
    _edit(workdir / "score" / name, column, _louder)
  status, said = verify(workdir, "--seed", 3)
  assert status == 1
  assert "landscape, scores\n" in said.splitlines(keepends=True)[0]
  assert "score/sft-0-00001.parquet: " in said
  assert "losses under sft-0 differ from those computed again" in said
  assert "base-0" not in said


def _louder(values):
  return (np.array(values, np.float32) * np.float32(1.01)).tolist()


def test_embeddings_that_no_encoder_gives(workdir, verify):
  path = workdir / "embed/embeddings-00001.npy"
  files.write_array(path, files.read_array(path)[::-1])
  status, said = verify(workdir, "--share", 1)
  assert status == 1
  assert said.startswith(f"{workdir}: 1 of 12 checks differ: embeddings\n")
  assert "embed/embeddings-00001.npy: a cosine down to" in said


def test_what_cannot_be_known_is_not_well(workdir, verify):
  shutil.rmtree(workdir / "score/reference-0")
  status, said = verify(workdir)
  assert status == 1
  assert "1 of 12 checks differ: files; 1 not known: scores\n" in said
  assert "  score/reference-0/checksums.json: it is missing\n" in said
  files.write_json(workdir / "manifest.json", {"ila_jax": "0.1.0"})
  status, said = verify(workdir)
  assert status == 1 and "differ: files; 1 not known: settings\n" in said


def test_a_run_that_has_hardly_begun(workdir, verify):
  for name in _STAGES[1:]:
    shutil.rmtree(workdir / name)
  shutil.rmtree(workdir / "model")
  status, said = verify(workdir)
  assert status == 0, said
  assert "stage score is not done" in said
  # Killed while it read its pool, before it had written its settings.
  files.write_json(workdir / "manifest.json", {"ila_jax": "0.1.0"})
  _edit_json(workdir / "pool/stage.json", done=False)
  status, said = verify(workdir)
  assert status == 0, said


@pytest.mark.parametrize(
  ("words", "wanted"),
  [
    ((), "the following arguments are required: DIR"),
    (("no/such/folder",), "the folder no/such/folder is not there"),
    (("tests",), "has no manifest.json of ila_jax"),
    (("tests", "--share", "2"), "--share is not a number from 0 to 1"),
    (("tests", "--seed", "x"), "--seed is 'x'; allowed"),
    (("tests", "--quick"), "unrecognized arguments: --quick"),
  ],
)
def test_misuse_is_exit_2(verify, words, wanted):
  status, said = verify(*words)
  assert status == 2
  assert wanted in said and said.count("\n") == 1
