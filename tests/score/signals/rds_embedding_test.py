"""Embeddings of RDS+ against torch's hidden states, a record at a time.

Those of a target set: `tests/end_to_end/target_test.py`.
"""

import numpy as np
import pytest
from etils import epath

from ila_jax import pipeline
from ila_jax.pool import shards
from ila_jax.score.signals import example_signal, rds_embedding
from ila_jax.selection import inputs
from tests.support import model_folders, tiny, torch_models

# Tokens that are read of a record; some have more.
_LONGEST = 60


def _torch(model, ids):
  """The weighted mean of a record's hidden states, at unit norm."""
  import torch

  with torch.no_grad():
    found = model(torch.tensor([ids]), output_hidden_states=True)
  states = found.hidden_states[-1][0].numpy()
  mean = np.average(states, axis=0, weights=np.arange(len(ids)) + 1)
  return mean / np.linalg.norm(mean)


def test_they_are_those_of_torch(tmp_path, capsys):
  pytest.importorskip("torch")
  (tmp_path / "model").mkdir()
  rows = tiny.records(60)
  model_folders.llama(tmp_path / "model", [str(row) for row in rows])
  theirs = torch_models.causal("llama", vocab_size=320)
  torch_models.save(theirs, tmp_path / "model")
  config = tiny.config(
    tiny.write(tmp_path / "pool.jsonl", rows),
    model__path=str(tmp_path / "model"),
    tokens__max_tokens=_LONGEST,
    tokens__overflow="windows",
    pool__shard_examples=32,
    pool__dev_examples=5,
    score__reference_examples=5,
  )
  workdir = epath.Path(tmp_path / "work")
  pipeline.run(config, workdir, stages=["pool"])
  example_signal.run(rds_embedding.SIGNAL, tiny.run(config, workdir))
  tokens = [
    ids
    for table in shards.iterate(workdir, ["tokens"])
    for ids in table["tokens"].to_pylist()
  ]
  wanted = np.array([_torch(theirs, ids[:_LONGEST]) for ids in tokens])
  cut = sum(len(ids) > _LONGEST for ids in tokens)
  assert 0 < cut < len(tokens)
  said = f"of {cut} of {len(tokens)} examples the first 60 tokens are read"
  assert said in capsys.readouterr().err
  found = inputs.Inputs(workdir, np.arange(len(wanted)))["rds_embedding"]
  places = np.random.default_rng(0).permutation(len(wanted))
  np.testing.assert_allclose(found[places], wanted[places], atol=5e-4)
