"""The divergence of base and tuned model against torch, example by example."""

import numpy as np
import pytest

from ila_jax.passes import forward
from ila_jax.pool import shards
from ila_jax.score.signals import example_signal
from ila_jax.score.signals.tuned import jsd_sft
from tests.support import planned, tiny, torch_models


def _probabilities(model, ids):
  logits = torch_models.torch_logits(model, ids[None])[0].astype(np.float64)
  each = np.exp(logits - logits.max(axis=-1, keepdims=True))
  return each / each.sum(axis=-1, keepdims=True)


def test_it_is_that_of_torch_and_scipy(run):
  transformers = pytest.importorskip("transformers")
  distance = pytest.importorskip("scipy.spatial.distance")
  base, config, workdir = run
  seed = config.score.reference_seeds[0]
  tuned = transformers.AutoModelForCausalLM.from_pretrained(
    workdir / f"score/reference-{seed}", attn_implementation="eager"
  ).eval()
  wanted = []
  for table in shards.iterate(workdir, ["tokens", "is_response"]):
    columns = (table[name].to_pylist() for name in ("tokens", "is_response"))
    for ids, mask in zip(*columns, strict=True):
      ids, mask = np.array(ids, np.int32), np.array(mask)
      p, q = (_probabilities(model, ids) for model in (base, tuned))
      jsd = distance.jensenshannon(p, q, axis=-1) ** 2
      wanted.append(jsd[np.flatnonzero(mask) - 1].mean())
  example_signal.run(jsd_sft.SIGNAL, tiny.run(config, workdir))
  found = example_signal.read(workdir, "jsd_sft", np.arange(len(wanted)))
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-7)
  assert np.std(wanted) > 1e-3 * np.mean(wanted) > 0


def test_its_cost_is_two_passes():
  run = planned.run(train__method="full")
  data = run.sample.data
  one = forward.flops(
    run.decoder, data.lengths, response_tokens=data.response_tokens
  )
  cost = jsd_sft.SIGNAL.cost(run)
  assert cost.flops == 2 * one * run.sample.examples / len(data)
  assert "second whole model" in cost.left_out[-1]
