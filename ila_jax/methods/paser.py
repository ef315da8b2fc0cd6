"""PASER: more from the cells in which tuning has moved the model most.

He et al., "PASER: Post-Training Data Selection for Efficient Pruned Large
Language Model Recovery" (ICLR 2026), choose data for a model that was pruned. A
cluster's share of the budget is the mean Jensen-Shannon divergence (JSD) of its
examples, between the model before and after; inside a cluster those come first
that have the greatest JSD / ln(cost). A reconstruction, from the published
description and code:

* The two models are the base and the model tuned on the reference set. So it is
  not what pruning has damaged that is sought, but what tuning changes.
* Clusters are the cells of the run. Theirs are of a spectral embedding and a
  factorisation of all n x n affinities, which no large pool has room for. The
  code has 10 of them, the paper a number by the error of the factorisation; a
  grid has hundreds. Nearest to it are --config.landscape.cells=kmeans and
  --config.landscape.clusters=10.
* JSD is the mean over the tokens of the response alone. In the paper it is a
  mean, too; the code adds up what it finds at the tokens of the prompt.
* A share is rounded down in theirs, for one budget. Here every prefix of one
  order has about these shares (`landscape.ordering.turns`), and what a small
  cell cannot give goes to the others, by their shares.
* Cost is (tokens of prompt and response) squared; the code counts the
  characters of the response.
* Their concept-consistency graph, which drops an example whose key phrases were
  never seen together, is left out.

For a million examples it takes two passes of a model, and a sort.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from ila_jax.landscape import ordering
from ila_jax.methods import candidates, method, options


def rank(c: candidates.Candidates, _: options.Options) -> candidates.Ranking:
  """By the shares of the cells, in each the greatest JSD / ln(cost) first.

  Cells of which no example moves have no share: they come last, in rounds.
  What has no finite JSD is left out.
  """
  jsd = np.asarray(c.inputs["jsd_sft"], np.float64)
  known = c.candidate & np.isfinite(jsd)
  jsd = np.where(known, jsd, 0)
  share = candidates.mean_within(c, c.cell, jsd, among=known)
  # Two tokens, a prompt and a response, are the least that a model can read.
  tokens = np.maximum(c.inputs["n_prompt_tokens"] + c.n_tokens, 2)
  efficiency = (jsd / (2 * np.log(tokens))).astype(np.float32)
  place = np.asarray(
    ordering.place_in_cell(c.cell, (-efficiency,), c.id_rank, known)
  )
  has_none = share == 0
  turn = ordering.turns(place, np.where(has_none, 1, share))
  lost = int((c.candidate & ~known).sum())
  order = candidates.ranking(
    c,
    (has_none, turn, -efficiency),
    place,
    among=known,
    rest=f"{lost:,} have no finite jsd_sft." if lost else "",
  )
  return _warned(order, jsd, known)


def _warned(
  order: candidates.Ranking,
  jsd: Float[np.ndarray, " n"],
  known: Bool[np.ndarray, " n"],
) -> candidates.Ranking:
  """The order, with a word about models that do not differ."""
  if not known.any() or jsd[known].any():
    return order
  return dataclasses.replace(
    order,
    warning="the base and the tuned model agree on every response: the order "
    "is that of the ids. Raise config.score.learning_rate or "
    "config.score.epochs.",
  )


METHOD = method.Method(
  name="paser",
  rank=rank,
  needs=("cell", "n_tokens", "n_prompt_tokens", "jsd_sft"),
  colour="#f0776c",
)
