"""MIG: quality over labels, of which each adds less where much is chosen.

Chen et al., "MIG: Automatic Data Selection for Instruction Tuning by Maximizing
Information Gain in Semantic Space", arXiv 2504.13835. Labels are the nodes of a
graph (`label_graph`), with an edge between two whose names have a cosine of
`threshold` or more. An example gives its quality to each of its labels, v, and
of that a part flows along the edges: u = v P. What the chosen give to label l
adds up to X_l, and the next is the one with the greatest Σ_l u_l φ'(X_l),
φ(x) = (x + a)^b with b = 0.8 and a = 1e-6. φ is concave and u is not negative,
so a gain never grows, and the lazy greedy choice is exact.

As published: the graph, the propagation matrix P, φ, the gain by its slope, the
defaults of all of them, and that the labels of an example do not share its
quality (`divide`). What differs: their names are embedded by E5-Mistral, here
by the encoder of the run (config.encoder.path). Their labels are made by
InsTagger, here they are those of the records. Their quality is Deita's score of
quality: `score` names such a score of yours; without it, quality is the depth
of the run. Labels that no candidate has are no nodes. Ties go to the lower id.

`propagation=0` leaves the graph out, and then nothing is embedded. With
`labels=cells` labels are the cells of the map, without a graph: rounds over
cells as in `ila`, but smooth, for a cell of deep examples gives more.

It runs on the host. Σ_l u_l φ'(X_l) = Σ_l v_l (P φ'(X))_l: an example is looked
at again only where it may be the next, which costs as many operations as it has
labels, and its choice as many as there are edges within two steps of them. The
graph takes 24 bytes an edge; the search for edges t² / 2 products of t labels.
"""

import dataclasses
import heapq

import numpy as np
from jaxtyping import Float, Int

from ila_jax.methods import candidates, method
from ila_jax.methods import effort as effort_lib
from ila_jax.methods import options as options_lib
from ila_jax.methods.diversity import likeness
from ila_jax.methods.labels import label_graph
from ila_jax.run import progress
from ila_jax.score import tag_embeddings
from ila_jax.score.signals import tags as tags_lib

TAGS, CELLS = "tags", "cells"
# Of φ: what keeps its slope finite where nothing is chosen.
_START = 1e-6
# Seconds of one core to choose an example: of 20,000 with eight labels each, in
# tests/benchmarks/every_method.py.
_SECONDS_EACH = 3e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """What labels and quality are, their graph, and how fast one fills up."""

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
  score: str = options_lib.field(
    "", "name of a score of others that is the quality instead; '': none"
  )
  divide: bool = options_lib.field(
    False, "whether the labels of an example share its quality"
  )
  threshold: float = options_lib.field(
    0.9, "cosine of two labels with an edge, at least", low=0.01, high=1
  )
  propagation: float = options_lib.field(
    1.0,
    "weight of an edge beside that of a label itself; 0: no graph",
    low=0,
    high=100,
  )
  power: float = options_lib.field(
    0.8, "b of φ: 1 is quality alone, less covers more labels", low=0.01, high=1
  )


def _has_graph(options: Options) -> bool:
  return options.labels == TAGS and options.propagation > 0


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The one that adds most to what its labels have, and again.

  No more than the budget may buy are ordered. All in round 1.
  """
  rows = likeness.rows_by_tie(c)
  quality, what = _quality(c, rows, options)
  labels = _labels(c, rows, options)
  has = labels != tags_lib.NONE
  scored, labelled = np.isfinite(quality), has.any(axis=1)
  lost = (
    (int((~scored).sum()), "no finite score"),
    (
      int((scored & ~labelled).sum()),
      "no label (config.pool.fields.labels; or config.select.options.mig."
      f"labels={CELLS})",
    ),
  )
  rest = " ".join(f"{n:,} have {lack}." for n, lack in lost if n)
  left = scored & labelled
  rows, labels, has, quality = (
    rows[left],
    labels[left],
    has[left],
    quality[left],
  )
  given = np.where(has, np.maximum(quality, 0)[:, None].astype(np.float64), 0)
  if options.divide:
    given /= has.sum(axis=1, keepdims=True)
  # What stands for no label is a node, too, to which nothing is given.
  nodes, number = np.unique(labels, return_inverse=True)
  graph, warning = _graph(c, nodes, options)
  count = likeness.wanted(c, np.ones(len(rows), np.bool_))
  chosen = greedy(
    number.reshape(labels.shape),
    given,
    graph,
    count=count,
    power=options.power,
  )
  if count < len(rows):
    rest = (
      f"MIG orders {count:,}, as many as the budget may buy. {rest}".strip()
    )
  if below := int((quality < 0).sum()):
    said = f"{below:,} have a {what} below 0, which counts as 0."
    warning = f"{warning} {said}".strip()
  turns = np.ones(len(chosen), np.int32)
  return candidates.Ranking(rows[chosen], turns, rest, warning)


def _quality(
  c: candidates.Candidates, rows: Int[np.ndarray, " m"], options: Options
) -> tuple[Float[np.ndarray, " m"], str]:
  """What each row gives, and what that is."""
  if options.score:
    return c.inputs["scores"][options.score][rows], "score"
  return candidates.depth(c, options.quality)[rows], "depth"


def _labels(
  c: candidates.Candidates, rows: Int[np.ndarray, " m"], options: Options
) -> Int[np.ndarray, "m w"]:
  """The numbers of the labels of each row."""
  if options.labels == CELLS:
    return c.cell[rows, None].astype(np.int64)
  return c.inputs["tags"][rows].astype(np.int64)


def _graph(
  c: candidates.Candidates, nodes: Int[np.ndarray, " t"], options: Options
) -> tuple[label_graph.Graph, str]:
  """The graph of the labels, and what makes it worth little."""
  if not _has_graph(options):
    return label_graph.apart(len(nodes)), ""
  named = nodes != tags_lib.NONE
  x = np.asarray(c.inputs[tag_embeddings.NAME])[nodes]
  x = np.where(named[:, None], x, np.float32(0))
  graph = label_graph.alike(
    x, threshold=options.threshold, propagation=options.propagation
  )
  total, edges = int(named.sum()), (len(graph.other) - len(nodes)) // 2
  every = total * (total - 1) // 2
  progress.say(
    f"  MIG: {total:,} labels; {edges:,} pairs have a cosine of "
    f"{options.threshold:g} or more, and of "
    f"{int((graph.degrees[named] > 1).sum()):,} labels a part flows to others"
  )
  if 2 * edges > every and total > 2:
    return graph, (
      f"{edges:,} of all {every:,} pairs of labels are alike to the encoder "
      "(config.encoder.path), so labels hardly count; raise "
      "config.select.options.mig.threshold."
    )
  return graph, ""


def greedy(
  labels: Int[np.ndarray, "m w"],
  given: Float[np.ndarray, "m w"],
  graph: label_graph.Graph,
  *,
  count: int,
  power: float,
) -> Int[np.ndarray, " k"]:
  """Chooses the row of the greatest gain, of equals the first, and again.

  Args:
    labels: of each row, from 0.
    given: what the row gives to each of them, 0 or more, float64.
    graph: of the labels.
    count: of the rows to choose, at most m.
    power: b of φ.

  Returns:
    Rows in the order of the choice.

  >>> labels, given = np.array([[0], [0], [1]]), np.array([[9.0], [8.0], [1.0]])
  >>> greedy(labels, given, label_graph.apart(2), count=3, power=0.1).tolist()
  [0, 2, 1]
  """
  full = np.zeros(len(graph))
  slope = power * (full + _START) ** (power - 1)
  pays = graph.back(np.arange(len(graph)), slope)
  # In float32 gains tie that differ by the rounding of a sum.
  gains = np.float32((given * pays[labels]).sum(axis=1))
  heap = list(zip((-gains).tolist(), range(len(gains)), strict=True))
  heapq.heapify(heap)
  chosen: list[int] = []
  with progress.counter(count, desc="MIG", unit="examples") as advance:
    while len(chosen) < count:
      row = heap[0][1]
      gain = float(np.float32((given[row] * pays[labels[row]]).sum()))
      if -gain > heap[0][0]:
        heapq.heapreplace(heap, (-gain, row))
        continue
      heapq.heappop(heap)
      chosen.append(row)
      reached, amount = graph.forth(labels[row], given[row])
      # A record may name a label twice, and two labels reach one.
      np.add.at(full, reached, amount)
      slope[reached] = power * (full[reached] + _START) ** (power - 1)
      near = graph.around(reached)
      pays[near] = graph.back(near, slope)
      advance(1)
  return np.array(chosen, np.int64)


def _needs(options: Options) -> tuple[str, ...]:
  if options.labels == CELLS:
    return ("cell",)
  graph = (tag_embeddings.NAME,) if _has_graph(options) else ()
  return (tags_lib.NAME, *graph)


def _scores(options: Options) -> dict[str, str]:
  return {"score": options.score} if options.score else {}


def _effort(size: effort_lib.Size, options: Options) -> effort_lib.Effort:
  del options  # A graph of few edges, as 0.9 makes it.
  return effort_lib.Effort(core_seconds=_SECONDS_EACH * size.wanted)


METHOD = method.Method(
  name="mig",
  rank=rank,
  needs=("depth", "relative_depth"),
  also=_needs,
  scores=_scores,
  options=Options,
  effort=_effort,
  colour="#1f3b73",
)
