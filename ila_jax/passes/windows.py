"""Long examples in windows: parts that a model reads one by one.

A window has at most max_tokens tokens. It begins with the first token of the
example, which is BOS in most models; then comes what stands directly before its
targets, so much that both are half of the window or more. Each response token
is a target of one window, so the loss of an example is the sum over them.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from ila_jax.passes import token_set

# The share of a window that is context where an example has so much.
CONTEXT_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class Parts:
  """Examples in parts, each of which is read as an example of its own.

  Attributes:
    data: the parts.
    example: number of the example that each part is from, ascending.
    examples: n, how many they are; one may have no part.
  """

  data: token_set.TokenSet
  example: Int[np.ndarray, " p"]
  examples: int

  def total(
    self, values: Shaped[np.ndarray, "p ..."]
  ) -> Float[np.ndarray, "n ..."]:
    """Sums of each example's parts, float32; one part is left as it is.

    >>> data = token_set.TokenSet.of_text([np.arange(3, dtype=np.int32)] * 3)
    >>> parts = Parts(data, np.array([0, 0, 1]), 2)
    >>> parts.total(np.array([1, 2, 4], np.float32))
    array([3., 4.], dtype=float32)
    """
    sums = np.zeros((self.examples, *values.shape[1:]), np.float64)
    np.add.at(sums, self.example, values)
    return sums.astype(np.float32)

  def begun(self, parts: Int[np.ndarray, " k"]) -> int:
    """How many of these parts are the first of an example."""
    is_first = np.diff(self.example, prepend=-1) > 0
    return int(is_first[parts].sum())


def split(data: token_set.TokenSet, *, max_tokens: int) -> Parts:
  """Examples longer than `max_tokens` in windows; the others as they are.

  >>> ids = np.arange(10, dtype=np.int32)
  >>> parts = split(token_set.TokenSet([ids], [ids > 2]), max_tokens=6)
  >>> for tokens, targets in zip(parts.data.tokens, parts.data.is_response):
  ...   print(tokens, tokens[targets])
  [0 1 2 3 4 5] [3 4 5]
  [0 4 5 6 7 8] [6 7 8]
  [0 5 6 7 8 9] [9]
  """
  if not len(data) or data.lengths.max() <= max_tokens:
    return Parts(data, np.arange(len(data)), len(data))
  tokens, is_response, example = [], [], []
  for number, (ids, mask) in enumerate(
    zip(data.tokens, data.is_response, strict=True)
  ):
    for window, targets in _windows(ids, mask, max_tokens):
      tokens.append(window)
      is_response.append(targets)
      example.append(number)
  parts = token_set.TokenSet(tokens, is_response)
  return Parts(parts, np.array(example, np.int64), len(data))


def _windows(
  ids: Int[np.ndarray, " t"], mask: Bool[np.ndarray, " t"], max_tokens: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  if len(ids) <= max_tokens:
    yield ids, mask
    return
  context = max(int(CONTEXT_SHARE * max_tokens), 1)
  # Nothing predicts the first token, and nothing is asked of what follows the
  # last target.
  targets = np.flatnonzero(mask[1:]) + 1
  while len(targets):
    end = targets[-1] + 1
    # The last window has as much before its targets as fits.
    begin = max(min(targets[0] - context, end - max_tokens), 0)
    end = min(begin + max_tokens, end)
    kept = np.r_[0, begin + 1 : end]
    yield ids[kept], mask[kept] & (kept >= targets[0])
    targets = targets[targets >= end]


def lengths(
  lengths: Int[np.ndarray, " n"], *, max_tokens: int
) -> Int[np.ndarray, " p"]:
  """Tokens of the windows of examples that are response all over.

  What is known of a pool before its tokens are read: as many windows or more.

  >>> lengths(np.array([4, 10], np.int32), max_tokens=6)
  array([4, 6, 6, 6], dtype=int32)
  """
  is_long = lengths > max_tokens
  if not is_long.any():
    return lengths
  stride = max_tokens - max(int(CONTEXT_SHARE * max_tokens), 1)
  more = -(-(lengths[is_long].astype(np.int64) - max_tokens) // stride)
  windows = np.full(int((1 + more).sum()), max_tokens, lengths.dtype)
  return np.concatenate([lengths[~is_long], windows])
