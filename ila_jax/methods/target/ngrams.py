"""n-grams of words as numbers of buckets, the same on every machine."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from ila_jax.embed import lsa

# Runs of letters and digits, and runs of other signs ("wordpunct"). Scripts
# without blanks between words go character by character: a run of them would be
# a sentence, which no other text has.
_WORD = re.compile(rf"[{lsa.CJK}]|[^\W{lsa.CJK}]+|[^\w\s]+")

# Texts whose n-grams are added up at once.
_TEXTS = 4096


def bucket(ngram: str, buckets: int) -> int:
  """The bucket of a word, or of two with a blank between them.

  SHA-256, as DSIR has it: Python's own hash differs from run to run.

  >>> bucket("the", 10_000), bucket("the sea", 10_000)
  (8288, 16)
  """
  digest = hashlib.sha256(ngram.encode("utf-8", "surrogatepass")).digest()
  return int.from_bytes(digest) % buckets


class Buckets:
  """The buckets of the words and the pairs of words of texts."""

  def __init__(self, buckets: int) -> None:
    """Remembers the buckets of words, of which there are far fewer than pairs.

    Args:
      buckets: how many there are.
    """
    self._buckets = buckets
    self._number: dict[str, int] = {}
    self._words: list[str] = []
    self._of_word: list[int] = []

  def __call__(
    self, texts: Sequence[str]
  ) -> tuple[Int[np.ndarray, " g"], Int[np.ndarray, " n"]]:
    """Buckets of all n-grams, text after text, and words of each text.

    A text of w words has w + (w - 1) n-grams: its words, then its pairs. Each
    pair that occurs is hashed once for all texts.

    >>> found, words = Buckets(10_000)(["The sea!", "", "sea"])
    >>> len(found), words.tolist()
    (6, [3, 0, 1])
    """
    lists = [self._numbers(_WORD.findall(text.lower())) for text in texts]
    words = np.array([len(own) for own in lists], np.int64)
    number = np.fromiter((n for own in lists for n in own), np.int64)
    alone = np.array(self._of_word, np.int32)[number]
    text = np.repeat(np.arange(len(texts)), words)
    first = np.flatnonzero(text[:-1] == text[1:])
    pairs, place = np.unique(
      number[first] << 32 | number[first + 1], return_inverse=True
    )
    hashed = np.fromiter(map(self._pair, pairs.tolist()), np.int32, len(pairs))
    owner = np.concatenate([text, text[first]])
    found = np.concatenate([alone, hashed[place]])
    return found[np.argsort(owner, kind="stable")], words

  def _numbers(self, words: list[str]) -> list[int]:
    number = self._number
    for word in words:
      if word not in number:
        number[word] = len(number)
        self._words.append(word)
        self._of_word.append(bucket(word, self._buckets))
    return [number[word] for word in words]

  def _pair(self, pair: int) -> int:
    one, two = self._words[pair >> 32], self._words[pair & 0xFFFFFFFF]
    return bucket(f"{one} {two}", self._buckets)


def sizes(words: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
  """n-grams of texts of so many words.

  >>> sizes(np.array([0, 1, 3])).tolist()
  [0, 1, 5]
  """
  return np.maximum(2 * words - 1, 0)


def totals(
  found: Int[np.ndarray, " g"],
  words: Int[np.ndarray, " n"],
  value: Float[np.ndarray, " b"],
) -> Float[np.ndarray, " n"]:
  """Sums a value of each bucket over the n-grams of each text, float64.

  >>> value = np.array([1.0, 5.0])
  >>> totals(np.array([0, 1, 1]), np.array([0, 2]), value).tolist()
  [0.0, 11.0]
  """
  count = sizes(words)
  total, begin = np.zeros(len(words)), 0
  for at in range(0, len(words), _TEXTS):  # All at once take 20 bytes each.
    own = count[at : at + _TEXTS]
    text = np.repeat(np.arange(len(own)), own)
    here = value[found[begin : begin + len(text)]]
    total[at : at + _TEXTS] = np.bincount(text, here, minlength=len(own))
    begin += len(text)
  return total
