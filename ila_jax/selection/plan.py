"""Plan of stage `select`: its time, memory and bytes on disk."""

import dataclasses
import os

from ila_jax.embed import encoders
from ila_jax.forecast import costs, sizes, work
from ila_jax.methods import effort as effort_lib
from ila_jax.methods import table
from ila_jax.score import target
from ila_jax.score.sae import published

# What no trial tells: seconds, and more for every example.
# Of 100 million these were 5e-6 (docs/results.md); each rival sorts, too.
_SECONDS, _SECONDS_EACH = 2.0, 1e-5
_RANKING = 22  # Bytes of an example in the ranking, of thousands.
_COMPARED = 2_000  # Bytes of a strategy in coverage.json.


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of ordering and comparing: assumed, and the methods' own efforts."""
  select = run.config.select
  total = costs.Cost(_SECONDS + _SECONDS_EACH * run.sample.examples)
  size = _size(run)
  for name in dict.fromkeys((select.strategy, *select.compare)):
    options = table.options(name, select.options)
    effort = table.METHODS[name].effort(size, options)
    if any(effort):
      total = total.and_also(_of_method(run, name, effort))
  return total


def _of_method(
  run: work.PlannedRun, name: str, effort: effort_lib.Effort
) -> costs.Cost:
  """Cost of a method, which is also a part of its own."""
  products = run.machine.products(effort.flops, "float32")
  reading = run.machine.reading(effort.read)
  host = effort.core_seconds / (os.cpu_count() or 1)
  found = products.and_also(reading).plus(host)
  part = costs.Part(name, found.seconds, effort.flops, effort.read)
  return dataclasses.replace(found, parts=(part,))


def _size(run: work.PlannedRun) -> effort_lib.Size:
  config = run.config
  return effort_lib.Size(
    candidates=run.sizes.candidates,
    wanted=round(min(run.sizes.selected, run.sizes.candidates)),
    targets=target.count(config) if config.select.targets else 0,
    embedding=encoders.width(config, run.decoder),
    hidden=run.decoder.width,
    feature_bytes=-(-published.latents(config.sae) // 8),
  )


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the ranking, and of the records that are selected."""
  selected = min(known.selected, known.examples)
  kept = known.examples * _RANKING + selected * known.record
  strategies = {known.config.select.strategy, *known.config.select.compare}
  kept += _COMPARED * len(strategies)
  return costs.Need(kept + 2 * costs.TABLE)
