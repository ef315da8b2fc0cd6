"""Words: what counts as equal, and what does not."""

import pytest

from ila_jax.pool.contamination import words


@pytest.mark.parametrize(
  ("one", "other"),
  [
    ("What is 2 + 2?", "what IS\n2  + 2"),
    ("It's the dog’s bone.", "its the dogs bone"),
    ("£3,000 (net)", "3000 net"),
    ("Ｆｕｌｌ ｗｉｄｔｈ", "full width"),
    ("naïve", "nai\u0308ve"),
    ("Straße", "STRASSE"),
    ("co\u00adopera\u200btion", "cooperation"),
    ("1 +\t2  -\n3 * 4", "1+2-3*4"),
    ("well-known_name", "well known name"),
    ("你好，世界！", "你好 世界"),
    ("हिन्दी।", "हिन्दी"),
  ],
)
def test_texts_that_say_the_same(one, other):
  assert words.words(one) == words.words(other) != []


@pytest.mark.parametrize(
  ("one", "other"),
  [
    ("7 - 2", "7 / 2"),
    ("7 - 2", "7 + 2"),
    ("7*2", "7/2"),
    ("a + b", "a = b"),
    ("x < 3", "x > 3"),
    ("1,000", "1,00"),
    ("不是", "是"),
  ],
)
def test_texts_that_say_another_thing(one, other):
  assert words.words(one) != words.words(other)


def test_what_counts_as_a_word():
  assert words.words("1 + 2 = 3") == ["1", "+2", "=3"]
  assert words.words("我有 3 只cats") == ["我", "有", "3", "只", "cats"]
  assert words.words("हिन्दी में") == ["हिन्दी", "में"]
  assert words.words(" ?! -- \n") == []
