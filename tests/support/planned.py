"""A run that has not begun, and sizes of one, for plans of stages."""

from typing import Any

import numpy as np

from ila_jax.compute import mesh
from ila_jax.forecast import here, pool_sample, sizes, work
from ila_jax.models import architecture
from ila_jax.passes import token_set
from tests.support import tiny

# 250 million weights, as the tests of sizes count on.
DECODER = architecture.DecoderConfig(
  vocab=15_625,
  layers=20,
  width=1024,
  heads=16,
  kv_heads=16,
  head_dim=64,
  mlp_width=2443,
)
SMALL = architecture.DecoderConfig(
  vocab=64, layers=1, width=16, heads=2, kv_heads=1, head_dim=8, mlp_width=32
)


def known(**fields: Any) -> sizes.Sizes:
  """Sizes of a run on 10,000 examples of 50 tokens to learn."""
  fields = {"model__path": "a/model"} | fields
  return sizes.Sizes(
    tiny.config("pool.jsonl", **fields),
    DECODER,
    examples=10_000,
    stored=700.0,
    record=1000.0,
    response=50.0,
  )


def run(
  decoder: architecture.DecoderConfig = SMALL, **fields: Any
) -> work.PlannedRun:
  """A run on a pool of 1,000, of which 40 are in the sample."""
  lengths = np.arange(10, 50)
  tokens = [np.arange(n, dtype=np.int32) for n in lengths]
  data = token_set.TokenSet(tokens, [ids >= len(ids) // 2 for ids in tokens])
  sample = pool_sample.Sample(
    examples=1000,
    data=data,
    prompts=[f"Say {n} times hello to number {n}." for n in lengths],
    tokenizer=None,
    seconds=None,
    source="in a test",
    stored=700.0,
    record=1000.0,
  )
  devices = mesh.make()
  config = tiny.config("pool.jsonl", **fields)
  return work.PlannedRun(config, devices, sample, decoder, here.Here(devices))
