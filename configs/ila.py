"""ILA on your own pool, model and encoder: the general config.

Command: ila --config ila --workdir runs/mine \
  --config.pool.source=POOL --config.model.path=MODEL \
  --config.encoder.path=ENCODER --config.select.budget=5000
Paper: arXiv 2509.06463, the method's section; Equation 5 for depth.
Hardware, time, expected numbers: not measured; see docs/results.md for runs
that were.
"""

import ml_collections

from ila_jax.configs import common


def get_config() -> ml_collections.ConfigDict:
  """All defaults; pool.source, model.path and encoder.path are yours to set."""
  config = common.get_config()
  config.lock()
  return config
