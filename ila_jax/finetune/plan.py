"""Plan of stage `finetune`: its time, memory and bytes on disk."""

from ila_jax.finetune import arms as arms_lib
from ila_jax.forecast import costs, sizes, work


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of tuning on every arm, and of the dev losses of all and the base."""
  config = run.config
  count = len(arms_lib.arms(config.select.strategy, config.finetune.compare))
  return run.tuning(
    examples=run.sizes.selected, runs=count, evaluations=count + 1
  )


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the model that is kept, and of the checkpoints of one arm."""
  config = known.config
  count = len(arms_lib.arms(config.select.strategy, config.finetune.compare))
  losses = (20 + 4 * (count + 1)) * config.pool.dev_examples
  return costs.Need(known.tuned + 6 * costs.TABLE + losses, known.checkpoints)
