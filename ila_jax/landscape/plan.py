"""Plan of stage `landscape`: its time, memory and bytes on disk."""

from ila_jax.embed import encoders
from ila_jax.forecast import costs, sizes, work
from ila_jax.landscape.maps import projections, trial
from ila_jax.sections import landscape

# What no trial tells: seconds, and more for every example.
_SECONDS, _SECONDS_EACH = 6.0, 2e-4
_CELLS = 70  # Bytes of an example in the table of cells, of thousands.


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of a map that is fitted on some examples and places all of them."""
  settings, examples = run.config.landscape, run.sample.examples
  cost = costs.Cost(
    _SECONDS + _SECONDS_EACH * examples, left_out=_left_out(settings)
  )
  if settings.map is not None:
    return cost
  return cost.and_also(trial.cost(run))


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of cells and map, and of positions until they are all there."""
  settings, n = known.config.landscape, known.examples
  fitted = 0
  if settings.map is not None or settings.projection == "tsne":
    # A t-SNE keeps what it was fitted on.
    width = encoders.width(known.config, known.decoder)
    fitted = min(settings.fit_examples, n) * 4 * (width + 2)
  return costs.Need(n * _CELLS + 6 * costs.TABLE + fitted, 8 * n)


def _left_out(settings: landscape.Landscape) -> tuple[str, ...]:
  """Names the configured work that the estimate leaves out."""
  parts = {
    "landscape.stability": settings.stability,
    "k-means cells": settings.cells == "kmeans",
    "the network of a parametric map": settings.map is None
    and projections.PROJECTIONS[settings.projection].epochs > 0,
  }
  return tuple(name for name, wanted in parts.items() if wanted)
