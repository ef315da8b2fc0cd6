"""The graph of the stages."""

import importlib.util

import pytest

from ila_jax import errors
from ila_jax.run import stages


def test_parents_come_first():
  for place, stage in enumerate(stages.GRAPH.values()):
    assert set(stage.made_from) <= set(list(stages.GRAPH)[:place])


@pytest.mark.parametrize("name", stages.NAMES)
def test_each_stage_has_its_code(name):
  code = f"ila_jax.{stages.GRAPH[name].code}.stage"
  assert importlib.util.find_spec(code) is not None


def test_all_but_the_report_follows_from_the_pool():
  assert stages.made_with("pool") == tuple(stages.GRAPH)[:-1]
  assert stages.made_with("report") == ("report",)


def test_signals_are_no_stage_and_go_with_what_they_are_made_from():
  assert stages.SIGNALS not in stages.NAMES
  assert stages.SIGNALS in stages.made_with("pool")
  readers = ("landscape", "select", "finetune", "scaling", "laboratory")
  assert stages.made_with("signals") == ("signals", *readers)
  with pytest.raises(errors.InputError, match="and --redo: toy"):
    stages.check(["embd"], also=["toy"])


def test_a_name_of_no_stage_is_refused():
  with pytest.raises(errors.InputError, match="'embd'; allowed: pool, embed"):
    stages.check(["pool", "embd"])
