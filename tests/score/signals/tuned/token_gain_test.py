"""Clipped gains of tokens against torch, token by token."""

import dataclasses

import numpy as np
import pytest

from ila_jax.pool import shards
from ila_jax.run import stage_record
from ila_jax.score.signals import example_signal
from ila_jax.score.signals.tuned import token_gain
from tests.support import conversations, tiny, torch_models


def _losses(model, ids):
  """The loss of each token but the first, given all before it."""
  logits = torch_models.torch_logits(model, ids[None])[0].astype(np.float64)
  shifted = logits - logits.max(axis=-1, keepdims=True)
  log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
  return -log_p[np.arange(len(ids) - 1), ids[1:]]


def test_it_is_that_of_torch(run, tmp_path):
  transformers = pytest.importorskip("transformers")
  base, config, workdir = run
  seed = config.score.reference_seeds[0]
  tuned = transformers.AutoModelForCausalLM.from_pretrained(
    workdir / f"score/reference-{seed}", attn_implementation="eager"
  ).eval()
  gains, counted = [], []
  for table in shards.iterate(workdir, ["tokens", "is_response"]):
    columns = (table[name].to_pylist() for name in ("tokens", "is_response"))
    for ids, mask in zip(*columns, strict=True):
      ids = np.array(ids, np.int32)
      each = _losses(base, ids) - _losses(tuned, ids)
      inner = [
        place
        for begin, end in conversations.answers(mask)
        for place in range(begin + 1, end - 1)
      ]
      counted.append(len(inner))
      gains.append(each[np.array(inner, int) - 1])
  # So that some are clipped, and most are not.
  clip = float(np.quantile(np.abs(np.concatenate(gains)), 0.8))
  signals = dataclasses.replace(config.signals, token_clip=clip)
  made = tiny.run(dataclasses.replace(config, signals=signals), workdir)
  example_signal.run(token_gain.SIGNAL, made)
  found = example_signal.read(workdir, "token_gain", np.arange(len(gains)))
  wanted = [np.clip(own, -clip, clip).mean() for own in gains]
  np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-6)
  assert min(counted) > 0


def test_another_clip_makes_another_signal(monkeypatch):
  monkeypatch.setattr(stage_record, "output", lambda *_: "scored")
  before, after = (
    token_gain.SIGNAL.made_from(tiny.run(tiny.config("x", **fields), "work"))
    for fields in ({}, {"signals__token_clip": 7.0})
  )
  assert before["score"] == "scored" and before != after


def test_an_answer_of_two_tokens_has_none():
  mask = np.array([False, True, True, False, True, True, True])
  data = token_gain.token_set.TokenSet([np.arange(7, dtype=np.int32)], [mask])
  assert token_gain.inner(data).is_response[0].tolist() == [
    *(False, False, False, False, False, True, False),
  ]
  assert mask.sum() == 5  # It is left as it was.
