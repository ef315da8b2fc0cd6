"""Examples in docstrings become blocks of code in the API, for griffe.

A docstring has its examples as `>>>` below the text, without a title. Markdown
would take each for a quotation.
"""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"(?:^[ ]*>>> .*\n?(?:^(?![ ]*$).*\n?)*\n?)+", re.M)


def fenced(text: str) -> str:
  """Fences the examples of a docstring.

  >>> print(fenced("Adds.\\n\\n>>> 1 + 1\\n2\\n").replace("`", "'"))
  Adds.
  <BLANKLINE>
  '''pycon
  >>> 1 + 1
  2
  '''
  <BLANKLINE>
  """
  return _EXAMPLE.sub(lambda m: f"```pycon\n{m.group().rstrip()}\n```\n", text)


class Doctests(griffe.Extension):
  """Fences the examples of every docstring."""

  def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
    """Rewrites one docstring, before it is parsed."""
    if obj.docstring:
      obj.docstring.value = fenced(obj.docstring.value)
