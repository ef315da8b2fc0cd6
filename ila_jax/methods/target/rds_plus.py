"""RDS+: the examples whose hidden states are nearest to those of a target set.

Ivison et al., "Large-Scale Data Selection for Instruction Tuning", arXiv
2503.01807, find it ahead of more costly methods where pools are large. As
there, an example is the mean of the base's last hidden states over prompt and
response, in which later tokens count more, and the target examples (queries)
take their nearest candidate in turn, or the greatest cosine to any counts. The
turns go round the examples of the target set, as if it were one task. With
`pick=tasks` they go round its tasks, the domains of its records, as in the
authors' comparison of many: each takes what has the greatest cosine to any of
its examples. They embed with Llama 2; here it is the base.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Shaped

from ila_jax.methods import candidates, method
from ila_jax.methods import effort as effort_lib
from ila_jax.methods import options as options_lib
from ila_jax.methods.diversity import likeness
from ila_jax.methods.target import nearness
from ila_jax.run import progress

TASKS = "tasks"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """How the target examples share the budget."""

  pick: str = options_lib.field(
    "round_robin",
    "each target example takes the nearest candidate in turn, or each task (a "
    "domain of the target set) does, or the greatest cosine to any comes first",
    choices=("round_robin", TASKS, "max"),
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """Each target example in turn takes its nearest candidate that is free.

  Or each task: the turns go by the ids of the target examples, or the names of
  the tasks, and a round gives each one candidate. No more than the budget may
  buy are ordered.
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
  if options.pick == TASKS:
    domain = np.asarray(c.inputs["target_domain"])[order]
    tasks = _tasks(targets, domain)
    score = nearness.greatest_by_task(vectors, rows, tasks)
    places, turn = nearness.tasks_in_turn(score, count=count)
  else:
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


def _tasks(
  targets: Float[np.ndarray, "m d"], domain: Shaped[np.ndarray, " m"]
) -> list[Float[np.ndarray, "_ d"]]:
  """The target examples of each task, in the order of the tasks' names."""
  names, number = np.unique(domain.astype(str), return_inverse=True)
  if len(names) < 2:
    progress.say(
      "  rds_plus: all target examples have one domain, so there is one task "
      "(config.pool.fields.domain names their field)"
    )
  return [targets[number == task] for task in range(len(names))]


def _effort(size: effort_lib.Size, _: Options) -> effort_lib.Effort:
  return effort_lib.against(size.candidates, size.targets, size.hidden)


METHOD = method.Method(
  name="rds_plus",
  rank=rank,
  needs=("rds_embedding", "target_rds_embedding", "target_id"),
  also=lambda options: ("target_domain",) if options.pick == TASKS else (),
  options=Options,
  effort=_effort,
  colour="#b2182b",
)
