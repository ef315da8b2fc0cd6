"""Section `landscape`: the map, its cells, and depth."""

import dataclasses

from ila_jax.sections import checked, ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Landscape(checked.Checked):
  """The map, its cells, and depth."""

  projection: str = checked.field(
    "tsne",
    "what makes the map from the embeddings",
    choices="landscape.maps.projections.PROJECTIONS",
  )
  dimensions: int = checked.field(
    2,
    "dimensions of the map; 'tsne' has 2, others 2 or more",
    low=2,
    high=2**10,
  )
  map: str | None = checked.field(
    None,
    "folder `landscape` of another run, whose map this one joins; None: fit",
    changes=checked.ELSEWHERE,
    path=checked.FOLDER,
  )
  perplexity: float = checked.field(
    30.0, "neighbours that t-SNE keeps, softly counted", low=1, high=10_000
  )
  iterations: int = checked.field(
    1000, "iterations of t-SNE", low=1, high=10**6
  )
  fit_examples: int = checked.field(
    10000,
    "examples that the map is fitted on; the rest are placed",
    low=4,
    high=ranges.EXAMPLES["high"],
  )
  cells: str = checked.field(
    "grid",
    "a grid over the map, or clusters of the embeddings",
    choices=("grid", "kmeans"),
  )
  # Cells are numbered in 32 bits; how fine a grid may be depends on dimensions.
  grid: int | str = checked.field(
    "auto",
    "cells a side; 'auto': as many as the budget bears",
    low=2,
    high=ranges.INT32,
    choices=("auto",),
  )
  clusters: int | None = checked.field(
    None,
    "cells of 'kmeans'; None: as many as the budget bears",
    low=2,
    high=ranges.INT32,
  )
  depth: str = checked.field(
    "ila",
    "formula (docs/method.md 2.2): 'ila' is Equation 5; or 'score:NAME', a "
    "score of others",
    choices="landscape.depth.CHOICES",
  )
  domain_blocks: int = checked.field(
    8,
    "blocks a side of the map, the domains where records have none",
    low=1,
    high=1024,
  )
  duplicate_cosine: float | None = checked.field(
    0.95,
    "prompts at least so near each other are reported; None: no report",
    **ranges.PART,
  )
  duplicate_search: str = checked.field(
    "cells",
    "near-duplicates are sought in a cell and its neighbours, or among 'all'",
    choices=("cells", "all"),
  )
  consensus_maps: int = checked.field(
    8,
    "maps of select.strategy=ila_consensus: the run's own, and those of the "
    "next seeds",
    low=2,
    high=1000,
    changes=checked.ELSEWHERE,
  )
  stability: tuple[str, ...] = checked.field(
    (),
    'other maps to compare with, by what is varied: see "How far can I trust '
    'the map?" in docs/guide/map.md',
    choices="landscape.trust.variants.AXES",
    changes=checked.NOTHING,
  )

  @property
  def follows_budget(self) -> bool:
    """Whether there are as many cells as the budget bears."""
    if self.map is not None:  # It has its own cells.
      return False
    if self.cells == "kmeans":
      return self.clusters is None
    return self.grid == "auto"
