"""Signals that must be computed before a stage can do its work."""

from collections.abc import Iterable

from ila_jax import config as config_lib
from ila_jax.landscape import depth
from ila_jax.methods import table
from ila_jax.score.signals import scores
from ila_jax.score.signals import table as signals_table
from ila_jax.selection import filters


def signals(config: config_lib.Config, stage: str) -> list[str]:
  """The signals that a stage reads, each once."""
  rivals = {
    "select": config.select.compare,
    "finetune": config.finetune.compare,
  }
  by_score = {"landscape": bool(depth.score_name(config.landscape.depth))}
  by_score |= dict.fromkeys(
    ("select", "finetune", "scaling"), bool(filters.scores(config.select))
  )
  needs = [scores.NAME] if by_score.get(stage) else []
  if stage in rivals:
    for name in (config.select.strategy, *rivals[stage]):
      needs += table.METHODS[name].needs
  return signals_table.among(dict.fromkeys(needs))


def of_all(config: config_lib.Config, stages: Iterable[str]) -> list[str]:
  """The signals that are computed where some stages run, each once."""
  after_pool = [stage for stage in stages if stage != "pool"]
  found = early(config) if after_pool else []
  for stage in after_pool:
    found += signals(config, stage)
  return list(dict.fromkeys(found))


def early(config: config_lib.Config) -> list[str]:
  """The signals that are computed right after the pool, whoever reads them.

  Scores take seconds, and a name that is wrong is told before the models run;
  the report shows them all.
  """
  named = config.pool.fields.scores.strip() or config.pool.score_files
  return [scores.NAME] if named else []
