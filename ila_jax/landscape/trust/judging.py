"""Part of stage `landscape`: whether a fitted map tells anything."""

import dataclasses

import numpy as np

from ila_jax import errors
from ila_jax.landscape.maps import projections
from ila_jax.landscape.trust import agreement
from ila_jax.run import progress

# Nearest neighbours of which the map should keep many.
_NEAREST = 10
# Examples whose neighbours are looked up, evenly spaced among the fitted ones.
_LOOKED_UP = 2048
# Notes of a t-SNE that judge it; one without a grid has no spacing.
_TOLD = "kl", "kl_of_one_place", "grid_spacing"


def judged(fitted_map: projections.Map, x: np.ndarray) -> projections.Map:
  """Notes the neighbours that a map keeps, and refuses one that keeps none.

  Args:
    fitted_map: a map just fitted.
    x: the embeddings that it was fitted on, float32 [n, d].

  Returns:
    The map, with the notes `neighbours_kept` and `kept_by_chance`; as it was
    where it was fitted on fewer than three examples.

  Raises:
    errors.InputError: a t-SNE that tells nothing of the embeddings, or that
      grew wider than its grid.
  """
  n = len(x)
  k = min(_NEAREST, (n - 1) // 2)
  if not k:
    return fitted_map
  # A map that holds the points it was fitted on holds their places.
  held = (
    fitted_map.arrays.get("positions")
    if "points" in fitted_map.arrays
    else None
  )
  xy = np.asarray(fitted_map.place(x) if held is None else held)
  rows = np.unique(np.linspace(0, n - 1, min(n, _LOOKED_UP)).astype(np.int32))
  kept = agreement.map_quality(x, xy, rows=rows, k=k)["neighbours_kept"]
  by_chance = agreement.kept_by_chance(n, k=k)
  progress.say(
    f"  of its {k} nearest neighbours an example keeps {kept:.1%} on the map, "
    f"by chance {by_chance:.1%}"
  )
  notes = fitted_map.notes | {
    "neighbours_kept": kept,
    "kept_by_chance": by_chance,
  }
  if projections.PROJECTIONS[fitted_map.name].by_tsne:
    told = {name: notes[name] for name in _TOLD if name in notes}
    fault = agreement.fault(x, xy, kept=kept, **told)
    if fault:
      raise errors.InputError(_refusal(fitted_map, n, fault))
  return dataclasses.replace(fitted_map, notes=notes)


def _refusal(fitted_map: projections.Map, n: int, fault: str) -> str:
  return (
    f"config.landscape.projection is {fitted_map.name!r}, and its map of {n:,} "
    f"examples can not be trusted: {fault}. Cells and coverage "
    "would be noise. Set config.landscape.projection='pca', with "
    "config.landscape.cells='kmeans' for cells that need no map; or another "
    "config.encoder.path, config.landscape.perplexity (30 is usual), "
    "config.landscape.iterations (1000 are) or config.landscape.fit_examples "
    "(10000 are)."
  )
