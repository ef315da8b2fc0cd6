"""The loss without the prompt against torch, an answer at a time."""

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.pool import base_tokenizer, shards
from ila_jax.run.disk import files
from ila_jax.score.signals import example_signal, nll_without_prompt
from tests.support import conversations, tiny, torch_models

_ONE = np.ones(1, np.int32)


def test_losses_are_those_of_torch(run):
  theirs, config, workdir = run
  made = tiny.run(config, workdir)
  example_signal.run(nll_without_prompt.SIGNAL, made)
  start = base_tokenizer.tokenizer(config, workdir).bos_token_id
  assert start is not None
  wanted, answers = [], []
  for table in shards.iterate(workdir, ["tokens", "is_response"]):
    for ids, mask in zip(
      table["tokens"].to_pylist(), table["is_response"].to_pylist(), strict=True
    ):
      parts = conversations.answers(mask)
      answers.append(len(parts))
      wanted.append(
        sum(
          torch_models.torch_nll(
            theirs,
            np.array([start, *ids[begin:end]], np.int32),
            np.arange(end - begin + 1) > 0,
          )
          for begin, end in parts
        )
      )
  assert {1, 2, 3} <= set(answers)
  found = example_signal.read(
    workdir, "nll_without_prompt", np.arange(len(wanted))
  )
  np.testing.assert_allclose(found, wanted, rtol=2e-5)


@pytest.mark.parametrize("longest", [4, 256])
def test_the_same_tokens_are_predicted_as_with_the_prompt(run, longest):
  _, _config, workdir = run
  index = files.read_table(workdir / "pool/index.parquet")
  counts = []
  for table in shards.iterate(workdir, ["tokens", "is_response"]):
    data = nll_without_prompt.token_set.tokens_of(table)
    # Also where the answers are read in windows.
    alone = nll_without_prompt.alone(data, before=_ONE, max_tokens=longest)
    assert alone.data.lengths.max() <= longest
    targets = np.array([mask.sum() for mask in alone.data.is_response])
    counts.append(alone.total(targets))
  np.testing.assert_array_equal(
    np.concatenate(counts), index["n_response_tokens"]
  )


class _Tokenizer:
  bos_token_id = eos_token_id = None


def test_a_text_begins_with_the_token_that_begins_or_ends_one(run):
  _, config, _ = run
  tokenizer = _Tokenizer()
  with pytest.raises(errors.InputError, match="names no token that begins"):
    nll_without_prompt.start_token(config, tokenizer)
  tokenizer.eos_token_id = 7  # As GPT-2's.
  assert nll_without_prompt.start_token(config, tokenizer) == 7
  tokenizer.bos_token_id = 0
  assert nll_without_prompt.start_token(config, tokenizer) == 0


@pytest.mark.parametrize(
  ("change", "same"),
  [
    ({"score__epochs": 7.0}, True),
    ({"seed": 3}, True),  # This base is not made here.
    ({"train__batch_tokens": 4096}, True),
    ({"model__dtype": "bfloat16"}, False),
    ({"model__path": "scratch"}, False),
  ],
)
def test_it_is_made_from_the_base_and_from_nothing_else(run, change, same):
  _, config, workdir = run
  fields = {"model__path": config.model.path} | change
  other = tiny.config(config.pool.sources, **fields)
  made = [
    nll_without_prompt.SIGNAL.made_from(tiny.run(one, workdir))
    for one in (config, other)
  ]
  assert (made[0] == made[1]) == same
