"""What stage `pool` takes and writes."""

from ila_jax import config as config_lib
from ila_jax.forecast import costs, sizes, work

_INDEX = 30  # Bytes of an example in the index, of thousands.


def cost(run: work.PlannedRun) -> costs.Cost:
  """Seconds of reading and tokenizing, by those of the sample."""
  return costs.Cost(run.sample.seconds or 0.0)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the shards and the index, and of a tokenizer that is made."""
  kept = known.examples * (known.stored + _INDEX) + known.tables
  if known.config.model.path == config_lib.SCRATCH:
    kept += known.tokenizer
  return costs.Need(kept)
