"""Plan of stage `score`: its time, memory and bytes on disk."""

from ila_jax.forecast import costs, sizes, work
from ila_jax.score import losses
from ila_jax.training import trial

# Bytes of an example in the losses of a model and in the scores, of thousands.
_LOSS, _SCORES = 8, 25


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of tuning on each reference, and of all passes over the pool."""
  settings, sample = run.config.score, run.sample
  tuned = run.training(
    sample.data,
    trial.reference(run.config, seed=settings.reference_seeds[0]),
    examples=settings.reference_examples,
    runs=len(settings.reference_seeds),
  )
  names, models = losses.passes(run.config)
  one = run.scoring(sample.data, examples=sample.examples, models=models)
  return one.times(len(names)).and_also(tuned)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of losses, scores and tuned models, and of their checkpoints."""
  seeds = len(known.config.score.reference_seeds)
  models = 1 + seeds
  kept = known.examples * (models * _LOSS + _SCORES) + models * known.tables
  return costs.Need(kept + seeds * known.tuned, known.checkpoints)
