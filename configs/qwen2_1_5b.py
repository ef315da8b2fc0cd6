"""ILA with Qwen2-1.5B, one of the paper's base models (its experiments).

Encoder BAAI/bge-base-en-v1.5; depth as published (Equation 5); a 2-D t-SNE
under a uniform grid; labels from Infinity-Instruct's `label.ability_en`.

Command: python -m ila_jax --config configs/qwen2_1_5b.py --workdir gs://DIR \
  --config.pool.source=POOL --config.select.budget=5000
Hardware: a TPU slice or GPUs; set config.mesh.fsdp to the devices of a host.
Time: not measured. Expected numbers: not measured.
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
  """The general config with this base, in bfloat16 compute."""
  config = common.get_config()
  config.pool.fields.labels = "label.ability_en"
  config.model.path = "Qwen/Qwen2-1.5B"
  config.model.dtype = "bfloat16"
  config.encoder.path = "BAAI/bge-base-en-v1.5"
  config.encoder.dtype = "bfloat16"
  config.encoder.max_tokens = 512
  config.encoder.batch_tokens = 65536
  config.score.batch_tokens = 32768
  config.score.reference_seeds = (0, 1, 2)
  config.train.batch_tokens = 131072
  config.lock()
  return config
