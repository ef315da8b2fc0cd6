"""Plan of stage `scaling`: its time, memory and bytes on disk."""

import numpy as np

from ila_jax.forecast import costs, sizes, work

_SECONDS = 3.0  # Of fitting the law, which no trial tells.
_LINE = 300  # Bytes of a subset.


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of tuning on every subset, each with its dev loss, and of the law."""
  settings = run.config.scaling
  subsets = settings.subsets + settings.held_out
  if not subsets:
    return costs.Cost(0.0)
  size = float(np.mean(settings.sizes))
  tuned = run.tuning(examples=size, runs=subsets, evaluations=subsets)
  return tuned.plus(_SECONDS)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the subsets' lines and of the fits; no model is kept."""
  settings = known.config.scaling
  subsets = settings.subsets + settings.held_out
  return costs.Need(6 * costs.TABLE + _LINE * subsets)
