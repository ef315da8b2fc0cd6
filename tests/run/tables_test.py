"""Artifacts of the workdir: what is declared, and what others say of it."""

import importlib.util
import pathlib
import re

import pytest

from ila_jax.embed import inputs
from ila_jax.pool import shards
from ila_jax.run import stages, tables
from tests.support import artifacts

_GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs/guide/workdir.md"
_BY_NAME = {
  name: value
  for name, value in vars(tables).items()
  if isinstance(value, tables.Artifact)
}


def _starred(template):
  """A template as the guide writes it; what is in every folder has none."""
  template = template.removeprefix("{folder}")
  return re.sub(r"\{.*?\}", "*", template)


def _guide():
  """Rows of the guide's table: names with their folders, and the text."""
  text = _GUIDE.read_text().partition("| in the workdir | what |\n|---|---|\n")
  for line in text[2].partition("\n\n")[0].splitlines():
    names, said = line.strip("| ").split(" | ")
    first, *others = re.findall("`(.+?)`", names)
    folder = first.rstrip("/").rpartition("/")[0]
    yield [first, *(f"{folder}/{name}" for name in others)], said


def test_the_guide_names_all_artifacts_and_no_others():
  named = [name for names, _ in _guide() for name in names]
  declared = [_starred(one.template) for one in tables.ARTIFACTS]
  assert sorted(named) == sorted(declared)


def test_the_guide_names_the_columns_of_every_table():
  said = {name: text for names, text in _guide() for name in names}
  for artifact in tables.ARTIFACTS:
    if artifact.columns:
      found = set(re.findall("`(.+?)`", said[_starred(artifact.template)]))
      declared = set(map(_starred, artifact.columns)) - {"*"}
      assert declared <= found, artifact.template
      others = found - declared
      assert all(map(artifact.column_type, others)), artifact.template


@pytest.mark.parametrize("name", _BY_NAME)
def test_the_writer_takes_the_name_from_here(name):
  module = importlib.util.find_spec(f"ila_jax.{_BY_NAME[name].writer}")
  source = pathlib.Path(module.origin).read_text()
  assert re.search(rf"\btables\.{name}\b", source)


def test_each_path_is_one_artifact_at_most():
  paths = {
    artifact.template.format(
      shard=7,
      folder="pool/",
      stage="score",
      name="a",
      seed=1,
      losses="sft-1",
      epoch=2,
    ): artifact
    for artifact in tables.ARTIFACTS
  }
  for path, artifact in paths.items():
    matching = [one for one in tables.ARTIFACTS if one.matches(path)]
    assert matching == [artifact], path


def test_what_lies_in_a_folder_of_others_is_found():
  assert artifacts.find("finetune/model/config.json") is tables.MODEL
  assert artifacts.find("model/config.json") is tables.BASE
  assert artifacts.find("model/stage.json") is tables.RECORD


@pytest.mark.parametrize(
  "path",
  [
    "pool/records-7.parquet",
    "pool/index.parquet.tmp",
    "score/other-00000.parquet",
    "cells.parquet",
    "notes/cells.parquet",
  ],
)
def test_what_is_not_declared_is_not_found(path):
  assert artifacts.find(path) is None


def test_columns_are_those_that_the_writers_know():
  # Parquet calls the parts of a list `element`, and Arrow calls them `item`.
  schema = {
    column.name: str(column.type).replace("list<item:", "list<element:")
    for column in shards.SCHEMA
  }
  assert tables.RECORDS.columns == schema
  assert tuple(tables.INPUTS.columns) == inputs.Read._fields


def test_stages_own_the_folders():
  folders = {one.folder.partition("/")[0] for one in tables.ARTIFACTS}
  # What commands of their own write has folders of their own.
  own = {one.folder.partition("/")[0] for one in (tables.EXPORT, tables.SPLIT)}
  assert folders - {"", "{stage}"} - own == set(stages.GRAPH)
