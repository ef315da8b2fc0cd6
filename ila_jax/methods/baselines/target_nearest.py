"""Likeness to a target: what is nearest to its examples."""

import numpy as np

from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape.duplicates import pairs
from ila_jax.methods import candidates, method, options
from ila_jax.methods import effort as effort_lib


def rank(c: candidates.Candidates, _: options.Options) -> candidates.Ranking:
  """The greatest cosine to any example of the target set first; in round 1.

  Prompts are compared, as the run has embedded them. No depth and no cell
  counts, and one target example may draw all that is chosen.
  """
  _, cosine = pairs.closest(
    c.inputs["embeddings"],
    [np.asarray(c.inputs["target_embeddings"])],
    rows=len(c.ids),
    mesh=mesh_lib.current(),
  )
  return candidates.ranking(c, (-cosine[0],))


def _effort(size: effort_lib.Size, _: options.Options) -> effort_lib.Effort:
  return effort_lib.against(size.candidates, size.targets, size.embedding)


METHOD = method.Method(
  name="target_nearest",
  rank=rank,
  needs=("embeddings", "target_embeddings"),
  effort=_effort,
  colour="#a6611a",
)
