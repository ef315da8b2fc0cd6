"""Deita: the best by two scores of others, unless one like it is chosen.

Liu et al., "What Makes Good Data for Alignment?", arXiv 2312.15685: examples
are visited by falling complexity × quality, and pass the Repr filter, as in
`repr_filter`. The scores are the user's (`pool.fields.scores`, `pool.scores`):
the authors' two scorers are LLaMA models that give 1 to 6. Of a conversation
they multiply the scores of each turn and add these products: such a sum is one
score, `complexity=''` multiplies by nothing. Their embeddings are of whole
conversations by a large model; here they are those of the prompts.
"""

import dataclasses

import numpy as np

from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib
from ila_jax.methods.diversity import repr_filter


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """Which scores count, and how alike two that are chosen may be."""

  quality: str = options_lib.field("quality", "name of a score of others")
  complexity: str = options_lib.field(
    "complexity", "name of a score that multiplies it; '': none"
  )
  most: float = options_lib.field(
    0.9, "cosine of two that are chosen, at most", low=-1, high=1
  )


def _scores(options: Options) -> dict[str, str]:
  """The scores by the option that names them."""
  named = {"quality": options.quality}
  if options.complexity:
    named["complexity"] = options.complexity
  return named


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The greatest product that is not too like a greater one that was taken.

  What is too like one that is taken is left out, and what has no finite
  product. All in round 1.
  """
  held = c.inputs["scores"]
  score = np.ones(len(held), np.float32)
  with np.errstate(over="ignore", invalid="ignore"):
    for name in _scores(options).values():
      score = score * held[name]
  known = c.candidate & np.isfinite(score)
  found = repr_filter.walk(
    c, score, known, most=options.most, field="deita.most"
  )
  if lost := int((c.candidate & ~known).sum()):
    rest = f"{lost:,} have no finite score. {found.rest}".strip()
    return dataclasses.replace(found, rest=rest)
  return found


METHOD = method.Method(
  name="deita",
  rank=rank,
  needs=("embeddings",),
  scores=_scores,
  options=Options,
  colour="#0b84a5",
)
