"""Which other maps a run is compared with: the axes of variation."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from ila_jax import errors
from ila_jax.landscape.maps import projections

AXES = ("map_seed", "perplexity", "grid", "projection", "reference_seed")


@dataclasses.dataclass(frozen=True)
class CellRecipe:
  """How cells are made.

  Attributes:
    cells: "grid" or "kmeans".
    projection: of the map below a grid.
    perplexity: of t-SNE.
    seed: of the projection, or of the clusters.
    side: of the grid, or root of the number of clusters, as a multiple of what
      the run would have.
  """

  cells: str
  projection: str
  perplexity: float
  seed: int
  side: float = 1.0

  def same_map(self, other: "CellRecipe") -> bool:
    """Whether the cells differ at most, and not the map below them.

    >>> one = CellRecipe("grid", "pca", 30.0, seed=0)
    >>> one.same_map(dataclasses.replace(one, side=2.0))
    True
    """
    mine = self.projection, self.perplexity, self.seed
    return mine == (other.projection, other.perplexity, other.seed)


class Variant(NamedTuple):
  """A rival of the run: other cells, or another depth.

  Attributes:
    axis: what is varied.
    name: to what.
    recipe: of the cells; None: the run's own cells.
    reference: the one reference seed that depth is taken from; None: the run's.
    against: depth on the other side, in the same way.
    dealt: "cells" or "depths", dealt out to the examples at random.
  """

  axis: str
  name: str
  recipe: CellRecipe | None = None
  reference: int | None = None
  against: int | None = None
  dealt: str | None = None


def variants(
  axes: Sequence[str], *, own: CellRecipe, reference_seeds: Sequence[int]
) -> list[Variant]:
  """Lists what is compared: the run itself, chance, and what is asked for.

  Args:
    axes: names among AXES.
    own: how the run makes its cells.
    reference_seeds: of the run. Each alone is compared with their mean, and
      with the next one.

  >>> own = CellRecipe("grid", "tsne", 30.0, seed=0)
  >>> compared = variants(("perplexity",), own=own, reference_seeds=(0,))
  >>> [variant.name for variant in compared[3:]]
  ['perplexity 15', 'perplexity 60']
  """
  compared = [
    Variant("run", "the run itself", own),
    Variant("chance", "cells dealt at random", dealt="cells"),
    Variant("chance", "depths dealt at random", dealt="depths"),
  ]
  for axis in axes:
    if axis == "reference_seed":
      compared += _references(reference_seeds)
    else:
      compared += [
        Variant(axis, name, recipe)
        for name, recipe in _recipes(own)[axis].items()
        if recipe != own
      ]
  return compared


def _recipes(own: CellRecipe) -> dict[str, dict[str, CellRecipe]]:
  change = dataclasses.replace
  sides = "grid of 2/3 the side", "grid of 3/2 the side"
  if own.cells == "kmeans":
    sides = "4/9 of the clusters", "9/4 of the clusters"
  perplexities = max(own.perplexity / 2, 1.0), own.perplexity * 2
  return {
    "map_seed": {
      f"map seed {seed}": change(own, seed=seed)
      for seed in (own.seed + 1, own.seed + 2)
    },
    "perplexity": {
      f"perplexity {value:g}": change(own, perplexity=value)
      for value in perplexities
    },
    "grid": {
      name: change(own, side=side)
      for name, side in zip(sides, (2 / 3, 3 / 2), strict=True)
    },
    "projection": {
      f"grid over {name}": change(own, cells="grid", projection=name)
      for name in projections.PROJECTIONS
    }
    | {"k-means cells": change(own, cells="kmeans")},
  }


def _references(seeds: Sequence[int]) -> list[Variant]:
  axis = "reference_seed"
  alone = [Variant(axis, f"reference {a} alone", reference=a) for a in seeds]
  return alone + [
    Variant(axis, f"reference {a} or {b}", reference=a, against=b)
    for a, b in itertools.pairwise(seeds)
  ]


def check_stability(config: Any) -> None:
  """Refuses axes that would vary nothing: they would look like a result.

  Raises:
    errors.InputError: names the axis.
  """
  settings = config.landscape
  on_grid = settings.cells == "grid"
  vain = {
    "reference_seed": len(config.score.reference_seeds) < 2
    and "config.score.reference_seeds names one set; give two or more",
    "perplexity": not (
      on_grid and projections.PROJECTIONS[settings.projection].by_tsne
    )
    and "no cells come from t-SNE",
    "map_seed": (on_grid and settings.projection == "pca")
    and "the principal components know no seed",
  }
  for axis in settings.stability:
    if vain.get(axis):
      raise errors.InputError(
        f"config.landscape.stability is {settings.stability}, and {axis!r} "
        f"would vary nothing: {vain[axis]}. Leave it out."
      )
