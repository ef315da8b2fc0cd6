"""sae_greedy: each choice adds the most features that no other has.

GreedSelect of Yang et al., "Diversity-driven Data Selection for Language Model
Tuning through Sparse Autoencoder", arXiv 2502.14050. A reconstruction: written
from a description of the paper, whose code we have not found.

Faithful: the features of an example are the latents of a sparse autoencoder
that are on at any of its tokens; the next example is that with the most
features that are not covered; when none adds any, nothing is covered any more
and the choice goes on. Where we had to choose: ties go to the lower id (not
described); an example without features is left out, for it never adds one;
and autoencoder, layer and threshold are those of the signal `sae_features`.
"""

import dataclasses

import numpy as np

from ila_jax.compute import mesh as mesh_lib
from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib
from ila_jax.methods.diversity import likeness
from ila_jax.methods.features import packed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """What happens when everything is covered."""

  reset: bool = options_lib.field(
    True,
    "when no example adds a feature: forget what is covered and go on; False: "
    "leave the others out",
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The most features that are not covered first; a round ends with a reset.

  No more than the budget may buy are ordered. Cost: a choice counts the rows
  with the highest bounds alone, often a few dozen of latents / 8 bytes each;
  memory as in `features.packed`.
  """
  rows = likeness.rows_by_tie(c)
  if not len(rows):
    return candidates.Ranking(rows, rows)
  words = packed.words(c.inputs["sae_features"], rows)
  on = mesh_lib.fetch(packed.count_each(words))[: len(rows)]
  count = likeness.wanted(c, on > 0)
  places, turn = packed.greedy(
    words,
    np.where(on > 0, on, -1),
    count=count,
    reset=options.reset,
    desc="sae_greedy",
  )
  rest = packed.without_features(on)
  if len(places) < count:
    rest.append(
      f"{(on > 0).sum() - len(places):,} add no feature to those that are "
      "taken (config.select.options.sae_greedy.reset=True takes them too)."
    )
  elif count < (on > 0).sum():
    rest.append(f"sae_greedy orders {count:,}, as many as the budget may buy.")
  return candidates.Ranking(rows[places], turn, " ".join(rest))


METHOD = method.Method(
  name="sae_greedy",
  rank=rank,
  needs=("sae_features",),
  options=Options,
  colour="#b8004f",
)
