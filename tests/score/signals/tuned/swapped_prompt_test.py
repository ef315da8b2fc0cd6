"""What another prompt costs: torch scores the exchanged text as it stands."""

import dataclasses
import pathlib

import numpy as np
import pytest

from ila_jax import pipeline
from ila_jax.passes import forward
from ila_jax.pool import index, shards
from ila_jax.run import stage_record
from ila_jax.score.signals import example_signal
from ila_jax.score.signals.tuned import swapped_prompt
from tests.support import planned, tiny, torch_models

_NAME = swapped_prompt.NAME


@pytest.fixture(scope="module")
def values(run):
  """Of all records, two draws of two models."""
  _, config, workdir = run
  example_signal.run(swapped_prompt.SIGNAL, tiny.run(config, workdir))
  return example_signal.read(workdir, _NAME, np.arange(60))


def test_losses_are_those_of_torch(run, values):
  transformers = pytest.importorskip("transformers")
  base, config, workdir = run
  seed = config.score.reference_seeds[0]
  tuned = transformers.AutoModelForCausalLM.from_pretrained(
    workdir / f"score/reference-{seed}", attn_implementation="eager"
  ).eval()
  records = [
    (np.array(ids, np.int32), np.array(mask))
    for table in shards.iterate(workdir, ["tokens", "is_response"])
    for ids, mask in zip(
      table["tokens"].to_pylist(), table["is_response"].to_pylist(), strict=True
    )
  ]
  prompt = index.column(workdir, "prompt_id")
  firsts = [int(np.flatnonzero(mask)[0]) for _, mask in records]
  for row in range(0, len(records), 12):
    ids, mask = records[row]
    # Which prompt it was: the one whose losses these are.
    found = values[row].reshape(2, 2)
    rises = {}
    for other, first in enumerate(firsts):
      if prompt[other] == prompt[row]:
        continue
      text = np.r_[records[other][0][:first], ids[firsts[row] :]]
      target = np.r_[np.zeros(first, bool), mask[firsts[row] :]]
      rises[int(prompt[other])] = [
        torch_models.torch_nll(model, text.astype(np.int32), target)
        - torch_models.torch_nll(model, ids, mask)
        for model in (base, tuned)
      ]
    matches = [
      [p for p, r in rises.items() if np.allclose(r, one, atol=2e-3)]
      for one in found
    ]
    assert all(matches), (row, found, rises)
  assert np.std(values) > 0


def test_neither_shards_nor_the_order_of_the_pool_change_it(
  run, values, tmp_path
):
  _, config, workdir = run
  lines = pathlib.Path(config.pool.sources[0]).read_text().splitlines()
  (tmp_path / "pool.jsonl").write_text("\n".join(lines[::-1]) + "\n")
  pool = dataclasses.replace(
    config.pool, source=str(tmp_path / "pool.jsonl"), shard_examples=17
  )
  other = dataclasses.replace(config, pool=pool)
  pipeline.run(other, tmp_path / "work", stages=["pool", "score"])
  made = tiny.run(other, tmp_path / "work")
  example_signal.run(swapped_prompt.SIGNAL, made)
  got = example_signal.read(made.workdir, _NAME, np.arange(60))
  one, two = (
    np.argsort(index.column(folder, "id")) for folder in (workdir, made.workdir)
  )
  # The tuned model has read its reference set in another order.
  np.testing.assert_allclose(got[two][:, 0::2], values[one][:, 0::2], atol=2e-3)


def test_its_record_tells_what_it_is_worth(run, values):
  _, _, workdir = run
  record = stage_record.read_record(workdir / "signals" / _NAME)[_NAME]
  n_tokens = index.column(workdir, "n_response_tokens")
  each = values.reshape(60, 2, 2) / n_tokens[:, None, None]
  score = each[:, :, 1].mean(axis=1)
  assert record["junk_bound"] == pytest.approx(min(2 * (score < 0).mean(), 1))
  wanted = np.corrcoef(each[:, :, 1].T)[0, 1]
  assert record["specificity_reliability"] == pytest.approx(wanted, abs=1e-5)
  contrast = each[:, :, 1] - each[:, :, 0]
  wanted = np.corrcoef(contrast.T)[0, 1]
  assert record["contrast_reliability"] == pytest.approx(wanted, abs=1e-5)
  assert record["without"] == 0 and record["borrow"] == 0


@pytest.mark.parametrize(
  ("field", "value"), [("seed", 3), ("signals__other_prompts", 7)]
)
def test_each_field_makes_another_signal(monkeypatch, field, value):
  monkeypatch.setattr(stage_record, "output", lambda *_: "scored")
  before, after = (
    swapped_prompt.SIGNAL.made_from(tiny.run(tiny.config("x", **f), "work"))
    for f in ({}, {field: value})
  )
  assert before["score"] == "scored" and before != after


def test_what_is_said_of_it():
  found = {
    "specificity_reliability": 0.9,
    "contrast_reliability": 0.37,
    "junk_bound": 0.25,
    "without": 3,
  }
  said = list(swapped_prompt.sentences(found, borrow=2, domains=5))
  assert said[0].startswith("about 25.0% of the responses at most have n")
  assert said[1].startswith("2 examples are in a domain of a single prompt")
  assert said[2].startswith("warning: 3 examples have no other prompt")
  assert "contrast by a correlation of 0.37 only: ila_contrastive" in said[3]
  assert len(said) == 4
  # A bound of all says nothing, and neither does one domain that is alone.
  found |= {"junk_bound": 1.0, "without": 0, "contrast_reliability": None}
  assert not list(swapped_prompt.sentences(found, borrow=9, domains=1))


def test_one_draw_has_no_reliability():
  assert swapped_prompt.reliability(np.ones((9, 1))) is None
  assert swapped_prompt.reliability(np.ones((9, 2))) is None


def test_its_cost_is_a_pass_of_each_model_for_each_draw():
  run = planned.run(train__method="full", signals__other_prompts=3)
  data = run.sample.data
  one = forward.flops(
    run.decoder, data.lengths, response_tokens=data.response_tokens
  )
  cost = swapped_prompt.SIGNAL.cost(run)
  assert cost.flops == 6 * one * run.sample.examples / len(data)
  assert swapped_prompt.SIGNAL.width_of(run.config) == 6
