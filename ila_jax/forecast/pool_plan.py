"""What stage `pool` takes and writes."""

from ila_jax import config as config_lib
from ila_jax.forecast import costs, sizes, work

_INDEX = 30  # Bytes of an example in the index, of thousands.
_OUTCOME = 35  # Bytes of a record among the outcomes of its split.


def cost(run: work.PlannedRun) -> costs.Cost:
  """Seconds of reading and tokenizing, by those of the sample."""
  return costs.Cost(run.sample.seconds or 0.0)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the shards and the index, and of a tokenizer that is made.

  The splits are there until they are merged: their records as in the shards,
  and what became of each record.
  """
  shards = known.examples * known.stored
  kept = shards + known.examples * _INDEX + known.tables
  if known.config.model.path == config_lib.SCRATCH:
    kept += known.tokenizer
  return costs.Need(kept, passing=shards + known.examples * _OUTCOME)
