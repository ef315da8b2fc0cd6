"""Leaks: evaluation records planted in a pool, as they are or in disguise.

Half of a real data set is the evaluation set; the other half is planted in the
same disguises, as what a screen must let pass.
"""

import random
import re
from typing import Any, NamedTuple

VERBATIM, REWORDED, EMBEDDED = KINDS = ("verbatim", "reworded", "embedded")
# Found by cosine, if at all: other words, another order.
PARAPHRASED = "paraphrased"
_WIDE = {ord(c): ord(c) + 0xFEE0 for c in "abcdefghijklmnopqrstuvwxyz"}
_MARKS = (",", ";", " -", "...", "!")


# Words of questions, and others that say the same.
_SYNONYMS = {
  **{"how many": "what number of", "how much": "what amount of"},
  **{"what is": "tell me", "find": "determine", "buys": "purchases"},
  **{"bought": "purchased", "each": "every one", "total": "overall sum"},
  **{"has": "owns", "have": "own", "gives": "hands", "gave": "handed"},
  **{"makes": "produces", "made": "produced", "gets": "receives"},
  **{"and": "as well as", "then": "after that", "if": "suppose that"},
  **{"a day": "daily", "a week": "weekly", "an hour": "per hour"},
  **{"costs": "is priced at", "cost": "price", "sold": "had sales of"},
  **{"more than": "above", "less than": "below", "half": "one half"},
  **{"list": "name", "give": "provide", "write": "compose"},
  **{"describe": "explain", "why": "for what reason", "best": "finest"},
  **{"some": "several", "begin": "start", "big": "large", "small": "little"},
  **{"the": "that", "was": "had been", "are": "would be", "when": "once"},
}
_FORMS = re.compile(
  r"\b(" + "|".join(sorted(_SYNONYMS, key=len, reverse=True)) + r")\b", re.I
)


class Planted(NamedTuple):
  """A record of the pool, and what it is.

  Attributes:
    record: with instruction and output.
    kind: one of `KINDS`, or `PARAPHRASED`; "": it was in the pool before.
    is_leak: whether its question is in the evaluation set.
  """

  record: dict[str, Any]
  kind: str = ""
  is_leak: bool = False


def reworded(text: str, draw: random.Random) -> str:
  """Another case, other punctuation and other white space."""
  words = text.split()
  for place, word in enumerate(words):
    change = draw.randrange(8)
    if change == 0:
      word = word.upper()
    elif change == 1:
      word = word.translate(_WIDE)
    elif change == 2 and word.isalpha():
      word = f"\u201c{word}\u201d"
    elif change == 3 and word[-1] in ",.?!;:":
      word = word[:-1]
    elif change == 4 and word[-1].isalpha():
      word += draw.choice(_MARKS)
    words[place] = word
  return "  ".join(words[:3]) + "\n" + "\t".join(words[3:])


def paraphrased(text: str, draw: random.Random) -> str:
  """The same in other words, by a table, and with its last sentence first.

  Three in four of the words that the table knows are exchanged.
  """
  text = _FORMS.sub(
    lambda m: _SYNONYMS[m[0].lower()] if draw.random() < 0.75 else m[0], text
  )
  *rest, last = re.split(r"(?<=[.?!])\s+", text.strip())
  return " ".join([last, *rest])


def embedded(text: str, others: list[str], draw: random.Random) -> str:
  """In the middle of a longer prompt."""
  before, after = draw.sample(others, 2)
  return f"{before}\n\n{text} {after}"


def split(
  rows: list[tuple[str, str]], draw: random.Random
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
  """Questions with answers in two halves, in which no question is twice."""
  rows = list(dict(rows).items())
  draw.shuffle(rows)
  return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def plant(
  pool: list[dict[str, Any]],
  leaks: list[tuple[str, str]],
  others: list[tuple[str, str]],
  draw: random.Random,
  *,
  kinds: tuple[str, ...] = KINDS,
) -> list[Planted]:
  """A pool with leaks and with questions that are none, each kind in turn.

  But for the verbatim ones, each has the answer of an example of the pool, so
  that only what is asked tells it.
  """
  planted = [Planted(record) for record in pool]
  texts = [record["instruction"] for record in pool]
  for rows, is_leak in ((leaks, True), (others, False)):
    for number, (question, answer) in enumerate(rows):
      kind = kinds[number % len(kinds)]
      if kind != VERBATIM:
        answer = draw.choice(pool)["output"] or "None."
      if kind == REWORDED:
        question = reworded(question, draw)
      elif kind == EMBEDDED:
        question = embedded(question, texts, draw)
      elif kind == PARAPHRASED:
        question = paraphrased(question, draw)
      record = {"instruction": question, "input": "", "output": answer}
      planted.append(Planted(record, kind, is_leak))
  draw.shuffle(planted)
  return planted
