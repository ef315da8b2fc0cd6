"""Plan of stage `report`: its time, memory and bytes on disk."""

from ila_jax.forecast import costs, sizes, work
from ila_jax.report import map_page

# What no trial tells: seconds, and more for every example.
_SECONDS, _SECONDS_EACH = 3.0, 1e-4
# Bytes of the page and its figures, and of a dot of the map to explore.
_PAGE, _DOT = 1_700_000, 240


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of drawing, on the host; assumed."""
  return costs.Cost(_SECONDS + _SECONDS_EACH * run.sample.examples)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the page, its figures and the map to explore."""
  return costs.Need(_PAGE + _DOT * min(known.examples, map_page.MAX_POINTS))
