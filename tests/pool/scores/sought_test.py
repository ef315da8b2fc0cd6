"""Scores that are sought in records, one after the other."""

import json

import pytest

from ila_jax import errors
from ila_jax.pool.scores import sought
from tests.support import tiny


def test_a_score_of_one_late_record_is_found_and_no_more_are_parsed():
  seeking = sought.Sought({"quality": "judge.quality"})
  for quality in (None, "n/a"):
    seeking.look(json.dumps({"judge": {"quality": quality}}))
  assert seeking.left == {"quality": "judge.quality"}
  seeking.look(json.dumps({"judge": {"quality": "4.5"}}))
  seeking.look("this is no JSON, and nobody reads it")
  seeking.check()


def test_a_score_of_a_file_counts_as_well(tmp_path):
  rows = [{"id": "1", "note": "so"}, {"id": "2", "reward": 3}]
  file = str(tiny.write(tmp_path / "judged.jsonl", rows))
  sought.Sought({"r": "reward"}).check([file])
  seeking = sought.Sought({"r": "rewrad"})
  seeking.look('{"instruction": "a", "ppl": 2}')
  with pytest.raises(errors.InputError) as raised:
    seeking.check([file])
  said = str(raised.value)
  assert "names 'rewrad' as the score 'r', and no record of the pool" in said
  assert "judged.jsonl that is joined has a number there" in said
  assert "fields with numbers: ppl, reward. Correct" in said
  assert said.endswith("Did you mean 'reward'?")
