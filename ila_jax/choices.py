"""Choices of a question: how they stand in the prompt, and in the answer."""

import re
import string
from collections.abc import Mapping
from typing import Any

from ila_jax import contents, records

_LABEL = re.compile(r"(?:^|_|^op|^option|^choice)([A-Za-z]|\d+)$")


def of(record: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
  """Label and text of each choice, in order; empty where there are none.

  The field holds a list of texts, a list of objects with `label` and `text`, an
  object of two such lists, or an object of texts by label. Several fields, with
  commas between, hold a choice each, labelled by the end of its name. A list
  without labels has A, B, C and so on.

  Raises:
    records.Reject: the field holds anything else.

  >>> of({"choices": ["cat", "dog"]}, "choices")
  [('A', 'cat'), ('B', 'dog')]
  >>> of({"A": "cat", "B": "dog", "C": None}, "A, B, C")
  [('A', 'cat'), ('B', 'dog')]
  """
  paths = records.paths(record, path)
  found = [(p, records.lookup(record, p)) for p in paths]
  found = [(p, v) for p, v in found if v not in (None, records.MISSING, "")]
  if len(paths) > 1:
    return [(_label(p), contents.text_of(v, "choices")) for p, v in found]
  if not found:
    return []
  value = found[0][1]
  if isinstance(value, Mapping):
    labels, texts = value.get("label"), value.get("text")
    if isinstance(labels, list) and isinstance(texts, list):
      if len(labels) != len(texts):
        raise records.Reject("choices are no list of texts", "labels and texts")
      value = list(zip(labels, texts, strict=True))
    else:
      value = [(k, v) for k, v in value.items() if v is not None]
  elif isinstance(value, list):
    letters = list(string.ascii_uppercase)
    letters += [str(n) for n in range(len(letters) + 1, len(value) + 1)]
    value = [_labelled(*pair) for pair in zip(letters, value, strict=False)]
  else:
    raise records.Reject("choices are no list of texts", type(value).__name__)
  return [
    (
      contents.text_of(label, "choices"),
      contents.text_of(text, "choices"),
    )
    for label, text in value
  ]


def _label(path: str) -> str:
  """A choice's label by its field: `A`, `option_b`, `opc`, `option1`."""
  found = _LABEL.search(path)
  return found[1].upper() if found else path


def _labelled(letter: str, item: Any) -> tuple[Any, Any]:
  if not isinstance(item, Mapping):
    return letter, item
  label = item.get("label", item.get("key", letter))
  return label, item.get("text", item.get("value", item.get("content")))


def stand_in(prompt: str, choices: list[tuple[str, str]]) -> bool:
  """Whether a prompt lists the choices already, each after its label.

  >>> stand_in("Which? (A) cat (B) dog", [("A", "cat"), ("B", "dog")])
  True
  """
  return all(
    re.search(rf"{re.escape(label)}\W{{1,3}}{re.escape(text)}", prompt)
    for label, text in choices
  )


def lines(choices: list[tuple[str, str]]) -> str:
  r"""The choices as they follow a question: a line each, after its label.

  >>> lines([("A", "cat"), ("B", "dog")])
  'A. cat\nB. dog'
  """
  return "\n".join(f"{label}. {text}" for label, text in choices)


def answer(value: Any, choices: list[tuple[str, str]]) -> Any:
  """An answer that is an index from 0, as the label of its choice.

  Any other answer stays as it is, and so does a number that is itself a choice
  or a label.

  Raises:
    records.Reject: a whole number that is no index of a choice; or one written
      as a text, which does not tell from where it counts.

  >>> answer(1, [("A", "cat"), ("B", "dog")])
  'B'
  >>> answer(4, [("A", "3"), ("B", "4")])
  4
  """
  if isinstance(value, float) and value.is_integer():
    value = int(value)  # As a table holds integers, some of which are missing.
  is_index = isinstance(value, int) and not isinstance(value, bool)
  is_digits = isinstance(value, str) and value.strip().isdecimal()
  if not choices or not (is_index or is_digits):
    return value
  if any(str(value).strip() in choice for choice in choices):
    return value
  if is_digits or not 0 <= value < len(choices):
    raise records.Reject(
      "answer is none of the choices", f"{value!r} of {len(choices)}"[:80]
    )
  return choices[value][0]
