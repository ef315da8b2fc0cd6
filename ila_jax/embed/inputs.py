"""What of the prompts a model reads, and whether they still differ by that.

An encoder cuts a text at its length and knows a vocabulary. Prompts that differ
only beyond that stand on one spot of the map: that is told, and refused where
it is most of the pool.
"""

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, UInt64

from ila_jax import errors

# A map of fewer places says nothing: the smallest selections cover it.
_FEWEST_INPUTS = 10


class Read(NamedTuple):
  """What a model reads of n prompts.

  Attributes:
    prompt: fingerprints of the prompts.
    seen: fingerprints of what is read of them.
    tokens: how many tokens are read of each, special ones included.
    lost: how many tokens of each are cut off.
  """

  prompt: UInt64[np.ndarray, " n"]
  seen: UInt64[np.ndarray, " n"]
  tokens: Int32[np.ndarray, " n"]
  lost: Int32[np.ndarray, " n"]


def tokenize(
  tokenizer: Any,
  prompts: Sequence[str],
  *,
  prefix: str,
  lower: bool,
  max_tokens: int,
) -> tuple[list[Int32[np.ndarray, " _"]], Read]:
  """Token ids of prompts; those that are too long are cut at the right end.

  Args:
    tokenizer: a fast tokenizer; which side it cuts of itself does not count.
    prompts: any texts.
    prefix: of every prompt, as the encoder wants it.
    lower: whether the encoder was tuned on lower case.
    max_tokens: of a prompt, with prefix and special tokens.

  Returns:
    The ids, special tokens included, and what they say of the prompts.
  """
  tokenizer.truncation_side = "right"
  texts = [prefix + prompt for prompt in prompts]
  encoding = tokenizer(
    [text.lower() for text in texts] if lower else texts,
    truncation=True,
    max_length=max_tokens,
    return_overflowing_tokens=True,
  )
  # What was cut off follows in rows of its own, each with special tokens.
  number = np.array(encoding["overflow_to_sample_mapping"], np.int64)
  first = np.diff(number, prepend=-1) > 0
  extra = tokenizer.num_special_tokens_to_add()
  lost = np.zeros(len(texts), np.int32)
  for row in np.flatnonzero(~first):
    lost[number[row]] += len(encoding["input_ids"][row]) - extra
  ids = [
    np.array(encoding["input_ids"][row], np.int32)
    for row in np.flatnonzero(first)
  ]
  return ids, Read(
    fingerprints(prompt.encode() for prompt in prompts),
    fingerprints(row.tobytes() for row in ids),
    np.array([len(row) for row in ids], np.int32),
    lost,
  )


def of_terms(prompts: Sequence[str], terms: Any) -> Read:
  """What LSA reads of prompts: the terms that it knows, and all of them.

  Args:
    prompts: any texts.
    terms: of `encode.lsa_terms`, sparse by rows [n, terms].
  """
  ends = list(itertools.pairwise(terms.indptr))
  return Read(
    fingerprints(prompt.encode() for prompt in prompts),
    fingerprints(
      terms.indices[begin:end].tobytes() + terms.data[begin:end].tobytes()
      for begin, end in ends
    ),
    np.diff(terms.indptr).astype(np.int32),
    np.zeros(len(prompts), np.int32),
  )


def fingerprints(parts: Iterable[bytes]) -> UInt64[np.ndarray, " n"]:
  """64 bits of the content of each part, to count how many differ.

  >>> a, b, c = fingerprints([b"x", b"y", b"x"])
  >>> bool(a == c), bool(a == b)
  (True, False)
  """
  digests = (hashlib.blake2b(part, digest_size=8).digest() for part in parts)
  return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def tally(read: Read) -> dict[str, Any]:
  """How much of the prompts is read, and how many of them differ by that.

  Returns:
    examples; distinct_prompts; distinct_inputs; cut, the prompts that lose
    something, and cut_share, of their tokens; unread, the prompts of which
    nothing is read.

  >>> counts = tally(Read(
  ...   fingerprints([b"a", b"b", b"c"]), fingerprints([b"a", b"a", b"c"]),
  ...   tokens=np.array([3, 3, 1], np.int32),
  ...   lost=np.array([1, 1, 0], np.int32)))
  >>> told(counts).partition("; prompts")[0]
  'distinct inputs 2 of 3; cut: 66.7 % of the prompts lost 25 % of their tokens'
  """
  cut = read.lost > 0
  lost = int(read.lost.sum(dtype=np.int64))
  whole = lost + int(read.tokens[cut].sum(dtype=np.int64))
  return {
    "examples": len(read.prompt),
    "distinct_prompts": len(np.unique(read.prompt)),
    "distinct_inputs": len(np.unique(read.seen)),
    "cut": int(cut.sum()),
    "cut_share": lost / whole if whole else 0.0,
    "unread": int((read.tokens == 0).sum()),
  }


def told(counts: dict[str, Any]) -> str:
  """The counts of `tally` as one line."""
  examples, inputs = counts["examples"], counts["distinct_inputs"]
  parts = [f"distinct inputs {inputs:,} of {examples:,}"]
  if counts["cut"]:
    parts.append(
      f"cut: {100 * counts['cut'] / examples:.3g} % of the prompts lost "
      f"{100 * counts['cut_share']:.3g} % of their tokens"
    )
  else:
    parts.append("no prompt was cut")
  if counts["unread"]:
    parts.append(f"prompts without a known word: {counts['unread']:,}")
  if inputs < counts["distinct_prompts"]:
    parts.append(
      "prompts that differ from another only in what was not read: "
      f"{counts['distinct_prompts'] - inputs:,}"
    )
  return "; ".join(parts)


def warning(counts: dict[str, Any]) -> str | None:
  """A sentence where what is not read may matter: of one prompt in a hundred.

  >>> counts = {"examples": 900, "distinct_prompts": 800, "unread": 0}
  >>> warning(counts | {"distinct_inputs": 795})
  >>> warning(counts | {"distinct_inputs": 790}).partition(";")[0]
  'The encoder tells 790 of 800 distinct prompts apart'
  """
  prompts, inputs = counts["distinct_prompts"], counts["distinct_inputs"]
  if 100 * max(prompts - inputs, counts["unread"]) < prompts:
    return None
  return (
    f"The encoder tells {inputs:,} of {prompts:,} distinct prompts apart; each "
    "of the others stands on the spot of another, as its near-duplicate."
  )


def check_told_apart(counts: dict[str, Any], *, remedy: str) -> None:
  """Refuses a model that reads the same of most prompts.

  Prompts that repeat in the pool do not count against it.

  Args:
    counts: of `tally`.
    remedy: what to do.

  Raises:
    errors.InputError: not more than half of the distinct prompts differ in what
      is read of them.
  """
  prompts, inputs = counts["distinct_prompts"], counts["distinct_inputs"]
  if prompts > 1 and 2 * inputs <= prompts:
    raise errors.InputError(
      f"config.encoder.path: of {prompts:,} distinct prompts {inputs:,} differ "
      f"in what is read of them ({told(counts)}); allowed: more than half. "
      f"{remedy}"
    )


def check_read(is_read: Bool[np.ndarray, " n"], *, field: str) -> str | None:
  """Checks that the encoder reads something of the prompts of a set.

  Where it reads nothing, as of another language, a prompt has no place beside
  others.

  Args:
    is_read: whether anything was read of each prompt.
    field: of the config that names the set.

  Returns:
    A sentence where nothing was read of some.

  Raises:
    errors.InputError: nothing was read of any.

  >>> check_read(np.array([True, False]), field="select.target")[:34]
  'The encoder reads nothing of 1 of '
  """
  lost, total = int((~is_read).sum()), len(is_read)
  if lost == total:
    raise errors.InputError(
      f"{field}: the encoder (config.encoder.path) reads nothing of any of its "
      f"{total:,} prompts, so none can be compared with the pool; allowed: one "
      "or more of which it knows a word. Take another encoder (it places the "
      "pool anew, with --redo=embed), or leave the set out."
    )
  if not lost:
    return None
  return (
    f"The encoder reads nothing of {lost:,} of {total:,} prompts of {field}: "
    "they are compared with nothing"
  )


def check_enough(counts: dict[str, Any], *, such_as: str) -> None:
  """Refuses a pool of so few prompts that a map of them says nothing.

  Args:
    counts: of `tally`.
    such_as: how one of the prompts begins.

  Raises:
    errors.InputError: fewer than ten distinct inputs, each for two examples or
      more on average.
  """
  examples, inputs = counts["examples"], counts["distinct_inputs"]
  if inputs < _FEWEST_INPUTS and 2 * inputs <= examples:
    raise errors.InputError(
      f"config.pool.source: {examples:,} examples have {inputs:,} distinct "
      f"prompts, such as {such_as!r}; allowed: "
      f"{_FEWEST_INPUTS} or more, for any selection covers a map of fewer. If "
      "another field of the records holds what differs, name it with "
      "--config.pool.fields.prompt=... or .input=..., and add --redo=pool; if "
      "the system text does, use --config.encoder.system=True --redo=embed."
    )
