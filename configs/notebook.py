"""A first selection in a notebook, or by `ila_jax.select`: minutes, offline.

The quickstart with a base of a tenth of its weights, which learns from the
documentation of three modules; nothing is left for the scaling law. For
trying pools and strategies, not for choosing data for a large model.

Command: ila --config notebook --workdir DIR --config.pool.source=POOL
Hardware: 2 CPU cores. Measured: 3 minutes up to the report (docs/tutorial.md).
"""

import ml_collections

from ila_jax.configs import quickstart


def get_config() -> ml_collections.ConfigDict:
  """The quickstart's pool and encoder, a smaller base, no scaling law."""
  config = quickstart.get_config()
  config.model.scratch.source = "docstrings:json,csv,asyncio"
  config.model.scratch.vocab = 1024
  config.model.scratch.layers = 2
  config.model.scratch.width = 64
  config.model.scratch.heads = 2
  config.model.scratch.mlp_width = 128
  config.finetune.epochs = 1.0
  config.scaling.subsets = 0
  config.scaling.held_out = 0
  config.lock()
  return config
