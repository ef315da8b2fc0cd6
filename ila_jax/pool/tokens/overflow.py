"""What becomes of an example that is longer than `max_tokens`.

A rule says which of its tokens are kept, or refuses it.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Int, Int32

from ila_jax.pool import records

# The share of max_tokens up to which `truncate_response` leaves a prompt whole.
PROMPT_SHARE = 0.75
# How many times max_tokens an example may have that is read in windows.
LONGEST = 16
# Why an example is refused, if not for its length alone.
LONG_ANSWERS = "answers longer than max_tokens"
TOO_MANY_WINDOWS = "longer than all windows"

Kept = Int[np.ndarray, " k"]


class TooLong(records.Reject):
  """An example is refused for its length.

  Attributes:
    n_response_tokens: that it would have brought.
  """

  def __init__(self, reason: str, detail: str, n_response_tokens: int):
    super().__init__(reason, detail)
    self.n_response_tokens = n_response_tokens


def kept(
  ids: Int32[np.ndarray, " t"],
  is_response: Bool[np.ndarray, " t"],
  *,
  bos_id: int | None,
  max_tokens: int,
  overflow: str,
) -> Kept | None:
  """Which tokens of an example stay; None: all of them.

  Args:
    ids: of prompt and response.
    is_response: which of them the model must produce; one at least.
    bos_id: the token that begins a text, which stays; None: there is none.
    max_tokens: tokens of an example at most; two or more.
    overflow: one of `RULES`.

  Raises:
    TooLong: the rule does not make it fit.

  >>> ids, answer = np.arange(9, dtype=np.int32), np.arange(9) > 4
  >>> fit = dict(bos_id=0, max_tokens=6)
  >>> kept(ids, answer, overflow="truncate_prompt", **fit)
  array([0, 4, 5, 6, 7, 8])
  >>> kept(ids, answer, overflow="truncate_response", **fit)
  array([0, 2, 3, 4, 5, 6])
  """
  if len(ids) <= max_tokens:
    return None
  return RULES[overflow](ids, is_response, bos_id, max_tokens)


def _refuse(
  ids: np.ndarray, is_response: np.ndarray, bos_id: int | None, max_tokens: int
) -> Kept:
  raise TooLong(
    "longer than max_tokens",
    f"{len(ids)} tokens, {max_tokens} allowed",
    int(is_response.sum()),
  )


def _truncate_prompt(
  ids: np.ndarray, is_response: np.ndarray, bos_id: int | None, max_tokens: int
) -> Kept:
  """Cuts the oldest tokens before the first answer; never an answer.

  At least one token stays before it, for the first of a text is never
  predicted.
  """
  first = int(is_response.argmax())
  room = max_tokens - (len(ids) - first)
  if room < 1:
    raise TooLong(
      LONG_ANSWERS,
      f"{len(ids)} tokens, {max_tokens} allowed",
      int(is_response.sum()),
    )
  return _with_prompt(ids, first, room, len(ids), bos_id)


def _truncate_response(
  ids: np.ndarray, is_response: np.ndarray, bos_id: int | None, max_tokens: int
) -> Kept:
  """Cuts the end, as trainers do, so `ids[:max_tokens]`.

  A prompt that leaves the answers less than a quarter is cut as well: losses
  of a handful of tokens would be noise, and of none there is no loss.
  """
  first = int(is_response.argmax())
  after = len(ids) - first
  room = max(max_tokens - after, int(PROMPT_SHARE * max_tokens), 1)
  before = min(first, room)
  return _with_prompt(ids, first, before, first + max_tokens - before, bos_id)


def _windows(
  ids: np.ndarray, is_response: np.ndarray, bos_id: int | None, max_tokens: int
) -> Kept:
  """Keeps all, for `passes.windows` to split; refuses what is far too long."""
  if len(ids) > LONGEST * max_tokens:
    raise TooLong(
      TOO_MANY_WINDOWS,
      f"{len(ids)} tokens, {LONGEST * max_tokens} allowed",
      int(is_response.sum()),
    )
  return np.arange(len(ids))


def _with_prompt(
  ids: np.ndarray, first: int, before: int, end: int, bos_id: int | None
) -> Kept:
  """The newest `before` tokens of a prompt, BOS kept, and what follows."""
  head = 1 if ids[0] == bos_id else 0
  return np.r_[:head, first - before + head : end]


# How config.tokens.overflow names them.
RULES: dict[str, Callable[..., Kept]] = {
  "reject": _refuse,
  "truncate_prompt": _truncate_prompt,
  "truncate_response": _truncate_response,
  "windows": _windows,
}
