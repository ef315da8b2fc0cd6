"""k-center: each choice is the prompt least like all that are chosen.

Gonzalez 1985; as core-sets in Sener and Savarese, arXiv 1708.00489: the
greatest distance of a prompt from its nearest chosen one is at most twice the
least that is possible. It is the pure form of coverage, without a map or cells.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ila_jax.methods import candidates, method, options
from ila_jax.methods import effort as effort_lib
from ila_jax.methods.diversity import likeness


def rank(c: candidates.Candidates, _: options.Options) -> candidates.Ranking:
  """The farthest from all before it first; the first of all by chance.

  Distances are those of embeddings. Prompts that were chosen alike follow by id
  when nothing else is left. No more than the budget may buy are ordered, each
  of which costs one product with all embeddings. All in round 1.
  """
  rows = likeness.rows_by_tie(c)
  if not len(rows):
    return candidates.Ranking(rows, rows)
  # The state is the likeness to the nearest that is chosen.
  state = np.full(len(rows), likeness.NEVER + 1, np.int32)
  state[np.argmin(c.uniform[rows])] = likeness.NEVER
  count = likeness.wanted(c, np.ones(len(rows), np.bool_))
  chosen = likeness.greedy(
    likeness.rounded(c.inputs["embeddings"], rows),
    state,
    _nearest,
    count=count,
    desc="k-center",
  )
  rest = (
    f"k-center orders {count:,}, as many as the budget may buy."
    if count < len(rows)
    else ""
  )
  return candidates.Ranking(rows[chosen], np.ones(len(chosen), np.int32), rest)


def _nearest(
  state: Int[Array, " n"], like: Int[Array, " n"]
) -> Int[Array, " n"]:
  return jnp.maximum(state, like)


def _effort(size: effort_lib.Size, _: options.Options) -> effort_lib.Effort:
  # At best all rows that are looked at together are chosen.
  return effort_lib.against(size.candidates, size.wanted, size.embedding)


METHOD = method.Method(
  name="kcenter",
  rank=rank,
  needs=("embeddings", "uniform"),
  effort=_effort,
  colour="#332288",
)
