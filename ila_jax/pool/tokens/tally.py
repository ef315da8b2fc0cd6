"""Counts of tokenized examples: what `max_tokens` costs a pool, above all.

What is long is not like the rest: where it goes, answers get shorter and
sources change their shares. The counts are sums over examples, so the order in
which a pool is read changes nothing.
"""

import collections
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ila_jax.pool.tokens import encode, overflow

# What becomes of an example; those that are kept fit as they are.
_KEPT, _WINDOWS, _CUT, _REJECTED = "kept", "windows", "cut", "rejected"
_LONG = (_REJECTED, _CUT, _WINDOWS)
# Sources that are recorded, those with the most long examples first.
_SOURCES = 20
# Sources that a sentence names.
_NAMED = 3


class Outcome(NamedTuple):
  """What became of a tokenized example.

  Attributes:
    fate: "kept", "windows", "cut" or "rejected".
    response: its response tokens as read.
    cut: tokens of prompt and response that were cut.
    left_out: answers that are learnt and yet no response.
    largest_token: the greatest of its tokens; 0 where it is rejected.
  """

  fate: str
  response: int
  cut: tuple[int, int] = (0, 0)
  left_out: int = 0
  largest_token: int = 0


def outcome(
  result: encode.Encoded | overflow.TooLong, *, max_tokens: int
) -> Outcome:
  """What became of an example.

  >>> outcome(overflow.TooLong("longer than max_tokens", "", 7), max_tokens=4)
  Outcome(fate='rejected', response=7, cut=(0, 0), left_out=0, largest_token=0)
  """
  if isinstance(result, overflow.TooLong):
    return Outcome(_REJECTED, result.n_response_tokens)
  is_long = len(result.ids) > max_tokens
  return Outcome(
    _WINDOWS if is_long else _CUT if result.truncated else _KEPT,
    int(result.is_response.sum()) + result.cut[1],
    result.cut,
    result.n_left_out,
    int(result.ids.max()),
  )


class Tally:
  """Counts examples that fit, are cut, read in windows, or rejected.

  >>> tally = Tally(max_tokens=8)
  >>> tally.add("a", overflow.TooLong("longer than max_tokens", "", 7))
  >>> tally.told()["lengths"]["rejected"]
  {'examples': 1, 'median_response': 7}
  """

  def __init__(self, *, max_tokens: int) -> None:
    """Begins with no example; one has so many tokens at most."""
    self._max_tokens = max_tokens
    # Response tokens of an example, as read -> examples.
    self._responses: dict[str, collections.Counter[int]] = {
      fate: collections.Counter() for fate in (_KEPT, *_LONG)
    }
    self._sources: dict[str, collections.Counter[str]] = {}
    self._losses: collections.Counter[int] = collections.Counter()
    self._cut = np.zeros(2, np.int64)
    self._left_out = self._largest = 0

  def add(self, source: str, result: encode.Encoded | overflow.TooLong) -> None:
    """Counts one example."""
    self.add_like(source, outcome(result, max_tokens=self._max_tokens), 1)

  def add_like(self, source: str, one: Outcome, count: int) -> None:
    """Counts so many examples of a source that came out alike."""
    self._left_out += one.left_out * count
    self._largest = max(self._largest, one.largest_token)
    if one.fate == _CUT:
      self._cut += np.array(one.cut, np.int64) * count
      self._losses[sum(one.cut)] += count
    self._responses[one.fate][one.response] += count
    fates = self._sources.setdefault(source, collections.Counter())
    fates[one.fate] += count

  def told(self) -> dict[str, Any]:
    """The counts as JSON values.

    Returns:
      truncated (examples), answers_left_out, largest_token, and lengths:
      max_tokens; kept, rejected, cut and windows (examples, and the median of
      their response tokens as read; of what is cut also prompt_tokens,
      response_tokens and median_cut); mean_response (of all examples as read,
      and of the pool); sources, those with the most long examples first (the
      examples as read, and those that are long; share of all, and of the pool).
    """
    return {
      "truncated": self._responses[_CUT].total(),
      "answers_left_out": self._left_out,
      "largest_token": self._largest,
      "lengths": self._lengths(),
    }

  def _lengths(self) -> dict[str, Any]:
    by = self._responses
    total = sum(counts.total() for counts in by.values())
    kept = total - by[_REJECTED].total()
    tokens = {fate: _tokens(by[fate]) for fate in by}
    as_read = sum(tokens.values())
    in_pool = as_read - tokens[_REJECTED] - int(self._cut[1])
    told: dict[str, Any] = {"max_tokens": self._max_tokens} | {
      fate: {
        "examples": by[fate].total(),
        "median_response": _median(by[fate]),
      }
      for fate in by
    }
    told[_CUT] |= {
      "prompt_tokens": int(self._cut[0]),
      "response_tokens": int(self._cut[1]),
      "median_cut": _median(self._losses),
    }
    told["mean_response"] = [
      as_read / total if total else None,
      in_pool / kept if kept else None,
    ]
    told["sources"] = [
      {
        "source": source,
        "examples": counts.total(),
        "long": counts.total() - counts[_KEPT],
        "share": [
          counts.total() / total,
          (counts.total() - counts[_REJECTED]) / kept if kept else None,
        ],
      }
      for source, counts in self._longest()
    ]
    return told

  def _longest(self) -> list[tuple[str, collections.Counter[str]]]:
    long = [
      one for one in self._sources.items() if one[1][_KEPT] < one[1].total()
    ]
    long.sort(key=lambda one: (one[1][_KEPT] - one[1].total(), one[0]))
    return long[:_SOURCES]


def _tokens(counts: collections.Counter[int]) -> int:
  return sum(length * count for length, count in counts.items())


def _median(counts: collections.Counter[int]) -> int | None:
  """The median of counted values, the lower one of two; None: of nothing."""
  if not counts:
    return None
  values = sorted(counts)
  reached = np.cumsum([counts[value] for value in values])
  return values[int(np.searchsorted(reached, (counts.total() + 1) // 2))]


def sentences(counts: Mapping[str, Any]) -> list[str]:
  """What was too long, and how that shifts the pool; none where nothing was.

  Args:
    counts: as `pool/counts.json` has them.

  >>> tally = Tally(max_tokens=20)
  >>> for n in (2, 4, 9):
  ...   answer = np.arange(n + 1, dtype=np.int32)
  ...   tally.add("a", encode.Encoded(answer, answer > 0))
  >>> tally.add("a", overflow.TooLong("longer than max_tokens", "", 25))
  >>> told = sentences(tally.told())
  >>> print(told[0])
  Too long: 1 of 4 examples (25.0 %) has more than 20 tokens and is rejected. \
Their responses have 25 tokens in the median, those of the examples that fit 4.
  >>> print(told[1])
  So the mean response has 5 tokens instead of 10.
  """
  told = counts.get("lengths")  # Not in runs of older versions.
  if not told:
    return []
  rejected, cut, windowed = (told[fate]["examples"] for fate in _LONG)
  limit = f"{told['max_tokens']:,} tokens"
  total = rejected + cut + windowed + told[_KEPT]["examples"]
  lines = []
  if rejected:
    has, are = ("have", "are") if rejected > 1 else ("has", "is")
    lines.append(
      f"Too long: {_of(rejected, total)} {has} more than "
      f"{_bound(counts, told['max_tokens'])} and {are} rejected."
      f"{_medians(told, _REJECTED)}"
    )
  if cut:
    one = told[_CUT]
    lines.append(
      f"Cut: {_of(cut, total)} had more than {limit} and lost "
      f"{one['prompt_tokens']:,} tokens of prompts and "
      f"{one['response_tokens']:,} of responses, {one['median_cut']:,} in the "
      f"median.{_medians(told, _CUT)} pool/truncated.parquet lists them."
    )
  if windowed:
    has, are = ("have", "are") if windowed > 1 else ("has", "is")
    lines.append(
      f"In windows: {_of(windowed, total)} {has} more than {limit} and {are} "
      f"read in windows of {limit}.{_medians(told, _WINDOWS)}"
    )
  return [*lines, *_shift(told)]


def _bound(counts: Mapping[str, Any], max_tokens: int) -> str:
  """How many tokens were too many; what counts depends on the rule."""
  reasons = counts.get("reasons", {})
  if overflow.TOO_MANY_WINDOWS in reasons:
    most = overflow.LONGEST * max_tokens
    return f"{most:,} tokens ({overflow.LONGEST} windows of {max_tokens:,})"
  if overflow.LONG_ANSWERS in reasons:
    return f"{max_tokens:,} tokens from the first answer on"
  return f"{max_tokens:,} tokens"


def _medians(told: Mapping[str, Any], fate: str) -> str:
  """A sentence: response lengths of some examples beside those that fit."""
  fitting = told[_KEPT]["median_response"]
  beside = ""
  if fitting is not None:
    beside = f", those of the examples that fit {fitting:,}"
  return (
    f" Their responses have {told[fate]['median_response']:,} tokens in the "
    f"median{beside}."
  )


def _shift(told: Mapping[str, Any]) -> list[str]:
  """How the pool differs from what was read, and where the long ones are."""
  parts = []
  before, after = told["mean_response"]
  if after is not None and f"{before:,.0f}" != f"{after:,.0f}":
    parts.append(
      f"the mean response has {after:,.0f} tokens instead of {before:,.0f}"
    )
  sources = [one for one in told["sources"] if _has_moved(one["share"])]
  sources.sort(key=lambda one: -abs(one["share"][1] - one["share"][0]))
  for one in sources[:_NAMED]:
    before, after = map(_percent, one["share"])
    parts.append(f"{one['source']} is {after} of the pool instead of {before}")
  lines = [f"So {', '.join(parts)}."] if parts else []
  if len(told["sources"]) > 1:
    named = ", ".join(
      f"{one['long']:,} of {one['examples']:,} of {one['source']}"
      for one in told["sources"][:_NAMED]
    )
    lines.append(f"Too long by source: {named}.")
  return lines


def _has_moved(share: list[float | None]) -> bool:
  before, after = share
  return after is not None and _percent(before) != _percent(after)


def warnings(counts: Mapping[str, Any]) -> list[str]:
  """What the report warns of: that examples were cut.

  >>> warnings({"truncated": 0})
  []
  """
  if not counts["truncated"]:
    return []
  said = f"The prompts of {counts['truncated']:,} examples were cut"
  told = counts.get("lengths")
  if told and told[_CUT]["response_tokens"]:
    said = (
      f"{counts['truncated']:,} examples were cut, and lost "
      f"{told[_CUT]['response_tokens']:,} response tokens: answers that break "
      "off teach no end,"
    )
  return [f"{said} to fit config.tokens.max_tokens."]


def _of(count: int, total: int) -> str:
  return f"{count:,} of {total:,} examples ({_percent(count / total)})"


def _percent(share: float | int) -> str:
  percent = 100 * share
  return f"{percent:.1f} %" if percent >= 0.1 or not share else "under 0.1 %"
