"""Repr filter: the deepest first, unless one like it is chosen (Deita).

Liu et al., "What Makes Good Data for Alignment?", arXiv 2312.15685: examples
are visited by falling score, and one is taken where its cosine to all that are
taken is at most a threshold, 0.9. Deita's score is complexity × quality, each
by a model of its own, as `deita` has it; here it is the depth of the run, which
may be any score: landscape.depth=score:NAME. Its embeddings are of whole
conversations by a large model; here they are those of the prompts, as the run
has them. Blocks, in which the authors compare with rejected examples too, are
of one example.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ila_jax.methods import candidates, method
from ila_jax.methods import effort as effort_lib
from ila_jax.methods import options as options_lib
from ila_jax.methods.diversity import likeness

_VISITED = 1024  # Rows of the first walk, at least.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.ByDepth):
  """How alike two that are chosen may be."""

  most: float = options_lib.field(
    0.9, "cosine of two that are chosen, at most", low=-1, high=1
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The deepest that is not too like a deeper one that was taken.

  What is too like one that is taken is left out. All in round 1.
  """
  depth = candidates.depth(c, options.rank_by)
  field = "repr_filter.most"
  return walk(c, depth, c.candidate, most=options.most, field=field)


def walk(
  c: candidates.Candidates,
  score: Float[np.ndarray, " n"],
  among: Bool[np.ndarray, " n"],
  *,
  most: float,
  field: str,
) -> candidates.Ranking:
  """Visits some candidates by falling score; ties go by id.

  Args:
    c: the candidates; the method has named `embeddings`.
    score: finite where `among` [n].
    among: the candidates that are visited.
    most: cosine of two that are taken, at most.
    field: of config.select.options that says so.
  """
  rows = likeness.rows_by_tie(c)
  rows = rows[among[rows]]
  if not len(rows):
    return candidates.Ranking(rows, rows)
  # The greatest first, of equals the first by id: the state is the turn.
  rows = rows[np.argsort(-score[rows], kind="stable")]
  count = likeness.wanted(c, np.ones(len(rows), np.bool_))
  # Rows behind the last that is taken have no part in it: a few are walked,
  # and where these are not enough, all over again with four times as many.
  visited = max(_VISITED, 2 * count)
  while True:
    some = rows[:visited]
    chosen = likeness.greedy(
      likeness.rounded(c.inputs["embeddings"], some),
      np.arange(len(some), dtype=np.int32),
      _Drop(_most(most)),
      count=count,
      desc="Repr filter",
    )
    if len(chosen) == count or len(some) == len(rows):
      break
    visited *= 4
  rest = ""
  if len(chosen) < count:
    alike = len(rows) - len(chosen)
    rest = (
      f"{alike:,} have a cosine above {most:g} to one that is taken "
      f"(config.select.options.{field}; a greater one keeps more)."
    )
  elif count < len(rows):
    rest = f"Repr filter orders {count:,}, as many as the budget may buy."
  return candidates.Ranking(rows[chosen], np.ones(len(chosen), np.int32), rest)


def _most(cosine: float) -> int:
  """The greatest likeness that is allowed; copies may be rounded above 1."""
  return likeness.of_cosine(cosine) if cosine < 1 else likeness.CHOSEN


@dataclasses.dataclass(frozen=True)
class _Drop:
  """Gives up rows that are more like the chosen one than allowed."""

  most: int

  def __call__(
    self, state: Int[Array, " n"], like: Int[Array, " n"]
  ) -> Int[Array, " n"]:
    return jnp.where(like > self.most, likeness.CHOSEN, state)


def effort(size: effort_lib.Size, _: options_lib.Options) -> effort_lib.Effort:
  """What visiting the candidates takes."""
  # At best all rows that are looked at together are chosen.
  return effort_lib.against(size.candidates, size.wanted, size.embedding)


METHOD = method.Method(
  name="repr_filter",
  rank=rank,
  needs=("embeddings", "depth", "relative_depth"),
  options=Options,
  effort=effort,
  colour="#6699cc",
)
