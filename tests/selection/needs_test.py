"""What a run makes before it selects, by methods and their options."""

import pytest

from ila_jax import errors
from ila_jax.selection import needs
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
