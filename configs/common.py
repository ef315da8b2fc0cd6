"""What all presets begin with. Others call this and set what differs.

Each field with its default, its meaning and what it may be: `ila --fields`, or
docs/guide/fields.md. They are declared in `ila_jax/sections/`.
"""

import ml_collections

from ila_jax import config_fields


def get_config() -> ml_collections.ConfigDict:
  """All fields with the values that most runs want."""
  return config_fields.defaults()


def paper(model_path: str) -> ml_collections.ConfigDict:
  """What the paper's base models share: labels, encoder, bfloat16, a mesh.

  Budgets, learning rates and batch sizes are ours; the paper's are not all
  printed.
  """
  config = get_config()
  config.pool.fields.labels = "label.ability_en"  # of Infinity-Instruct
  config.model.path = model_path
  config.model.dtype = "bfloat16"
  config.pool.shard_examples = 65536  # a shard fills the devices many times
  config.encoder.path = "BAAI/bge-base-en-v1.5"
  config.encoder.dtype = "bfloat16"
  config.encoder.max_tokens = 512
  config.encoder.batch_tokens = 65536
  config.score.batch_tokens = 32768
  config.score.reference_seeds = (0, 1, 2)
  config.train.batch_tokens = 131072
  config.train.remat = True
  return config
