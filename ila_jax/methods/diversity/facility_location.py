"""Facility location: what represents the pool best, example by example.

The function F(S) = Σ_i max_{j in S} cos(i, j) is monotone and submodular, so
the greedy set has at least 1 - 1/e of the greatest value of its size
(Nemhauser, Wolsey and Fisher 1978). apricot and submodlib maximise it from a
matrix of all pairs; here no more than blocks of it are in memory (`represent`).

`similarity=euclidean` counts 2 - |x_i - x_j|. submodlib's "euclidean" is
exp(-|x_i - x_j| / d), which for the d of an encoder is the same line but for
three parts in a thousand.

All pairs are looked at once: 2 n g d operations for n candidates, g that are
represented and d dimensions, and g d bytes times four on the devices, and n d
times two on the host. Where there are more candidates than `represented`, a
fair draw of so many stands for all, which makes the cost linear in n.
"""

import dataclasses

import numpy as np
from jaxtyping import Int

from ila_jax.methods import candidates, method
from ila_jax.methods import effort as effort_lib
from ila_jax.methods import options as options_lib
from ila_jax.methods.diversity import gains, likeness, represent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """How likeness is measured, and how many are to be represented."""

  similarity: str = options_lib.field(
    "cosine",
    "likeness of two: their cosine, or 2 - Euclidean distance",
    choices=tuple(gains.LIKENESS),
  )
  represented: int = options_lib.field(
    65_536,
    "candidates that are to be represented, at most; of more, a draw by id",
    low=1,
    high=represent.MOST,
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The one that adds most to what is represented, and again.

  No more than the budget may buy are ordered. All in round 1.
  """
  rows = likeness.rows_by_tie(c)
  return head(
    c,
    rows,
    similarity=options.similarity,
    represented=options.represented,
    name="facility location",
  )


def head(
  c: candidates.Candidates,
  rows: Int[np.ndarray, " m"],
  *,
  similarity: str,
  represented: int,
  name: str,
) -> candidates.Ranking:
  """Orders rows by facility location, as many as the budget may buy.

  Args:
    c: the candidates; the method has named `embeddings`.
    rows: to choose from, in the order that decides ties.
    similarity: of `gains.LIKENESS`.
    represented: of the rows, at most.
    name: of the method, for messages.
  """
  count = likeness.wanted(c, np.ones(len(rows), np.bool_))
  if not count:
    return candidates.Ranking(rows[:0], rows[:0], _rest(name, 0, rows, ""))
  # Ids are hashes: the lowest are a fair draw, and new rows change few of it.
  drawn = np.argsort(c.ids[rows], kind="stable")[:represented]
  chosen = represent.greedy(
    likeness.rounded(c.inputs["embeddings"], rows),
    np.sort(drawn),
    count=count,
    similarity=similarity,
    desc=name,
  )
  share = (
    f" by how they represent {len(drawn):,} of {len(rows):,}, drawn by id"
    if len(drawn) < len(rows)
    else ""
  )
  return candidates.Ranking(
    rows[chosen],
    np.ones(len(chosen), np.int32),
    _rest(name, count, rows, share),
  )


def _rest(
  name: str, count: int, rows: Int[np.ndarray, " m"], share: str
) -> str:
  if count == len(rows):
    return ""
  return f"{name} orders {count:,}{share}, as many as the budget may buy."


def _effort(size: effort_lib.Size, options: Options) -> effort_lib.Effort:
  return effort(size, size.candidates, options.represented)


def effort(
  size: effort_lib.Size, rows: float | int, represented: int
) -> effort_lib.Effort:
  """What the first look at all pairs takes; later looks are few.

  Args:
    size: of the run.
    rows: to choose from.
    represented: of them, at most.
  """
  return effort_lib.against(rows, min(rows, represented), size.embedding)


METHOD = method.Method(
  name="facility_location",
  rank=rank,
  needs=("embeddings",),
  options=Options,
  effort=_effort,
  colour="#8c510a",
)
