"""A small pool of questions and conversations, under a random torch model."""

import itertools

from etils import epath

from ila_jax import pipeline
from tests.support import model_folders, tiny, torch_models


def records():
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


def run(folder):
  """A run whose pool and losses are made: (torch's model, config, workdir)."""
  (folder / "model").mkdir()
  texts = [str(row) for row in tiny.records(60)]
  model_folders.llama(folder / "model", texts)
  theirs = torch_models.causal("llama", vocab_size=320)
  torch_models.save(theirs, folder / "model")
  config = tiny.config(
    tiny.write(folder / "pool.jsonl", records()),
    model__path=str(folder / "model"),
    pool__shard_examples=32,
    pool__dev_examples=5,
    score__reference_examples=5,
    # What is of the first set, and not of the last, tests can tell.
    score__reference_seeds=(1, 0),
  )
  workdir = epath.Path(folder / "work")
  pipeline.run(config, workdir, stages=["pool", "score"])
  return theirs, config, workdir


def answers(mask):
  """The runs of True, walked one by one."""
  found, begin = [], None
  for place, is_answer in enumerate([*mask, False]):
    if is_answer and begin is None:
      begin = place
    elif not is_answer and begin is not None:
      found.append((begin, place))
      begin = None
  return found
