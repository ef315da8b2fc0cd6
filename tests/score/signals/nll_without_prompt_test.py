"""The loss without the prompt against torch, an answer at a time."""

import itertools

import numpy as np
import pytest
from etils import epath

from ila_jax import errors, pipeline
from ila_jax.compute import mesh
from ila_jax.pool import base_tokenizer, shards
from ila_jax.run import context
from ila_jax.run.disk import files
from ila_jax.score.signals import example_signal, nll_without_prompt
from tests.support import model_folders, tiny, torch_models


def _records():
  """Questions with one answer, and conversations of up to three."""
  rows = tiny.records(60)
  for i, row in enumerate(rows):
    if i % 3 == 0:
      turns = [row["instruction"], row["output"]] * (1 + i % 4)
      roles = itertools.cycle(("user", "assistant"))
      rows[i] = {
        "messages": [
          {"role": role, "content": f"{text} {place}"}
          for place, (role, text) in enumerate(zip(roles, turns, strict=False))
        ]
      }
  return rows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """The signal of a torch model: (torch's model, config, workdir)."""
  folder = tmp_path_factory.mktemp("run")
  (folder / "model").mkdir()
  texts = [str(row) for row in tiny.records(60)]
  model_folders.llama(folder / "model", texts)
  theirs = torch_models.causal("llama", vocab_size=320)
  torch_models.save(theirs, folder / "model")
  config = tiny.config(
    tiny.write(folder / "pool.jsonl", _records()),
    model__path=str(folder / "model"),
    pool__shard_examples=32,
    pool__dev_examples=5,
    score__reference_examples=5,
  )
  workdir = epath.Path(folder / "work")
  pipeline.run(config, workdir, stages=["pool"])
  run = context.Run(config, workdir, mesh.make())
  example_signal.run(nll_without_prompt.SIGNAL, run)
  return theirs, config, workdir


def _answers(mask):
  """The runs of True, walked one by one."""
  found, begin = [], None
  for place, is_answer in enumerate([*mask, False]):
    if is_answer and begin is None:
      begin = place
    elif not is_answer and begin is not None:
      found.append((begin, place))
      begin = None
  return found


def test_losses_are_those_of_torch(run):
  theirs, config, workdir = run
  start = base_tokenizer.tokenizer(config, workdir).bos_token_id
  assert start is not None
  wanted, answers = [], []
  for table in shards.iterate(workdir, ["tokens", "is_response"]):
    for ids, mask in zip(
      table["tokens"].to_pylist(), table["is_response"].to_pylist(), strict=True
    ):
      parts = _answers(mask)
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
    alone = nll_without_prompt.alone(data, start=1, max_tokens=longest)
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
    nll_without_prompt._start_token(config, tokenizer)
  tokenizer.eos_token_id = 7  # As GPT-2's.
  assert nll_without_prompt._start_token(config, tokenizer) == 7
  tokenizer.bos_token_id = 0
  assert nll_without_prompt._start_token(config, tokenizer) == 0


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
