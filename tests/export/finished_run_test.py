"""What is read of a run: numbers, turns and records, in the order of rank."""

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.export import finished_run
from ila_jax.run import stage_record, tables
from ila_jax.run.disk import files
from tests.support import selected_run


@pytest.fixture
def workdir(tmp_path):
  selected_run.write(tmp_path)
  return tmp_path


def _plain(example):
  return example._replace(
    depth=np.float32(example.depth), turns=list(example.turns)
  )


@pytest.mark.parametrize("part", [2, 4, 100])
def test_the_examples_are_those_that_were_chosen(workdir, monkeypatch, part):
  monkeypatch.setattr(finished_run, "_PART", part)
  monkeypatch.setattr(finished_run, "_TABLE_ROWS", part)
  found = finished_run.Selection(workdir)
  assert found.count == found.selected == len(selected_run.KINDS)
  expected = list(map(_plain, selected_run.examples()))
  assert list(map(_plain, found)) == expected
  assert list(map(_plain, found)) == expected  # Each turn reads them anew.


def test_the_first_are_a_prefix(workdir):
  found = list(map(_plain, finished_run.Selection(workdir, 3)))
  assert found == list(map(_plain, selected_run.examples()))[:3]


@pytest.mark.parametrize("first", [0, 7])
def test_more_than_was_chosen_is_refused(workdir, first):
  with pytest.raises(errors.InputError, match=r"allowed: 1 to 6, .*budget"):
    finished_run.Selection(workdir, first)


def test_a_run_that_is_not_done_says_which_stage_to_run(workdir):
  stage = stage_record.Stage(workdir, "score", {"name": "again"})
  stage.begin(replace="all")
  with pytest.raises(errors.InputError, match=r"stage 'score'.*--stages=pool"):
    finished_run.Selection(workdir)


def test_what_is_no_run_is_refused(tmp_path):
  with pytest.raises(errors.InputError, match=r"no manifest\.json"):
    finished_run.Selection(tmp_path)
  with pytest.raises(errors.InputError, match=r"gone is no folder"):
    finished_run.Selection(tmp_path / "gone")


def test_another_selection_meanwhile_is_noticed(workdir):
  found = iter(finished_run.Selection(workdir))
  next(found)
  path = workdir / "select/stage.json"
  record = files.read_json(path)
  files.write_json(path, record | {"output": "another"})
  with pytest.raises(errors.InputError, match="selected anew"):
    list(found)


def test_scores_of_another_run_are_refused(workdir):
  path = tables.SCORES.path(workdir)
  scores = files.read_table(path)
  lost = files.read_table(tables.RANKING.path(workdir))["row"][2]
  keep = scores["row"] != lost
  files.write_table(path, {name: held[keep] for name, held in scores.items()})
  with pytest.raises(errors.InputError, match="lacks a row"):
    finished_run.Selection(workdir)


def test_the_facts_have_the_numbers_of_the_run(workdir):
  facts = finished_run.facts(finished_run.Selection(workdir))
  assert facts.sources == ["a.jsonl", "hf:ORG/b/train"]
  assert (facts.method, facts.budget) == ("ila", "6 examples")
  assert "Of 20 records, 11 are usable and 9 are not." in facts.sentences
  assert "commit abc" in facts.made_by


@pytest.mark.parametrize(
  ("first", "longest", "cut"), [(None, 67, 1), (3, 37, 0)]
)
def test_the_longest_of_what_is_exported_is_known(workdir, first, longest, cut):
  """The exported prompts have 7 tokens, the response of rank r has 10 r."""
  facts = finished_run.facts(finished_run.Selection(workdir, first))
  assert (facts.longest, facts.cut) == (longest, cut)
