"""MIG: quality over labels, of which each adds less where much is chosen.

Chen et al., "MIG: Automatic Data Selection for Instruction Tuning by Maximizing
Information Gain in Semantic Space", arXiv 2504.13835. An example gives its
quality to each of its labels; what the chosen give to label l adds up to X_l,
and the next is the one with the greatest Σ_l v_l φ'(X_l), φ(x) = (x + a)^b with
b = 0.8 and a = 1e-6. φ is concave, so a gain never grows, and the lazy greedy
choice is exact.

With `labels=cells` labels are the cells of the map and quality is depth: rounds
over cells as in `ila`, but smooth, for a cell of deep examples gives more.

A reconstruction. What differs: the authors let information flow between labels
whose names are alike by an encoder of text; here labels are apart: it is MIG
without its graph. Their labels are made by InsTagger and their quality by
Deita's model; here labels are those of the records, or cells, and quality is
the depth of the run, which may be any score: landscape.depth=score:NAME.

It runs on the host; an example is looked at again only where it may be the
next, which costs as many operations as it has labels.
"""

import dataclasses
import heapq

import numpy as np
from jaxtyping import Float, Int

from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib
from ila_jax.methods.diversity import likeness
from ila_jax.run import progress
from ila_jax.score.signals import tags as tags_lib

TAGS, CELLS = "tags", "cells"
# Of φ: what keeps its slope finite where nothing is chosen.
_START = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """What labels and quality are, and how fast a label fills up."""

  labels: str = options_lib.field(
    TAGS,
    "what is to be covered: the labels of the records, or the cells of the map",
    choices=(TAGS, CELLS),
  )
  quality: str = options_lib.field(
    "relative_depth",
    "what an example gives to its labels; a depth below 0 counts as 0",
    choices=("relative_depth", "depth"),
  )
  divide: bool = options_lib.field(
    False, "whether the labels of an example share its quality"
  )
  power: float = options_lib.field(
    0.8, "b of φ: 1 is quality alone, less covers more labels", low=0.01, high=1
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The one that adds most to what its labels have, and again.

  No more than the budget may buy are ordered. All in round 1.
  """
  rows = likeness.rows_by_tie(c)
  if options.labels == CELLS:
    labels = c.cell[rows, None].astype(np.int64)
  else:
    labels = c.inputs["tags"][rows].astype(np.int64)
  has = labels != tags_lib.NONE
  lost = int((~has.any(axis=1)).sum())
  rows, labels, has = (part[has.any(axis=1)] for part in (rows, labels, has))
  depth = candidates.depth(c, options.quality)[rows]
  below, quality = int((depth < 0).sum()), np.maximum(depth, 0)
  given = np.where(has, quality[:, None].astype(np.float64), 0)
  if options.divide:
    given /= has.sum(axis=1, keepdims=True)
  _, number = np.unique(labels, return_inverse=True)
  count = likeness.wanted(c, np.ones(len(rows), np.bool_))
  chosen = greedy(
    number.reshape(labels.shape), given, count=count, power=options.power
  )
  rest = (
    f"{lost:,} have no label (config.pool.fields.labels; or "
    f"config.select.options.mig.labels={CELLS})."
    if lost
    else ""
  )
  if count < len(rows):
    rest = (
      f"MIG orders {count:,}, as many as the budget may buy. {rest}".strip()
    )
  warning = (
    f"{below:,} have a depth below 0, which counts as 0." if below else ""
  )
  turns = np.ones(len(chosen), np.int32)
  return candidates.Ranking(rows[chosen], turns, rest, warning)


def greedy(
  labels: Int[np.ndarray, "m w"],
  given: Float[np.ndarray, "m w"],
  *,
  count: int,
  power: float,
) -> Int[np.ndarray, " k"]:
  """Chooses the row of the greatest gain, of equals the first, and again.

  Args:
    labels: of each row, from 0.
    given: what the row gives to each of them, 0 or more, float64.
    count: of the rows to choose, at most m.
    power: b of φ.

  Returns:
    Rows in the order of the choice.

  >>> labels, given = np.array([[0], [0], [1]]), np.array([[9.0], [8.0], [1.0]])
  >>> greedy(labels, given, count=3, power=0.1).tolist()
  [0, 2, 1]
  """
  full = np.zeros(int(labels.max(initial=-1)) + 1)
  slope = np.full(len(full), power * _START ** (power - 1))
  # In float32 gains tie that differ by the rounding of a sum.
  gains = np.float32((given * slope[labels]).sum(axis=1))
  heap = list(zip((-gains).tolist(), range(len(gains)), strict=True))
  heapq.heapify(heap)
  chosen: list[int] = []
  with progress.counter(count, desc="MIG", unit="examples") as advance:
    while len(chosen) < count:
      row = heap[0][1]
      gain = float(np.float32((given[row] * slope[labels[row]]).sum()))
      if -gain > heap[0][0]:
        heapq.heapreplace(heap, (-gain, row))
        continue
      heapq.heappop(heap)
      chosen.append(row)
      # A record may name a label twice.
      np.add.at(full, labels[row], given[row])
      own = labels[row]
      slope[own] = power * (full[own] + _START) ** (power - 1)
      advance(1)
  return np.array(chosen, np.int64)


METHOD = method.Method(
  name="mig",
  rank=rank,
  needs=("depth", "relative_depth"),
  also=lambda options: ("cell",) if options.labels == CELLS else ("tags",),
  options=Options,
  colour="#1f3b73",
)
