"""Plan of stage `scaling`: its time, memory and bytes on disk."""

import numpy as np

from ila_jax.forecast import costs, sizes, work
from ila_jax.scaling import design

_SECONDS = 3.0  # Of fitting the law, which no trial tells.
_LINE = 400  # Bytes of a subset.


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of tuning on every subset, each with its dev loss, and of the law."""
  settings = run.config.scaling
  subsets = settings.runs
  if not subsets:
    return costs.Cost(0.0)
  size = _mean_size(run)
  kinds = bool(settings.subsets) + bool(settings.mixtures)
  kinds += min(settings.held_out, len(design.HELD_OUT_KINDS))
  runs = subsets + kinds * settings.repeats
  tuned = run.tuning(
    examples=size,
    runs=runs,
    evaluations=runs,
    turns=_turns(run, runs),
  )
  return tuned.plus(_SECONDS)


def _turns(run: work.PlannedRun, runs: int) -> list[tuple[int, float]]:
  """Runs on a device and examples of the longest, by group; []: no groups."""
  train, devices = run.config.train, run.machine.axes.count
  if train.runs_a_device is None:
    return []
  settings = run.config.scaling
  longest = float(max(settings.sizes))
  if settings.mixtures:
    longest = max(longest, settings.mixture_tokens[1] / run.sizes.response)
  size = train.runs_at_once(devices)
  groups = [min(size, runs - at) for at in range(0, runs, size)]
  return [(-(-count // devices), longest) for count in groups]


def _mean_size(run: work.PlannedRun) -> float:
  """Examples of a subset, in the mean; a mixture is told by its tokens."""
  settings = run.config.scaling
  low, high = np.log(settings.mixture_tokens)
  # Half of the mixtures are of the middle; the others between the ends.
  between = np.exp(np.linspace(low, high, 100)).mean()
  mixture = (np.exp((low + high) / 2) + between) / 2 / run.sizes.response
  designed = settings.subsets + settings.held_out
  total = designed * np.mean(settings.sizes) + settings.mixtures * mixture
  return float(total / settings.runs)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the subsets' lines and of the fits; no model is kept."""
  settings = known.config.scaling
  subsets = settings.runs
  return costs.Need(9 * costs.TABLE + _LINE * subsets)
