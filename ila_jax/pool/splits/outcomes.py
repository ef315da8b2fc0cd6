"""Outcomes: what became of each record of a split, a row each, in its order.

They hold what a merge needs to count a record, or to uncount it: whether it is
the first of its kind is known only when all splits before are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa


class Outcome(NamedTuple):
  """What became of one record; names are places in lists of the split.

  Attributes:
    span: of the split.
    line: where it stood; counted from the span where nobody knows more.
    file: its file.
    source: its source name.
    is_parsed: whether it is an object with fields.
    id: of the example; 0 where it is none.
    prompt_id: of the example.
    how: the fields that were read, and what was not.
    n_labels: of the example.
    has_labels: whether the record had any.
    domain: of the example.
    is_used: whether it has a row among the records.
    n_prompt_tokens: of the example.
    n_response_tokens: of the example.
    fate: as `tally.Outcome` has it; "" where it was not tokenized.
    response: as `tally.Outcome` has it.
    cut_prompt: tokens that were cut.
    cut_response: tokens that were cut.
    left_out: as `tally.Outcome` has it.
    largest_token: as `tally.Outcome` has it.
    reason: why it is not used; "" where it is.
    detail: of the reason.
    match: line of `contamination.jsonl` where it repeats an evaluation set.
  """

  span: int
  line: int
  file: int
  source: int
  is_parsed: bool
  id: int = 0
  prompt_id: int = 0
  how: int = -1
  n_labels: int = 0
  has_labels: bool = False
  domain: str = ""
  is_used: bool = False
  n_prompt_tokens: int = 0
  n_response_tokens: int = 0
  fate: str = ""
  response: int = 0
  cut_prompt: int = 0
  cut_response: int = 0
  left_out: int = 0
  largest_token: int = 0
  reason: str = ""
  detail: str = ""
  match: str = ""


_KINDS = {int: pa.int64(), bool: pa.bool_(), str: pa.string()}
_IDS = ("id", "prompt_id")
SCHEMA = pa.schema(
  {
    name: pa.uint64() if name in _IDS else _KINDS[kind]
    for name, kind in Outcome.__annotations__.items()
  }
)


def table(rows: Sequence[Outcome]) -> pa.Table:
  """Outcomes as a table of `SCHEMA`.

  >>> table([Outcome(0, 1, 0, 0, True)]).num_rows
  1
  """
  columns = zip(*rows, strict=True) if rows else [()] * len(SCHEMA)
  return pa.table(list(map(list, columns)), schema=SCHEMA)
