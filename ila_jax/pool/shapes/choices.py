"""Choices of a question: how they stand in the prompt, and in the answer."""

import re
import string
from collections.abc import Mapping
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import contents, values
from ila_jax.pool.shapes import field_names

_IN_WORDS = re.compile(r"(?:^|[\s,;])\(?([A-Za-z]|\d)\s?[).:]\s")
# PIQA counts from 1 in its names, and from 0 in its answers.
_SOLUTIONS = {"sol1": "A", "sol2": "B"}
_LABEL = re.compile(
  r"(?:^|[_\s.-]|^op|^option|^choice|^answer)([A-Z]|\d+)$", re.IGNORECASE
)
# ... in the text of a choice: `1. `, `(1)` or a number in a circle.
_CIRCLED = "①②③④⑤⑥⑦⑧⑨⑩"
_NUMBERED = re.compile(
  r"\s*(?:[(\[（](\d{1,2})[)\]）]|(\d{1,2})\s?(?:[)）、]|[.:](?=\s))"
  rf"|([{_CIRCLED}]))\s*(?=\S)"
)
_LETTER = re.compile(r"\W*([A-J])\W*", re.IGNORECASE)


def of(record: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
  """Label and text of each choice, in order; empty where there are none.

  The field holds a list of texts, a list of objects with `label` and `text`, an
  object of two such lists, or an object of texts by label; or a text that
  writes one of these, or is a list in words, `A) cat B) dog`. Several fields,
  with commas between, hold a choice each, labelled by the end of its name. A
  list without labels has A, B, C and so on, or the numbers with which its texts
  begin. Empty choices keep their place: an index counts them.

  Raises:
    records.Reject: the field holds anything else.

  >>> of({"choices": ["cat", "dog"]}, "choices")
  [('A', 'cat'), ('B', 'dog')]
  >>> of({"choices": '["cat", "dog"]'}, "choices")
  [('A', 'cat'), ('B', 'dog')]
  >>> of({"A": "cat", "B": None, "C": "dog"}, "A, B, C")
  [('A', 'cat'), ('B', ''), ('C', 'dog')]
  """
  paths = records.paths(record, path)
  held = [records.lookup(record, p) for p in paths]
  if all(map(values.is_blank, held)):
    return []
  if len(paths) > 1:
    pairs = zip(map(_label, paths), held, strict=True)
    return [(label, contents.text_of(v, "choices")) for label, v in pairs]
  value = held[0]
  if isinstance(value, str) and values.is_no_input(value):
    return []
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
    value = list(value.items())
  elif isinstance(value, list):
    letters = list(string.ascii_uppercase)
    letters += [str(n) for n in range(len(letters) + 1, len(value) + 1)]
    labels, value = _numbered(value) or (letters, _unlabelled(value, letters))
    value = [_labelled(*pair) for pair in zip(labels, value, strict=False)]
  else:
    raise records.Reject("choices are no list of texts", type(held[0]).__name__)
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
  label = values.first(item, ("label", "key"))
  key = values.name(item, ("text", "value", "content"))
  if key is None:
    fields = f"fields: {', '.join(item)}"
    raise records.Reject("choices are no list of texts", fields[:200])
  return letter if values.is_blank(label) else label, item[key]


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


def _numbered(texts: list[Any]) -> tuple[list[str], list[Any]] | None:
  """Labels and texts of choices that each begin with their number, in order."""
  marks = [_NUMBERED.match(t) if isinstance(t, str) else None for t in texts]
  said = [_digits(m[1] or m[2] or m[3]) if m else "" for m in marks]
  for first in (0, 1):
    labels = [str(first + place) for place in range(len(texts))]
    rows = zip(said, labels, texts, strict=True)
    fits = all(n == label or values.is_blank(text) for n, label, text in rows)
    if fits and sum(map(bool, said)) > 1:
      rest = zip(texts, marks, strict=True)
      return labels, [t[m.end() :] if m else t for t, m in rest]
  return None


def _digits(said: str) -> str:
  """A number in a circle in digits; any other text as it is."""
  return str(1 + _CIRCLED.index(said)) if said in {*_CIRCLED} else said


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
    if text.strip()
  )


def lines(choices: list[tuple[str, str]]) -> str:
  r"""The choices as they follow a question: a line each, but for empty ones.

  >>> lines([("A", "cat"), ("B", "dog")])
  'A. cat\nB. dog'
  """
  filled = (choice for choice in choices if choice[1].strip())
  return "\n".join(f"{label}. {text}" for label, text in filled)


def answer(
  value: Any,
  choices: list[tuple[str, str]],
  *,
  field: str = "answer",
  fields: str = "",
) -> Any:
  """An answer that is an index or names a field, as the label of its choice.

  Any other answer stays as it is: a label, the text of a choice, or words; true
  and false are the text of a choice, such as `yes`. A text under the name of an
  answer that is a label is that label.

  Args:
    value: what the record has as its answer; tables write 2 as `2.0`.
    choices: label and text of each; the text of an empty one is "".
    field: where the answer stands.
    fields: where the choices stand, as `of` takes it.

  Raises:
    records.Reject: a number or letter of no choice, or of an empty one; a
      number that may be the index of one and the label or text of another;
      true or false, and no choice says so.

  >>> answer(1, [("A", "cat"), ("B", "dog")])
  'B'
  >>> answer("1", [("1", "cat"), ("2", "dog")])
  '1'
  >>> answer(4, [("A", "3"), ("B", "4")])
  4
  """
  if not choices or not isinstance(value, str | int | float):
    return value
  if isinstance(value, bool):
    return _switched(value, choices)
  if isinstance(value, str) and _digits(value.strip()) in dict(choices):
    value = _digits(value.strip())
  number = values.number(value)
  if isinstance(number, int):
    is_index = unread.plain_name(field) in field_names.INDICES
    is_label = isinstance(value, str) and not is_index
    first = int(fields.startswith("answerA,"))  # SIQA counts from 1.
    place = _place(value, choices, is_label=is_label, first=first)
    _check_filled(value, choices, place)
    label, text = choices[place]
    named = [said for said in (label, text) if values.number(said) == number]
    is_named = named and (is_label or place != number - first)
    return _as_written(value, named) if is_named else label
  return _of_words(value, choices, fields) if isinstance(value, str) else value


def check_one(value: Any, choices: list[tuple[str, str]]) -> None:
  """Checks that an answer is no list that names several choices.

  Raises:
    records.Reject: it is.

  >>> check_one([1], [("A", "cat"), ("B", "dog")])
  """
  held = records.literal(value) if isinstance(value, str) else value
  if not choices or not isinstance(held, list) or len(held) < 2:
    return
  said = {word.strip().lower() for choice in choices for word in choice}
  said |= {"true", "false", *map(str, range(len(choices) + 1))}
  if {str(item).strip().lower() for item in held} <= said:
    raise records.Reject("answer names several choices", str(value)[:80])


def _as_written(value: Any, named: list[str]) -> Any:
  """A number as the record has it, or as the choice has it, if they differ."""
  said = value.strip() if isinstance(value, str) else str(value)
  return value if said in named else named[0]


def _place(
  value: Any, choices: list[tuple[str, str]], *, is_label: bool, first: int
) -> int:
  """The place of the choice that a whole number means, from 0."""
  number, size = values.number(value), len(choices)
  labels, texts = ([values.number(c[side]) for c in choices] for side in (0, 1))
  detail = f"{value!r} of {size}"[:80]
  if is_label and number in labels:
    return labels.index(number)
  places = {number - first} & set(range(size))
  for numbers in (labels, texts):
    # Where most numbers may be both, all are rejects: what is left over many
    # records would else be the same few choices.
    indices = range(first, size + first)
    clashes = [n for i, n in zip(indices, numbers, strict=True) if n != i]
    if 2 * sum(n in indices for n in clashes) >= size:
      raise records.Reject("answer may be an index or a choice", detail)
    places |= {i for i, held in enumerate(numbers) if held == number}
  if len(places) > 1:
    raise records.Reject("answer may be an index or a choice", detail)
  if not places:
    raise records.Reject("answer is none of the choices", detail)
  place = places.pop()
  if place == number - first and _is_gap([c[0] for c in choices[: place + 1]]):
    raise records.Reject("choices are missing before the answer", detail)
  return place


def _is_gap(labels: list[str]) -> bool:
  """Whether letters or numbers in a row begin late, or leave one out."""
  joined = "".join(labels)
  if any(len(label) != 1 for label in labels) or not joined.isalnum():
    return False
  known = (string.ascii_uppercase, string.ascii_lowercase, string.digits)
  rows = [row for row in (*known, string.digits[1:]) if labels[-1] in row[:10]]
  return bool(rows) and not any(row.startswith(joined) for row in rows)


def _check_filled(
  value: Any, choices: list[tuple[str, str]], place: int
) -> None:
  if not choices[place][1].strip():
    raise records.Reject(
      "answer is an empty choice", f"{value!r}: {choices[place][0]}"[:80]
    )


def _of_words(value: str, choices: list[tuple[str, str]], fields: str) -> str:
  """An answer in words; the name of a choice's field becomes its label."""
  said = value.strip()
  if not said or any(said == text.strip() for _, text in choices):
    return value
  texts = [text.strip().lower() for _, text in choices]
  if said.lower() in ("true", "false") and said.lower() not in texts:
    return _switched(said.lower() == "true", choices)
  names = [unread.plain_name(path) for path in fields.split(",")]
  plain = unread.plain_name(said) if 1 < len(said) < 60 else ""
  if plain and plain in names:
    place = names.index(plain)
    _check_filled(value, choices, place)
    return choices[place][0]
  letter = _LETTER.fullmatch(said)
  meant = letter[1].upper() if letter else said
  labels = [label.strip().upper() for label, _ in choices]
  if meant.upper() in labels:
    _check_filled(value, choices, labels.index(meant.upper()))
  elif letter and all(len(label) == 1 for label in labels):
    raise records.Reject(
      "answer is none of the choices", f"{value!r} of {len(choices)}"[:80]
    )
  return value


def _switched(value: bool, choices: list[tuple[str, str]]) -> str:
  """The text of the choice that says true or false."""
  words = ("true", "yes") if value else ("false", "no")
  matches = [text for _, text in choices if text.strip(" .").lower() in words]
  if len(matches) != 1:
    raise records.Reject("answer is none of the choices", str(value).lower())
  return matches[0]
