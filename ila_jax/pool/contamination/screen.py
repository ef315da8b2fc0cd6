"""The screen: which example of a pool repeats which evaluation record.

See docs/method.md 10. All is held as hashes: 12 bytes an n-gram of the
evaluation sets, whatever the size of the pool.
"""

import collections
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ila_jax.pool import records
from ila_jax.pool.contamination import evaluation, ngrams, words
from ila_jax.pool.conversations import conversation

# How an example repeats a record, the surest first.
BOTH, PROMPT, NGRAM, SHORT = (
  *("prompt and answer", "prompt", "n-gram", "short text"),
)
# An n-gram in more distinct prompts of a set than that, and in more than that
# share of them, is a template of the set: it tells nothing of a record.
COMMON_PROMPTS, COMMON_SHARE = 10, 0.01
# Words of a text that counts where it stands within another; GPT-3's least
# (Brown et al. 2020, appendix C).
SHORT_WORDS = 8
# Words of a prompt that counts alone; a shorter one needs its answer. One that
# follows another, such as "Tell me more.", counts from SHORT_WORDS on.
PROMPT_WORDS = 3


class Match(NamedTuple):
  """What an example repeats.

  Attributes:
    how: `BOTH`, `PROMPT`, `NGRAM` or `SHORT`.
    source: name of the evaluation set.
    file: where its record stands.
    line: of the record.
    text: the words that both have.
  """

  how: str
  source: str
  file: str
  line: int
  text: str


class Template(NamedTuple):
  """N-grams of an evaluation set that are left out, for many prompts share it.

  Attributes:
    ngrams: how many.
    file: of the first record with one.
    line: of that record.
  """

  ngrams: int
  file: str
  line: int


def counts_alone(one: evaluation.Record) -> bool:
  """Whether a prompt has words enough to count without its answer.

  >>> one = evaluation.Record("set", "set.jsonl", 1, "Tell me more.", "", "")
  >>> counts_alone(one), counts_alone(one._replace(follows=True))
  (True, False)
  """
  least = SHORT_WORDS if one.follows else PROMPT_WORDS
  return len(words.words(one.prompt)) >= least


def _whole(said: Sequence[str]) -> int:
  return ngrams.text_hash(" ".join(said))


class _Hashes:
  """Hashes and the record of each, while they grow."""

  def __init__(self) -> None:
    self.hashes: list[np.ndarray] = []
    self.record: list[np.ndarray] = []

  def add(self, hashes: np.ndarray, record: int) -> None:
    self.hashes.append(hashes)
    self.record.append(np.full(len(hashes), record, np.int32))

  def one(self, number: int, record: int) -> None:
    self.add(np.array([number], np.uint64), record)

  def joined(self) -> tuple[np.ndarray, np.ndarray]:
    none = [np.zeros(0, np.uint64)], [np.zeros(0, np.int32)]
    return (
      np.concatenate(none[0] + self.hashes),
      np.concatenate(none[1] + self.record),
    )


def _ngram(text: Sequence[str]) -> int:
  """The hash of a text that is one n-gram."""
  ((_, hashes),) = ngrams.windows(text, [len(text)])
  return int(hashes[0])


def _add_whole(
  whole: dict[str, _Hashes], part: evaluation.Record, number: int
) -> None:
  """Adds a prompt that counts alone, and one with its answer."""
  prompt, answer = words.words(part.prompt), words.words(part.answer)
  if counts_alone(part):
    whole[PROMPT].one(_whole(prompt), number)
  if prompt and answer:
    whole[BOTH].one(_whole(_both(prompt, answer)), number)


class Screen:
  """Finds what an example has in common with evaluation sets.

  >>> ask = "How many legs do three cats and two birds have together?"
  >>> one = evaluation.Record("legs", "legs.jsonl", 1, ask, ask + " 16", "16")
  >>> screen = Screen([one], width=13)
  >>> turns = (records.Turn("user", "Hello! " + ask.upper()),
  ...          records.Turn("assistant", "Sixteen."))
  >>> match = screen.match(turns)
  >>> match.how, match.line, match.text[:13]
  ('short text', 1, 'how many legs')
  """

  def __init__(self, sets: Iterable[evaluation.Record], *, width: int):
    """Reads evaluation sets; `width` is the n of n-grams, in words."""
    self.records: collections.Counter[str] = collections.Counter()
    self.templates: dict[str, Template] = {}
    self._width, self._least = width, min(SHORT_WORDS, width)
    self._sources: list[str] = []
    self._files: dict[str, int] = {}
    self._places: list[tuple[int, int, int]] = []  # source, file, line
    prompts: list[int] = []  # The hash of each record's.
    whole = {BOTH: _Hashes(), PROMPT: _Hashes()}
    short: dict[int, _Hashes] = collections.defaultdict(_Hashes)
    long: dict[str, _Hashes] = collections.defaultdict(_Hashes)
    for one in sets:
      number = self._note(one)
      prompts.append(_whole(words.words(one.prompt)))
      for part in (one, *evaluation.questions(one)):
        _add_whole(whole, part, number)
        texts = map(words.words, (part.prompt, part.said))
        for text in (t for t in texts if self._least <= len(t) < width):
          short[len(text)].one(_ngram(text), number)
      for _, hashes in ngrams.windows(words.words(one.said), [width]):
        long[one.source].add(np.unique(hashes), number)
    self._whole = {k: ngrams.Table(*h.joined()) for k, h in whole.items()}
    self._by_width = {n: ngrams.Table(*short[n].joined()) for n in short}
    self._by_width[width] = self._without_templates(long, prompts)
    self._widths = sorted(self._by_width)

  @property
  def size(self) -> int:
    """The n-grams that are looked for."""
    return len(self._by_width[self._width])

  def _note(self, one: evaluation.Record) -> int:
    """Notes where a record stands; returns its number."""
    if one.source not in self.records:
      self._sources.append(one.source)
    self.records[one.source] += 1
    file = self._files.setdefault(one.file, len(self._files))
    source = self._sources.index(one.source)
    self._places.append((source, file, one.line))
    return len(self._places) - 1

  def _without_templates(
    self, long: dict[str, _Hashes], prompts: Sequence[int]
  ) -> ngrams.Table:
    """The n-grams of all sets but for those that many of its prompts have."""
    group = np.array(prompts, np.uint64)
    kept = _Hashes()
    for source, found in long.items():
      hashes, record = found.joined()
      distinct = len(np.unique(group[np.unique(record)]))
      limit = max(COMMON_PROMPTS, COMMON_SHARE * distinct)
      common = ngrams.is_common(
        hashes, group[record].view(np.int64), limit=limit
      )
      if common.any():
        _, file, line = self._place(int(record[common].min()))
        count = len(np.unique(hashes[common]))
        self.templates[source] = Template(count, file, line)
      kept.hashes.append(hashes[~common])
      kept.record.append(record[~common])
      found.hashes, found.record = [], []
    return ngrams.Table(*kept.joined())

  def _place(self, number: int) -> tuple[str, str, int]:
    source, file, line = self._places[number]
    return self._sources[source], list(self._files)[file], line

  def match(self, turns: Sequence[records.Turn]) -> Match | None:
    """What an example repeats, by the surest of the rules; None: nothing.

    Args:
      turns: of the example; the last is the assistant's.
    """
    said = [words.words(conversation.said(turn)) for turn in turns]
    answer = said[-1]
    if turns[-1].text != conversation.said(turns[-1]):  # Thought, or calls.
      answer = words.words(turns[-1].text)
    asks = [
      ask for ask, turn in zip(said, turns, strict=True) if turn.role == "user"
    ]
    asked = [word for ask in asks for word in ask]
    wholes = [(BOTH, _both(asked, answer)), (PROMPT, asked)]
    if len(asks) > 1:
      wholes += [(PROMPT, ask) for ask in asks]
      wholes += [
        (BOTH, _both(said[place], said[place + 1]))
        for place in range(len(turns) - 1)
        if (turns[place].role, turns[place + 1].role) == ("user", "assistant")
      ]
    for how in (BOTH, PROMPT):
      texts = [text for kind, text in wholes if kind == how]
      hashes = np.array(list(map(_whole, texts)), np.uint64)
      matched = self._whole[how].lookup(hashes)
      for text, number in zip(texts, matched.tolist(), strict=True):
        if number >= 0:
          return Match(how, *self._place(number), " ".join(text))
    return self._within([word for one in said for word in one])

  def _within(self, text: Sequence[str]) -> Match | None:
    """The longest short text, or an n-gram, within all that an example says."""
    best = None
    for width, hashes in ngrams.windows(text, self._widths):
      matched = self._by_width[width].lookup(hashes)
      there = np.flatnonzero(matched >= 0)
      if len(there):
        # The record with most of the n-grams, and the first of them.
        numbers, counts = np.unique(matched[there], return_counts=True)
        number = int(numbers[counts.argmax()])
        begin = int(there[np.argmax(matched[there] == number)])
        how = NGRAM if width == self._width else SHORT
        shared = " ".join(text[begin : begin + width])
        best = Match(how, *self._place(number), shared)
    return best


def _both(asked: Sequence[str], answer: Sequence[str]) -> list[str]:
  """Prompt and answer, with a mark between that is no word."""
  return [*asked, "|", *answer]
