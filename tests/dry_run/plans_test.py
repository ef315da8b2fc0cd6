"""All that will run is asked, in the order of the run."""

import pytest

from ila_jax.dry_run import plans
from ila_jax.forecast import base_plan, costs
from ila_jax.run import stages as stages_lib
from ila_jax.score.signals import example_signal
from ila_jax.score.signals import table as signals_table
from tests.support import planned, tiny

_SIGNAL = "signals/nll_without_prompt"


def _names(*stages, **fields):
  fields = {"model__path": "a/model"} | fields
  config = tiny.config("pool.jsonl", **fields)
  return tuple(plans.in_order(config, stages or stages_lib.NAMES))


def test_the_stages_in_their_order():
  assert _names() == stages_lib.NAMES
  assert _names("report", "embed") == ("embed", "report")


def test_a_base_from_scratch_is_made_after_the_pool():
  scratch = {"model__path": "scratch"}
  assert _names("embed", **scratch) == ("embed",)
  assert _names("score", **scratch) == ("model", "score")
  assert _names("pool", "embed", "finetune", **scratch) == (
    *("pool", "model", "embed", "finetune"),
  )
  by_base = scratch | {"encoder__path": "base"}
  assert _names("embed", **by_base) == ("model", "embed")
  found = plans.in_order(tiny.config("pool.jsonl", **scratch), ["score"])
  assert found["model"] is base_plan


def test_a_signal_is_made_once_before_the_first_that_needs_it():
  stages = ("landscape", "select", "finetune", "scaling")
  rival = {"finetune__compare": ("ifd", "random")}
  assert _names(*stages, **rival) == (
    *("landscape", "select", _SIGNAL, "finetune", "scaling"),
  )
  chosen = rival | {"select__strategy": "ifd"}
  assert _names(*stages, **chosen) == (
    *("landscape", _SIGNAL, "select", "finetune", "scaling"),
  )
  assert _names("scaling", **chosen) == ("scaling",)


@pytest.mark.parametrize("width", [1, 3])
def test_a_signal_says_what_it_costs(width, monkeypatch):
  """One without a pass of a model is none, whatever others are."""
  toy = example_signal.Signal(
    name="nll_without_prompt",
    made_from=lambda config, workdir: {},
    compute=lambda run, account: lambda table: None,
    cost=lambda run: costs.Cost(2.0 * run.sample.examples),
    width=width,
  )
  monkeypatch.setitem(signals_table.SIGNALS, toy.name, toy)
  known = planned.known(select__strategy="ifd")
  found = plans.in_order(known.config, ["select"])
  assert found[_SIGNAL].cost(planned.run()) == costs.Cost(2000.0)
  assert found[_SIGNAL].need(known) == costs.Need(4 * width * 10_000)
