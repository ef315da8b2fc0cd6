"""The texts of examples that methods compare by their letters."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from ila_jax.pool import records
from ila_jax.pool.conversations import conversation

# Examples whose texts are held at once.
BLOCK = 4096
# What counts of an example, by its name in the options.
PARTS: dict[str, Callable[[records.Turn], bool]] = {
  "all": lambda turn: True,
  "prompt": lambda turn: turn.role != "assistant",
  "response": lambda turn: turn.role == "assistant",
}


def text(turns: Sequence[records.Turn], part: str) -> str:
  r"""The turns of an example in their order, a line each or more.

  >>> Turn = records.Turn
  >>> turns = [Turn("user", "1 + 1?"), Turn("assistant", "2")]
  >>> text(turns, "all"), text(turns, "response")
  ('1 + 1?\n2', '2')
  """
  counts = PARTS[part]
  return "\n".join(conversation.said(turn) for turn in turns if counts(turn))


def blocks(
  turns: Any, rows: Int[np.ndarray, " n"], part: str
) -> Iterator[list[str]]:
  """The texts of some rows, in blocks.

  Args:
    turns: turns[rows] is a list of the turns of each.
    rows: in the order wanted.
    part: of `PARTS`.
  """
  for start in range(0, len(rows), BLOCK):
    held = turns[rows[start : start + BLOCK]]
    yield [text(one, part) for one in held]
