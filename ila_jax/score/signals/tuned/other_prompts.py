"""Which other prompts a response is put behind.

Every domain has a bank: at most `BANK` of its different prompts, drawn by their
ids. A response gets prompts of the bank of its domain, of about the length of
its own, drawn by its id: neither shards nor the order of the pool nor devices
change them, and one reading of the pool serves all shards.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int, UInt64

from ila_jax.passes import token_set
from ila_jax.run import draws

# Prompts of a domain that are kept in memory.
BANK = 512
# Of these, as many are of a length like one's own.
LIKE = 16
# The bank of the whole pool, for domains of a single prompt.
WHOLE = -1
# What stands for a prompt where there is no other.
NONE = -1


def banks(
  prompt: UInt64[np.ndarray, " n"], domain: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
  """The bank of each record: its domain, `WHOLE` if that has one prompt.

  >>> prompts = np.array([7, 7, 8, 9], np.uint64)
  >>> banks(prompts, np.array([0, 0, 1, 1])).tolist()
  [-1, -1, 1, 1]
  """
  _, place = np.unique(domain, return_inverse=True)
  low = np.full(place.max(initial=-1) + 1, np.iinfo(np.uint64).max, np.uint64)
  high = np.zeros_like(low)
  np.minimum.at(low, place, prompt)
  np.maximum.at(high, place, prompt)
  return np.where((low == high)[place], WHOLE, domain)


def drawn(
  ids: UInt64[np.ndarray, " n"],
  prompt: UInt64[np.ndarray, " n"],
  domain: Int[np.ndarray, " n"],
  *,
  seed: int,
) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
  """Draws the prompts of all banks.

  Args:
    ids: of the records, distinct [n].
    prompt: equal where records have one prompt [n].
    domain: of each record, from 0 [n].
    seed: of the run.

  Returns:
    Rows whose prompts are in a bank, and of which bank; of several records of
    one prompt, that of the lowest id.

  >>> three = np.arange(3, dtype=np.uint64)
  >>> rows, bank = drawn(three, np.array([5, 5, 6], np.uint64),
  ...   np.zeros(3, int), seed=0)
  >>> sorted(rows.tolist()), bank.tolist()
  ([0, 2], [0, 0])
  """
  own = banks(prompt, domain)
  row, bank = np.arange(len(ids)), domain.astype(np.int64)
  if (own == WHOLE).any():
    row, bank = np.tile(row, 2), np.append(bank, np.full(len(ids), WHOLE))
  order = np.lexsort((ids[row], prompt[row], bank))
  row, bank = row[order], bank[order]
  is_new = np.ones(len(row), np.bool_)
  is_new[1:] = (np.diff(bank) != 0) | (prompt[row][1:] != prompt[row][:-1])
  row, bank = row[is_new], bank[is_new]
  uniform = draws.keyed_uniform(
    prompt[row], seed=seed, purpose="bank of other prompts"
  )
  order = np.lexsort((prompt[row], uniform, bank))
  row, bank = row[order], bank[order]
  begin = np.searchsorted(bank, bank, side="left")
  is_kept = np.arange(len(row)) - begin < BANK
  return row[is_kept], bank[is_kept]


@dataclasses.dataclass(frozen=True)
class Prompts:
  """The prompts of all banks: by bank, then by length, then by id.

  Attributes:
    tokens: of each prompt, int32.
    prompt: its id [b].
    bank: its bank [b].
    length: its tokens [b].
  """

  tokens: list[Int[np.ndarray, " _"]]
  prompt: UInt64[np.ndarray, " b"]
  bank: Int[np.ndarray, " b"]
  length: Int[np.ndarray, " b"]


def first_answer(data: token_set.TokenSet) -> Int[np.ndarray, " n"]:
  """Tokens before the first response token of each example.

  >>> mask = np.array([False, False, True, False, True])
  >>> data = token_set.TokenSet([np.arange(5, dtype=np.int32)], [mask])
  >>> first_answer(data).tolist()
  [2]
  """
  first = [int(np.argmax(m)) if m.any() else len(m) for m in data.is_response]
  return np.array(first, np.int64)


def prompts(
  data: token_set.TokenSet,
  prompt: UInt64[np.ndarray, " b"],
  bank: Int[np.ndarray, " b"],
) -> Prompts:
  """Cuts the prompts out of the records that were drawn, and sorts them."""
  length = first_answer(data)
  order = np.lexsort((prompt, length, bank))
  tokens = [data.tokens[row][: length[row]] for row in order]
  return Prompts(tokens, prompt[order], bank[order], length[order])


def choose(
  have: Prompts,
  ids: UInt64[np.ndarray, " n"],
  prompt: UInt64[np.ndarray, " n"],
  bank: Int[np.ndarray, " n"],
  length: Int[np.ndarray, " n"],
  *,
  count: int,
  seed: int,
) -> Int[np.ndarray, "n count"]:
  """Chooses other prompts for some records.

  Of the `LIKE` prompts of the bank whose lengths are nearest in their order,
  without one's own, each draw takes another one by chance; where there are
  fewer than draws, they are taken again.

  Args:
    have: the prompts of all banks.
    ids: of the records [n].
    prompt: their prompts' ids [n].
    bank: their banks [n].
    length: tokens of their prompts [n].
    count: other prompts of each.
    seed: of the run.

  Returns:
    Places in `have`; `NONE` where a record has no other prompt.
  """
  found = np.full((len(ids), count), NONE, np.int64)
  if not len(have.tokens):
    return found
  begin = np.searchsorted(have.bank, bank, side="left")
  end = np.searchsorted(have.bank, bank, side="right")
  longest = int(max(have.length.max(), length.max(initial=0))) + 1
  key = have.bank * longest + have.length
  at = np.searchsorted(key, bank * longest + length, side="left")
  start = np.clip(at - LIKE // 2, begin, np.maximum(end - LIKE, begin))
  place = start[:, None] + np.arange(LIKE)
  inside = place < end[:, None]
  place = np.minimum(place, len(have.tokens) - 1)
  allowed = inside & (have.prompt[place] != prompt[:, None])
  left = allowed.copy()
  row = np.flatnonzero(allowed.any(axis=1))
  for number in range(count):
    none_left = ~left.any(axis=1)
    left[none_left] = allowed[none_left]
    uniform = _uniform(ids[row], number, seed)
    wanted = np.floor(uniform * left[row].sum(axis=1))
    pick = (left[row].cumsum(axis=1) > wanted[:, None]).argmax(axis=1)
    found[row, number] = place[row, pick]
    left[row, pick] = False
  return found


def _uniform(
  ids: UInt64[np.ndarray, " n"], number: int, seed: int
) -> Float[np.ndarray, " n"]:
  """The keyed draw of each record for one of its other prompts."""
  purpose = f"other prompt {number}"
  return draws.keyed_uniform(ids, seed=seed, purpose=purpose)


def behind(
  have: Prompts,
  data: token_set.TokenSet,
  place: Int[np.ndarray, " n"],
) -> token_set.TokenSet:
  """The examples with another prompt before their first answer.

  Args:
    have: the prompts of all banks.
    data: the examples.
    place: of the prompt of each, in `have`.

  >>> ids, mask = np.array([1, 2, 3], np.int32), np.array([False, True, True])
  >>> data = token_set.TokenSet([ids], [mask])
  >>> one = np.array([1], np.uint64)
  >>> other = Prompts([np.array([8, 9], np.int32)], one, one, one + 1)
  >>> made = behind(other, data, np.array([0]))
  >>> made.tokens[0].tolist(), made.is_response[0].tolist()
  ([8, 9, 2, 3], [False, False, True, True])
  """
  tokens, is_response = [], []
  for row, first in enumerate(first_answer(data)):
    prompt = have.tokens[place[row]]
    tokens.append(np.concatenate([prompt, data.tokens[row][first:]]))
    mask = data.is_response[row][first:]
    is_response.append(np.concatenate([np.zeros(len(prompt), np.bool_), mask]))
  return token_set.TokenSet(tokens, is_response)
