"""Words: a text without case, punctuation, line ends and look-alikes."""

import functools
import re
import sys
import unicodedata

# Scripts without blanks between words: each character counts as one.
_UNSPACED = (
  "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf"
  "\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
)
# Nobody sees them: soft hyphens, joiners, marks of the order of bytes.
_UNSEEN = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
# It's is one word, and 3,000 one number.
_INSIDE = re.compile(r"(?<=[^\W\d_])['\u2019](?=[^\W\d_])|(?<=\d),(?=\d{3})")
# Signs are what is asked: 7 - 2 is not 7 / 2. They belong to the word after
# them, so that a sum of thirteen numbers has thirteen words.
_SIGN = re.compile(
  r"([+<=>^\u00d7\u00f7\u2260\u2264\u2265\u00b1\u221a]) (?=\w)"
)
# ... where they may be punctuation, between numbers alone.
_BETWEEN_NUMBERS = re.compile(r"(?<=\d) ?([-\u2212*/]) ?(?=\d)")
_SIGNS = {"-": " minus", "\u2212": " minus", "*": " times", "/": " over"}
_ASCII = re.compile(r"[+<=>^]?[a-z0-9]+")


@functools.cache
def _any_script() -> re.Pattern[str]:
  """Words of any script; vowel signs and accents belong to their letters."""
  marks = "".join(
    re.escape(chr(code))
    for code in range(0x300, min(sys.maxunicode, 0xFFFF) + 1)
    if unicodedata.category(chr(code))[0] == "M"
  )
  return re.compile(
    r"[+<=>^\u00d7\u00f7\u2260\u2264\u2265\u00b1\u221a]?"
    rf"(?:[{_UNSPACED}]|(?:[^\W_{_UNSPACED}][{marks}]*)+)"
  )


def words(text: str) -> list[str]:
  """The words of a text, in Unicode's NFKC and in lower case.

  Punctuation, line ends and characters that nobody sees are left out; signs of
  arithmetic belong to the word after them. Where a script has no blanks between
  words, each character is one.

  >>> words("It's  3,000 -- said \\N{FULLWIDTH LATIN CAPITAL LETTER A}nna!")
  ['its', '3000', 'said', 'anna']
  >>> words("7 - 2 = ?"), words("\\u4f60\\u597d, Bob")
  (['7', 'minus2'], ['你', '好', 'bob'])
  """
  is_ascii = text.isascii()
  if not is_ascii:
    text = _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
    text = unicodedata.normalize("NFKC", text.casefold())
  text = " ".join(text.split())
  if "'" in text or "," in text or not is_ascii:
    text = _INSIDE.sub("", text)
  text = _SIGN.sub(r"\1", text)
  text = _BETWEEN_NUMBERS.sub(lambda match: _SIGNS[match[1]], text)
  if is_ascii:
    return _ASCII.findall(text.lower())
  return _any_script().findall(text)
