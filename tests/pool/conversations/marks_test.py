"""The signs of styles: a text without one has no turns of that style."""

import itertools

from ila_jax.pool.conversations import marks, word_marks
from tests.pool.conversations import transcripts_test

_GPT_OSS = (
  "<|start|>user<|message|>a<|end|><|start|>assistant<|message|>b<|return|>"
)
# Also of words and of tokens of other styles, and cut anywhere.
_TEXTS = [
  text.replace(old, new)[begin:]
  for text in (*transcripts_test.STYLES.values(), _GPT_OSS)
  for old, new in (
    *(("", ""), ("Human", "User"), ("Assistant", "AI"), ("USER", "SYSTEM")),
    *(("INST", "SYSTEM_PROMPT"), ("assistant", "bot"), ("\n", " ")),
    *(("start_header_id", "start_of_role"), ("end_header_id", "end_of_role")),
  )
  for begin in (0, 3)
]


def _readings(text):
  return [
    *marks.readings(text),
    *marks.readings(text, is_prompt=True),
    *word_marks.readings(text),
  ]


def test_every_mark_of_tokens_has_its_sign():
  for style in marks._TOKENS:
    found = [m[0] for text in _TEXTS for m in style.mark.finditer(text)]
    assert found and all(style.sign in mark for mark in found)


def test_a_text_of_words_is_read_the_same_without_signs(monkeypatch):
  found = [_readings(text) for text in _TEXTS]
  alone = word_marks._WORDS
  for style in alone:
    assert any(word_marks._reading(text, style) for text in _TEXTS)
  monkeypatch.setattr(
    word_marks, "_WORDS", [style._replace(signs=("",)) for style in alone]
  )
  assert found == [_readings(text) for text in _TEXTS]
  pairs = [(style, *pair) for style in alone for pair in style.pairs]
  for style, user, assistant in pairs:
    # Any case of the words that the pattern takes.
    for ours, theirs in itertools.product(
      *((w, w.title(), w.upper()) for w in (user, assistant))
    ):
      for form in ("### {}: ", "{}: ", "<{}>: ", "\n\n{}: "):
        text = f"{form.format(ours)}a\n{form.format(theirs)}b"
        is_one = word_marks._reading(text, style._replace(signs=("",)))
        assert bool(is_one) == bool(word_marks._reading(text, style)), text
