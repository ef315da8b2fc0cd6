"""ILA over several maps: what most of them would take early comes early.

The cells of one map are one of many that its seed could have given, and ILA on
the next seed's takes other examples. Here every map puts the candidates in its
order, and they come by the mean of their times over the maps (docs/method.md
19).
"""

import numpy as np
from jaxtyping import Float

from ila_jax.landscape import ordering
from ila_jax.methods import candidates, method, options


def rank(
  c: candidates.Candidates, options: options.ByDepth
) -> candidates.Ranking:
  """By the mean of (place in the cell + 1/2) / weight of the cell over maps.

  The maps are config.landscape.consensus_maps in number, the run's own among
  them. Of equal means the lower mean place comes first, as on one map, then
  the deeper, then the lower id. A round is that of the run's own map.
  """
  depth = candidates.depth(c, options.rank_by)
  other = np.asarray(c.inputs["other_cells"], np.int32)
  own = candidates.place(c, -depth)
  time, places = _time(c, c.cell, own), own.astype(np.int64)
  for cell in other.T:
    place = np.asarray(
      ordering.place_in_cell(cell, (-depth,), c.id_rank, c.candidate)
    )
    time, places = time + _time(c, cell, place), places + place
  return candidates.ranking(c, (ordering.numbered(time, places), -depth), own)


def _time(
  c: candidates.Candidates,
  cell: np.ndarray,
  place: np.ndarray,
) -> Float[np.ndarray, " n"]:
  """When each row comes on one map; 0 for what is no candidate."""
  weight = ordering.power_weights(cell, c.candidate, c.cell_power)
  time = place + 0.5 if weight is None else (place + 0.5) / weight
  return np.where(c.candidate, time, 0.0)


METHOD = method.Method(
  name="ila_consensus",
  rank=rank,
  needs=("cell", "cell_power", "depth", "relative_depth", "other_cells"),
  options=options.ByDepth,
  colour="#004d40",
)
