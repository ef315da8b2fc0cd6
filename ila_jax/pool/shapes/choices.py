"""Choices of a question: how they stand in the prompt, and in the answer."""

import re
import string
from collections.abc import Mapping
from typing import Any

from ila_jax.pool import records
from ila_jax.pool.conversations import contents

_IN_WORDS = re.compile(r"(?:^|[\s,;])\(?([A-Za-z]|\d)\s?[).:]\s")
# PIQA counts from 1 in its names, and from 0 in its answers.
_SOLUTIONS = {"sol1": "A", "sol2": "B"}
_LABEL = re.compile(r"(?:^|_|^op|^option|^choice|^answer)([A-Za-z]|\d+)$")


def of(record: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
  """Label and text of each choice, in order; empty where there are none.

  The field holds a list of texts, a list of objects with `label` and `text`, an
  object of two such lists, or an object of texts by label; or a text that
  writes one of these, or is a list in words, `A) cat B) dog`. Several fields,
  with commas between, hold a choice each, labelled by the end of its name. A
  list without labels has A, B, C and so on.

  Raises:
    records.Reject: the field holds anything else.

  >>> of({"choices": ["cat", "dog"]}, "choices")
  [('A', 'cat'), ('B', 'dog')]
  >>> of({"choices": '["cat", "dog"]'}, "choices")
  [('A', 'cat'), ('B', 'dog')]
  >>> of({"A": "cat", "B": "dog", "C": None}, "A, B, C")
  [('A', 'cat'), ('B', 'dog')]
  """
  paths = records.paths(record, path)
  filled = [(p, records.lookup(record, p)) for p in paths]
  filled = [(p, v) for p, v in filled if v not in (None, records.MISSING, "")]
  if len(paths) > 1:
    return [(_label(p), contents.text_of(v, "choices")) for p, v in filled]
  if not filled:
    return []
  value = filled[0][1]
  if isinstance(value, str):
    value = records.literal(value) or _in_words(value)
  if isinstance(value, Mapping) and isinstance(value.get("text"), list):
    labels, texts = value.get("label"), value["text"]
    if labels is None:
      value = texts
    elif isinstance(labels, list) and len(labels) == len(texts):
      value = [
        {"label": label, "text": text}
        for label, text in zip(labels, texts, strict=True)
      ]
    else:
      raise records.Reject("choices are no list of texts", "labels and texts")
  if isinstance(value, Mapping):
    value = [(k, v) for k, v in value.items() if v is not None]
  elif isinstance(value, list):
    letters = list(string.ascii_uppercase)
    letters += [str(n) for n in range(len(letters) + 1, len(value) + 1)]
    value = _unlabelled(value, letters)
    value = [_labelled(*pair) for pair in zip(letters, value, strict=False)]
  else:
    raise records.Reject(
      "choices are no list of texts", type(filled[0][1]).__name__
    )
  return [
    (
      contents.text_of(label, "choices"),
      contents.text_of(text, "choices"),
    )
    for label, text in value
  ]


def _label(path: str) -> str:
  """A choice's label by its field: `A`, `option_b`, `opc`, `option1`."""
  if path in _SOLUTIONS:
    return _SOLUTIONS[path]
  match = _LABEL.search(path)
  return match[1].upper() if match else path


def _labelled(letter: str, item: Any) -> tuple[Any, Any]:
  if not isinstance(item, Mapping):
    return letter, item
  label = item.get("label", item.get("key", letter))
  return label, item.get("text", item.get("value", item.get("content")))


def _unlabelled(texts: list[Any], labels: list[str]) -> list[Any]:
  """Choices without the labels that stand in their texts.

  Where all have theirs, nothing need stand between; else a space must.
  """
  marks = [rf"\s*\(?{label}\s?[).:]" for label in labels]
  whole = [
    isinstance(text, str) and re.match(rf"{mark}\s*\S", text)
    for text, mark in zip(texts, marks, strict=False)
  ]
  space = r"\s*" if len(texts) > 1 and all(whole) else r"\s+"
  return [
    re.sub(f"^{mark}{space}", "", text) if isinstance(text, str) else text
    for text, mark in zip(texts, marks, strict=False)
  ]


def first_index(path: str) -> int:
  """The index of the first choice: 1 where SIQA's `answerA` and so on hold it.

  >>> first_index("answerA, answerB"), first_index("choices")
  (1, 0)
  """
  return int(path.startswith("answerA,"))


def _in_words(text: str) -> dict[str, str] | None:
  """Choices that follow each other in a text, each after its label."""
  _, *parts = _IN_WORDS.split(text)
  labels, texts = parts[::2], [part.strip(" ,;\n") for part in parts[1::2]]
  for known in (string.ascii_uppercase, string.ascii_lowercase, "123456789"):
    if len(labels) > 1 and "".join(labels) == known[: len(labels)]:
      return dict(zip(labels, texts, strict=True))
  return None


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


def answer(
  value: Any, choices: list[tuple[str, str]], *, first: int = 0
) -> Any:
  """An answer that is an index, as the label of its choice.

  Any other answer stays as it is: a label, the text of a choice, or words; true
  and false are the text of a choice, such as `yes`.

  Args:
    value: what the record has as its answer.
    choices: label and text of each.
    first: the index of the first choice.

  Raises:
    records.Reject: a whole number that is no index of a choice; or that is one
      and names another choice by its label or text; true or false, and no
      choice says so.

  >>> answer(1, [("A", "cat"), ("B", "dog")])
  'B'
  >>> answer("1", [("1", "cat"), ("2", "dog")])
  '1'
  >>> answer(4, [("A", "3"), ("B", "4")])
  4
  """
  if isinstance(value, float) and value.is_integer():
    value = int(value)  # As a table holds integers, some of which are missing.
  if isinstance(value, bool) and choices:
    return _switched(value, choices)
  is_text = isinstance(value, str)
  said = value.strip() if is_text else str(value)
  is_index = isinstance(value, int | str)
  if not (choices and is_index and re.fullmatch(r"-?\d{1,9}", said)):
    return value
  if is_text and any(said == label for label, _ in choices):
    return value
  named = {i for i, choice in enumerate(choices) if said in choice}
  indices = {int(said) - first} & set(range(len(choices)))
  if len(named | indices) > 1:
    raise records.Reject(
      "answer may be an index or a choice", f"{value!r} of {len(choices)}"[:80]
    )
  if indices:
    return choices[indices.pop()][0]
  if named:
    return value
  raise records.Reject(
    "answer is none of the choices", f"{value!r} of {len(choices)}"[:80]
  )


def _switched(value: bool, choices: list[tuple[str, str]]) -> str:
  """The text of the choice that says true or false."""
  words = ("true", "yes") if value else ("false", "no")
  matches = [text for _, text in choices if text.strip(" .").lower() in words]
  if len(matches) != 1:
    raise records.Reject("answer is none of the choices", str(value).lower())
  return matches[0]
