"""What a run makes before it selects, by methods and their options."""

import pytest

from ila_jax import errors
from ila_jax.selection import budget, needs
from tests.support import tiny


@pytest.mark.parametrize(
  ("variant", "wanted"),
  [
    ("plain", ["nll_without_prompt"]),
    ("cherry", ["nll_warmed_up"]),
    ("superfiltering", ["answers_alone"]),
    ("data_juicer", ["answers_alone", "nll_of_earlier"]),
  ],
)
def test_only_the_passes_of_a_variant_are_made(variant, wanted):
  config = tiny.config(
    "pool.jsonl",
    select__compare=("ifd", "random"),
    select__options__ifd__variant=variant,
  )
  assert needs.before(config, "select") == wanted
  assert needs.before(config, "finetune") == []


@pytest.mark.parametrize(
  ("options", "wanted"),
  [
    ({}, ["tag_embeddings", "tags"]),
    ({"propagation": 0.0}, ["tags"]),
    ({"labels": "cells"}, []),
  ],
)
def test_only_a_graph_of_labels_embeds_them(options, wanted):
  options = {f"select__options__mig__{k}": v for k, v in options.items()}
  config = tiny.config("pool.jsonl", select__compare=("mig",), **options)
  assert needs.before(config, "select") == wanted
  assert needs.early(config) == [name for name in wanted if name == "tags"]


def test_a_share_of_the_candidates_is_told_before_the_run():
  fields = {"select__unit": "examples", "select__budget": 30.0}
  rival = tiny.config(
    "pool.jsonl", select__compare=("superfiltering",), **fields
  )
  assert not budget.check_shares(rival.select, 150)
  (said,) = budget.check_shares(rival.select, 145)
  assert "superfiltering chooses from at most 29 of 145 candidates" in said
  fields["select__strategy"] = "superfiltering"
  ours = tiny.config("pool.jsonl", **fields)
  with pytest.raises(
    errors.InputError, match=r"raise --config\.select\.option"
  ):
    budget.check_shares(ours.select, 145)
  fields |= {"select__unit": "fraction", "select__budget": 0.25}
  with pytest.raises(errors.InputError, match=r"from at most 0\.2 of them"):
    tiny.config("pool.jsonl", **fields)
  fields["select__options__superfiltering__share"] = 0.25
  tiny.config("pool.jsonl", **fields)


def test_scores_that_a_rival_reads_are_told_by_name():
  config = tiny.config(
    "pool.jsonl",
    pool__fields__scores="good, hard",
    finetune__compare=("deita",),
    select__options__deita__quality="good",
    select__options__deita__complexity="hard",
  )
  place = "config.select.options.deita"
  assert needs.method_scores(config) == {
    f"{place}.quality": "good",
    f"{place}.complexity": "hard",
  }
  assert needs.before(config, "finetune") == ["scores"]
  needs._check_names(config, ["finetune"], ["hard", "good"])
  with pytest.raises(errors.InputError, match=r"complexity names 'hard'"):
    needs._check_names(config, ["finetune"], ["good"])
  needs._check_names(config, ["report"], [])
