"""Plan of stage `embed`: its time, memory and bytes on disk."""

from ila_jax.embed import work as embed_work
from ila_jax.forecast import costs, sizes, work

_INPUTS = 20  # Bytes of an example in `inputs`, of thousands.


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of embedding the prompts, in the encoder's own tokens."""
  return embed_work.cost(run)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the embeddings, and of what is noted of each prompt."""
  each = 4 * embed_work.width(known) + _INPUTS
  return costs.Need(known.examples * each + 2 * known.tables)
