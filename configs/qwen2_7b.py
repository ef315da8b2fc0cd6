"""ILA with Qwen2-7B, one of the paper's base models (its experiments).

Depth as published (Equation 5), 2-D t-SNE under a uniform grid, BGE embeddings.

Command: ila --config qwen2_7b --workdir gs://DIR \
  --config.pool.source=POOL --config.mesh.fsdp=8
Labels are read as Infinity-Instruct has them; for a pool without them add
--config.pool.fields.labels= to the command.
Hardware: a TPU slice or GPUs. Time and expected numbers: not measured.
"""

import ml_collections

from ila_jax.configs import common


def get_config() -> ml_collections.ConfigDict:
  """The paper's setting with this base; `pool.source` is yours to set."""
  config = common.paper("Qwen/Qwen2-7B")
  config.lock()
  return config
