"""Examples as tokens: what a model is scored and trained on."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from etils import epath
from jaxtyping import Bool, Int

from ila_jax.pool import shards


@dataclasses.dataclass(frozen=True)
class TokenSet:
  """Tokenized examples of any lengths: what is scored and trained on.

  Attributes:
    tokens: int32 ids of each example, prompt and response.
    is_response: which of them the model must produce; never the first.

  >>> TokenSet.of_text([np.arange(3, dtype=np.int32)]).is_response
  [array([False,  True,  True])]
  """

  tokens: Sequence[Int[np.ndarray, " _"]]
  is_response: Sequence[Bool[np.ndarray, " _"]]

  def __len__(self) -> int:
    return len(self.tokens)

  @property
  def lengths(self) -> Int[np.ndarray, " n"]:
    """Tokens of each example."""
    return np.array([len(ids) for ids in self.tokens], np.int32)

  @property
  def response_tokens(self) -> int:
    """Tokens to be predicted, over all examples."""
    return int(sum(mask.sum() for mask in self.is_response))

  @classmethod
  def of_text(cls, tokens: Sequence[Int[np.ndarray, " _"]]) -> "TokenSet":
    """Plain text, for pre-training: all tokens but the first are targets."""
    return cls(tokens, [np.arange(len(ids)) > 0 for ids in tokens])

  def subset(self, rows: Sequence[int] | Int[np.ndarray, " m"]) -> "TokenSet":
    """The examples of these row numbers, in their order."""
    return TokenSet(
      [self.tokens[row] for row in rows],
      [self.is_response[row] for row in rows],
    )


def tokens_of(table: pa.Table) -> TokenSet:
  """The token columns of a table as lists of arrays, without copies."""
  return TokenSet(
    shards.lists(table.column("tokens"), _arrays),
    shards.lists(table.column("is_response"), _arrays),
  )


def of_rows(workdir: epath.PathLike, rows: Int[np.ndarray, " m"]) -> TokenSet:
  """Rows of the pool of a run, in their order.

  Args:
    workdir: of the run, or the folder of a set beside its pool.
    rows: of the pool.
  """
  return tokens_of(shards.gather(workdir, rows, ["tokens", "is_response"]))


def _arrays(held: pa.Array) -> np.ndarray:
  return held.to_numpy(zero_copy_only=False)
