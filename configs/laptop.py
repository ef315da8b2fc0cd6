"""Real pools on a machine without an accelerator: a small base from scratch.

The base has 0.4 million weights and is trained on Python's documentation, so
depth says how this pool differs from that, not what a 7B model would learn:
for trying pools, maps and strategies. Of two public pools it knows which field
is the domain: the subject in MATH, the category in Dolly.

Command: ila --config laptop --workdir DIR \
  --config.pool.source=POOL --config.encoder.path=ENCODER
Hardware: 2 CPU cores. Measured: 8 minutes for Alpaca 52k with MiniLM, dev loss
7.10 of the base, 6.24 tuned on ILA's 5,000 (docs/results.md).
"""

import ml_collections

from ila_jax.configs import common


def get_config() -> ml_collections.ConfigDict:
  """Any pool; encoder.path is yours to set, to a MiniLM folder or 'lsa'."""
  config = common.get_config()
  config.pool.overrides = {
    "math*": {"domain": "type"},
    "dolly*": {"domain": "category"},
  }
  config.tokens.max_tokens = 512
  config.tokens.overflow = "truncate_prompt"
  config.model.path = "scratch"
  config.model.scratch.layers = 2
  config.model.scratch.width = 64
  config.model.scratch.heads = 2
  config.model.scratch.kv_heads = 1
  config.model.scratch.mlp_width = 192
  config.train.batch_tokens = 8192
  config.score.reference_examples = 2000
  config.score.learning_rate = 1e-3
  config.finetune.epochs = 1.0
  config.finetune.learning_rate = 1e-3
  config.scaling.subsets = 0
  config.scaling.held_out = 0
  config.lock()
  return config
