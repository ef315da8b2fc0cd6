"""What a run found, in sentences."""

import pytest
from absl import flags
from etils import epath

from ila_jax.report import sentences
from ila_jax.run import stages as stages_lib
from ila_jax.run import tables
from ila_jax.run.disk import files

GAP = {"value": -0.03, "low": -0.05, "high": -0.01}


def test_the_answer_tells_of_a_longer_training(tmp_path):
  rival = {"name": "random-equal-tokens", "strategy": "random"}
  rival |= {"equal": "tokens", "micro": GAP, "macro": GAP}
  compared = {"strategy": "ila", "chance": "random", "groups": 400}
  compared |= {"gain": 0.2, "rivals": [rival]}
  workdir = epath.Path(tmp_path)
  files.write_json(tables.COMPARISON.path(workdir), compared)
  steps = ["ila"] * 3 + ["random-equal-tokens"] * 2
  lines = [{"name": name, "step": 1, "loss": 2.0} for name in steps]
  files.write_jsonl(tables.METRICS.path(workdir), lines)
  answer, caution, _ = sentences.answer(workdir, {"finetune": {}})
  assert answer.startswith("ila helped: 0.030 nats a token lower dev loss")
  assert caution.startswith("ila was trained for 3 steps, random for 2")


@pytest.mark.parametrize(
  ("used", "rejected", "said"),
  [(579, 1, "579 are usable and 1 is not."), (1, 0, "1 is usable and 0 are")],
)
def test_one_record_is_told_in_the_singular(used, rejected, said):
  pool = {"read": used + rejected, "used": used, "rejected": rejected}
  assert said in sentences.read({"pool": pool})[0]


def test_what_was_chosen_is_told_beside_a_rival(tmp_path):
  workdir = epath.Path(tmp_path)
  table = [
    {"strategy": name, "n_examples": 167, "n_tokens": 9259, "pool_cells": share}
    for name, share in (("ila", 0.9944), ("random", 0.635))
  ]
  files.write_json(tables.COVERAGE.path(workdir), {"table": table})
  assert sentences.chosen(workdir, {"select": {}}) == [
    "ila chose 167 examples with 9,259 response tokens; they occupy 99.4 % of "
    "the pool's cells; those of random occupy 63.5 % at the same budget."
  ]


def test_labels_of_the_selection_are_told_alone(tmp_path):
  workdir = epath.Path(tmp_path)
  table = [
    {"strategy": name, "n_examples": 1, "n_tokens": 9, "pool_cells": 0.5}
    | {"tag_diversity": share, "tag_complexity": 2.0}
    for name, share in (("mig", 0.83), ("random", 0.2))
  ]
  files.write_json(tables.COVERAGE.path(workdir), {"table": table})
  assert sentences.chosen(workdir, {"select": {}})[1:] == [
    "The chosen examples have 83.0 % of all labels of the candidates, and 2.00 "
    "labels each in the mean."
  ]


def test_what_to_run_for_an_answer_can_be_pasted(tmp_path):
  # Behind the flags of the run: of two --stages the last counts, and no full
  # stop is part of it.
  done = {name: {} for name in ("pool", "embed", "score", "landscape")}
  (said,) = sentences.answer(epath.Path(tmp_path), done)
  (flag,) = (word for word in said.split() if word.startswith("--"))
  assert flag == "--stages=select,finetune,report"
  words = ["ila", "--stages=pool,score", flag]
  values = flags.FlagValues()
  stages = flags.DEFINE_list("stages", None, "", flag_values=values)
  values(words)
  stages_lib.check(stages.value)
  assert stages.value == ["select", "finetune", "report"]


_MICRO = {"value": -0.031, "low": -0.049, "high": -0.012}
_RIVAL = {"strategy": "random", "equal": "tokens", "micro": _MICRO}
_RIVAL |= {"name": "random-equal-tokens"}
_COMPARED = {
  "strategy": "ila",
  "chance": "random",
  "groups": 300,
  "gain": 0.2,
  "rivals": [_RIVAL | {"macro": _MICRO}],
}


@pytest.mark.parametrize(
  ("select", "named"),
  [
    ({"strategy": "ila"}, None),
    ({"strategy": "ila", "target": "t.jsonl"}, None),  # It changes nothing.
    (
      {"strategy": "ila", "target": "t.jsonl", "cell_weight": "target"},
      "config.select.target",
    ),
    (
      {"strategy": "target_nearest", "target": "t.jsonl", "where": "q > 1"},
      "config.select.target and config.select.where",
    ),
    ({"strategy": "random", "where": "q > 1"}, "config.select.where"),
    ({"strategy": "ila", "target": "t.jsonl", "cell_weight": 0.5}, None),
  ],
)
def test_what_the_dev_examples_do_not_tell(tmp_path, select, named):
  workdir = epath.Path(tmp_path)
  files.write_json(tables.COMPARISON.path(workdir), _COMPARED)
  files.write_jsonl(tables.METRICS.path(workdir), [])
  records = {
    "finetune": {},
    "select": {"inputs": {"config": {"select": select}}},
  }
  first, *rest = sentences.answer(workdir, records)
  assert first.startswith("ila helped")
  said = [line for line in rest if "a random part of the whole pool" in line]
  assert len(said) == bool(named)
  if named:
    assert f"made for {named}, and" in said[0]


@pytest.mark.parametrize(
  ("select", "how"),
  [
    ({"strategy": "ila"}, "alike"),
    ({"strategy": "ila", "cell_weight": 0.5}, "by n^0.5, for n candidates in"),
    ({"strategy": "trim", "cell_weight": 1.0}, "by the numbers of their candi"),
    ({"strategy": "ila", "cell_weight": "target"}, "by the target examples in"),
    ({"strategy": "ila_neyman", "cell_weight": "target"}, "by the target exam"),
    ({"strategy": "ila_marginal"}, "by what the last part of the reference"),
    ({"strategy": "stratified"}, "by the quotas of select.options.stratified."),
    (
      {"strategy": "stratified", "cell_weight": 1.0},
      "by the numbers of their candidates (config.select.cell_weight), and by "
      "the quotas",
    ),
    ({"strategy": "ila_neyman"}, None),  # Its shares are its own.
    ({"strategy": "longest"}, None),
    ({}, None),
  ],
)
def test_how_the_cells_share_the_budget(select, how):
  told = sentences._shares({"inputs": {"config": {"select": select}}})
  assert len(told) == (how is not None)
  if how:
    assert told[0].startswith(f"The cells share the budget {how}")
