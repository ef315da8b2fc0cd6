"""InsTag: the most complex first, as long as they bring a new tag.

Lu et al., "#InsTag", arXiv 2308.07074: complexity-first diverse sampling. The
pool is sorted by the number of tags. A pass walks down and takes each record
that has a tag which none that the pass took has; then the next pass begins over
those that are left. Tags play the role of cells here, and their number that of
depth. A reconstruction: the authors have not published this code.

Tags are the labels of the run's records, as they are given (`signals.tags`):
nothing is tagged, stemmed or merged here. The authors drop tags of fewer than
20 records, which `least_records` does. Equal numbers of tags go by id.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib
from ila_jax.score.signals import tags as tags_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """Which tags count."""

  least_records: int = options_lib.field(
    1, "candidates that have a tag, or it does not count", low=1
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The most tags first that bring one which this pass has not seen.

  The round is the pass. Records without tags are left out. Costs a sort of all
  tags, and in each pass one look at every tag.
  """
  tags = c.inputs["tags"].astype(np.int64)
  counted = c.candidate[:, None] & (tags != tags_lib.NONE)
  counts = np.bincount(tags[counted], minlength=int(tags.max(initial=0)) + 1)
  counted &= counts[tags] >= options.least_records
  many = counted.sum(axis=1)
  rows = np.flatnonzero(many > 0)
  rows = rows[np.lexsort((c.id_rank[rows], -many[rows]))]
  place, column = np.nonzero(counted[rows])
  order, turn = passes(tags[rows][place, column], place, len(rows))
  lost = int(c.candidate.sum()) - len(rows)
  rest = ""
  if lost:
    rest = f"{lost:,} have no tag (config.pool.fields.labels)"
    if options.least_records > 1:
      rest += (
        f" of {options.least_records:,} candidates or more "
        "(config.select.options.instag.least_records)"
      )
    rest += "."
  return candidates.Ranking(rows[order], turn.astype(np.int32), rest)


def passes(
  tag: Int[np.ndarray, " t"], place: Int[np.ndarray, " t"], count: int
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
  """Which record each pass takes.

  A record brings a new tag if and only if it is the first, of those that are
  left, with one of its tags: whoever is passed by has only tags that were seen.

  Args:
    tag: of a record, from 0.
    place: of that record, in the order of the walk, ascending.
    count: m, of the records; each has a tag.

  Returns:
    Places in the order in which they are taken, and the pass of each, from 1.

  >>> order, turn = passes(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 2]), 3)
  >>> order.tolist(), turn.tolist()
  ([0, 2, 1], [1, 1, 2])
  """
  by_tag = np.argsort(tag, kind="stable")
  place = place[by_tag]
  # Where the records of each tag begin, and have ended.
  first = np.flatnonzero(np.diff(tag[by_tag], prepend=-1))
  end = np.append(first[1:], len(place))
  left = np.ones(count, bool)
  order = [np.zeros(0, np.int64)]
  while len(first):
    taken = np.unique(place[first])
    left[taken] = False
    order.append(taken)
    while (gone := ~left[place[first]]).any():
      first = first + gone
      alive = first < end
      first, end = first[alive], end[alive]
  turn = np.repeat(np.arange(len(order)), [len(one) for one in order])
  return np.concatenate(order), turn


def metrics(
  tags: Float[np.ndarray, "n w"],
  chosen: Int[np.ndarray, " k"],
  candidate: Bool[np.ndarray, " n"],
) -> dict[str, float]:
  """InsTag's numbers of any selection.

  Args:
    tags: of the signal `tags`.
    chosen: rows.
    candidate: rows that may be chosen.

  Returns:
    `tag_diversity`, the share of the candidates' tags that the chosen have, and
    `tag_complexity`, tags of a chosen example in the mean; 0 without any.

  >>> tags = np.array([[0.0, 1.0], [2.0, -1.0]])
  >>> metrics(tags, np.array([0]), np.array([True, True]))
  {'tag_diversity': 0.6666666666666666, 'tag_complexity': 2.0}
  """
  is_tag = tags != tags_lib.NONE
  kinds = len(np.unique(tags[candidate][is_tag[candidate]]))
  held = len(np.unique(tags[chosen][is_tag[chosen]]))
  return {
    "tag_diversity": held / max(kinds, 1),
    "tag_complexity": float(is_tag[chosen].sum()) / max(len(chosen), 1),
  }


METHOD = method.Method(
  name="instag",
  rank=rank,
  needs=("tags",),
  options=Options,
  colour="#b15928",
)
