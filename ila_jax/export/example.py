"""A selected example, and what its row in a trainer's file has beside it."""

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ila_jax.pool import records


class Example(NamedTuple):
  """One chosen record of a run.

  Attributes:
    id: 16 hex digits, as in `select/ranking.parquet`.
    source: name of the source that it was read from.
    rank: 1 for the first chosen.
    depth: by which it was ranked in its cell.
    cell: of the map, or of the clusters.
    nll_base: loss of its response under the base, nats a token.
    nll_sft: the same under the base that was tuned on the reference.
    n_tokens: of the response.
    turns: what is said: tools, system, user, tool and assistant turns.
    record: the JSON text of the record, as it was read.
    scores: of others, by name; None where it has none.
  """

  id: str
  source: str
  rank: int
  depth: float
  cell: int
  nll_base: float
  nll_sft: float
  n_tokens: int
  turns: Sequence[records.Turn]
  record: str
  scores: Mapping[str, float | None] = types.MappingProxyType({})


# What a row says of an example beside its text.
NUMBERS = ("rank", "depth", "cell", "nll_base", "nll_sft", "n_tokens")


def about(example: Example) -> dict[str, Any]:
  """What a row says of an example beside its text: id, source and numbers."""
  names = ("id", "source", *NUMBERS)
  return {name: getattr(example, name) for name in names}


class LeftOut:
  """Collects the examples that a format cannot hold, with the reasons.

  Attributes:
    lines: for `left_out.jsonl`: id, rank, reason and detail of each.
  """

  def __init__(self) -> None:
    """Holds none yet."""
    self.lines: list[dict[str, Any]] = []

  def add(self, example: Example, why: records.Reject) -> None:
    """Notes one example."""
    self.lines.append(
      {
        "id": example.id,
        "rank": example.rank,
        "reason": why.reason,
        "detail": why.detail,
      }
    )

  def reasons(self) -> dict[str, int]:
    """How many were left out, by reason, the commonest first."""
    counts: dict[str, int] = {}
    for line in self.lines:
      counts[line["reason"]] = counts.get(line["reason"], 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def check_all_learnt(turns: Iterable[records.Turn]) -> None:
  """Refuses what a trainer would learn although its record masks it.

  Raises:
    records.Reject: an answer is not learnt; names the turn.

  >>> check_all_learnt([records.Turn("assistant", "Hi")])
  """
  turns = list(turns)
  for place, turn in enumerate(turns):
    if turn.role == "assistant" and not turn.is_learnt:
      raise records.Reject(
        "an answer is not learnt, and this trainer cannot mask one",
        records.where(turns, place),
      )


def chunks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
  """Lists of at most so many rows, in their order.

  >>> list(chunks("abcde", 2))
  [['a', 'b'], ['c', 'd'], ['e']]
  """
  held: list[Any] = []
  for row in rows:
    held.append(row)
    if len(held) == size:
      yield held
      held = []
  if held:
    yield held
