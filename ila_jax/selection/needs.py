"""Signals that must be computed before the methods of a stage can rank."""

from ila_jax import config as config_lib
from ila_jax.methods import table
from ila_jax.score.signals import table as signals_table


def signals(config: config_lib.Config, stage: str) -> list[str]:
  """The signals that the methods of a stage need, each once."""
  rivals = {
    "select": config.select.compare,
    "finetune": config.finetune.compare,
  }
  if stage not in rivals:
    return []
  names = (config.select.strategy, *rivals[stage])
  return signals_table.among(
    dict.fromkeys(need for name in names for need in table.METHODS[name].needs)
  )
