"""Plan of stage `laboratory`: its time, memory and bytes on disk."""

from ila_jax.forecast import costs, sizes, work
from ila_jax.laboratory import runs
from ila_jax.selection import needs

# Bytes of a run, and of the record and the checksums.
_LINE, _RECORD = 1000, 700


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of tuning on every subset, each with its dev loss."""
  arms = needs.laboratory_of(run.config)
  if not arms:
    return costs.Cost(0.0)
  planned = runs.planned(arms, run.config.laboratory)
  response = run.sizes.response
  mean = sum(one.budget for one in planned) / len(planned) / response
  return run.tuning(
    examples=mean,
    runs=len(planned),
    evaluations=len(planned) + 1,  # And one of the base.
    judged=run.sizes.judged,
    turns=_turns(run, planned),
  )


def _turns(
  run: work.PlannedRun, planned: list[runs.Planned]
) -> list[tuple[int, float]]:
  """Runs on a device and examples of the longest, by group; []: no groups."""
  train, devices = run.config.train, run.machine.axes.count
  if train.runs_a_device is None:
    return []
  return [
    (
      -(-len(group) // devices),
      max(one.budget for one in group) / run.sizes.response,
    )
    for group in runs.groups(planned, train.runs_at_once(devices))
  ]


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the lines and of the dev losses; no model is kept."""
  arms = needs.laboratory_of(known.config)
  if not arms:
    return costs.Need(_RECORD)
  count = len(runs.planned(arms, known.config.laboratory))
  each = _LINE + 4 * known.judged
  return costs.Need(_RECORD + costs.TABLE + count * each)
