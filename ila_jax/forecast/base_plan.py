"""What a base from scratch takes and writes."""

import time

from ila_jax.forecast import costs, sizes, work
from ila_jax.training import base


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of training it on its own text, in its own tokens."""
  begin = time.monotonic()
  data = base.scratch_data(run.config, run.sample.tokenizer)
  reading = time.monotonic() - begin
  recipe = base.scratch_recipe(run.config)
  return run.training(data, recipe, examples=len(data)).plus(reading)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of its folder, and of its checkpoints."""
  return costs.Need(known.base + 4 * costs.TABLE, known.base_checkpoints)
