"""RDS+: the examples whose hidden states are nearest to those of a target set.

Ivison et al., "Large-Scale Data Selection for Instruction Tuning", arXiv
2503.01807, find it ahead of more costly methods where pools are large. As
there, an example is the mean of the base's last hidden states over prompt and
response, in which later tokens count more, and the target examples (queries)
take their nearest candidate in turn, or the greatest cosine to any counts. The
authors go round tasks, each with its queries; a target set is one task, so the
turns go round its examples. They embed with Llama 2; here it is the base.
"""

import dataclasses

import numpy as np

from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib
from ila_jax.methods.diversity import likeness
from ila_jax.methods.target import nearness
from ila_jax.run import progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """How the target examples share the budget."""

  pick: str = options_lib.field(
    "round_robin",
    "each target example takes the nearest candidate in turn, or the greatest "
    "cosine to any of them comes first",
    choices=("round_robin", "max"),
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """Each target example in turn takes its nearest candidate that is free.

  The turns go by the ids of the target examples, and a round gives each one
  candidate. No more than the budget may buy are ordered.
  """
  rows = likeness.rows_by_tie(c)
  if not len(rows):
    return candidates.Ranking(rows, rows)
  vectors = c.inputs["rds_embedding"]
  order = np.argsort(np.asarray(c.inputs["target_id"]), kind="stable")
  targets = np.asarray(c.inputs["target_rds_embedding"][order])
  if options.pick == "max":
    cosine = np.zeros(len(c.ids), np.float32)
    cosine[rows] = nearness.greatest(vectors, rows, targets)
    return candidates.ranking(c, (-cosine,))
  count = likeness.wanted(c, np.ones(len(rows), np.bool_))
  if count < len(targets):
    progress.say(
      f"  rds_plus: of {len(targets):,} target examples the {count:,} of "
      "lowest id take one candidate each, for the budget buys no more; "
      "config.select.options.rds_plus.pick=max counts all"
    )
  places, turn = nearness.round_robin(vectors, rows, targets, count=count)
  rest = (
    f"rds_plus orders {count:,}, as many as the budget may buy."
    if count < len(rows)
    else ""
  )
  return candidates.Ranking(rows[places], turn, rest)


METHOD = method.Method(
  name="rds_plus",
  rank=rank,
  needs=("rds_embedding", "target_rds_embedding", "target_id"),
  options=Options,
  colour="#b2182b",
)
