"""Plan of stage `select`: its time, memory and bytes on disk."""

from ila_jax.forecast import costs, sizes, work

# What no trial tells: seconds, and more for every example.
# Of 100 million these were 5e-6 (docs/results.md); each rival sorts, too.
_SECONDS, _SECONDS_EACH = 2.0, 1e-5
_RANKING = 22  # Bytes of an example in the ranking, of thousands.


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of ordering and comparing, on the host; assumed."""
  return costs.Cost(_SECONDS + _SECONDS_EACH * run.sample.examples)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the ranking, and of the records that are selected."""
  selected = min(known.selected, known.examples)
  kept = known.examples * _RANKING + selected * known.record
  return costs.Need(kept + 4 * costs.TABLE)
