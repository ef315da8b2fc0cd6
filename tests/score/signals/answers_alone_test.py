"""Losses for each published IFD against torch, an answer at a time."""

import numpy as np
import pytest

from ila_jax.pool import base_tokenizer, shards
from ila_jax.run.disk import files
from ila_jax.score.signals import (
  answers_alone,
  example_signal,
  nll_of_earlier,
)
from ila_jax.score.signals.tuned import nll_warmed_up
from tests.support import conversations, tiny, torch_models


def _examples(workdir):
  """Tokens, mask and answers of each example, in the order of the pool."""
  for table in shards.iterate(workdir, ["tokens", "is_response"]):
    columns = (table[name].to_pylist() for name in ("tokens", "is_response"))
    for ids, mask in zip(*columns, strict=True):
      yield np.array(ids, np.int32), np.array(mask), conversations.answers(mask)


def _signal(run, signal):
  _, config, workdir = run
  example_signal.run(signal, tiny.run(config, workdir))
  count = sum(1 for _ in _examples(workdir))
  return example_signal.read(workdir, signal.name, np.arange(count))


def test_nothing_predicts_the_first_token_of_an_answer_alone(run):
  theirs, _, workdir = run
  wanted = []
  for ids, _, parts in _examples(workdir):
    each = [
      torch_models.torch_nll(theirs, ids[begin:end], np.arange(end - begin) > 0)
      for begin, end in parts
    ]
    counts = [end - begin - 1 for begin, end in parts]
    wanted.append([sum(each), sum(counts), each[-1], counts[-1]])
  found = _signal(run, answers_alone.SIGNAL)
  np.testing.assert_allclose(found, wanted, rtol=2e-5)
  assert (found[:, 0] > found[:, 2]).any()


def test_earlier_answers_are_read_with_all_before_them(run):
  theirs, _, workdir = run
  wanted, nll_base = [], []
  for ids, mask, parts in _examples(workdir):
    earlier = mask & (np.arange(len(mask)) < parts[-1][0])
    several = len(parts) > 1
    wanted.append(torch_models.torch_nll(theirs, ids, earlier) * several)
    nll_base.append(torch_models.torch_nll(theirs, ids, mask))
  found = _signal(run, nll_of_earlier.SIGNAL)
  np.testing.assert_allclose(found, wanted, rtol=2e-5)
  assert 0 < (found == 0).sum() < len(found)
  scores = files.read_table(workdir / "score/scores.parquet")
  of_last = scores["nll_base"] - found[scores["row"]]
  of_last_by_torch = np.subtract(nll_base, wanted)[scores["row"]]
  np.testing.assert_allclose(of_last, of_last_by_torch, rtol=1e-4)


def test_a_warmed_up_model_reads_an_answer_behind_its_header(run):
  transformers = pytest.importorskip("transformers")
  _, config, workdir = run
  seed = config.score.reference_seeds[0]
  tuned = transformers.AutoModelForCausalLM.from_pretrained(
    workdir / f"score/reference-{seed}", attn_implementation="eager"
  ).eval()
  tokenizer = base_tokenizer.tokenizer(config, workdir)
  header = tokenizer.encode("### Response:\n", add_special_tokens=False)
  before = [tokenizer.bos_token_id, *header]
  wanted = []
  for ids, mask, parts in _examples(workdir):
    alone = 0.0
    for begin, end in parts:
      answer = np.array([*before, *ids[begin:end]], np.int32)
      is_answer = np.arange(len(answer)) >= len(before)
      alone += torch_models.torch_nll(tuned, answer, is_answer)
    wanted.append([torch_models.torch_nll(tuned, ids, mask), alone])
  found = _signal(run, nll_warmed_up.SIGNAL)
  np.testing.assert_allclose(found, wanted, rtol=5e-5)
