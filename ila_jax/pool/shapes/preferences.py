"""Preferences: which of several answers a record names as the right one.

An index or an id beside the answers, a mark on one of them, or ranks.
"""

import re
import string
from collections.abc import Mapping
from typing import Any

from ila_jax.pool import records, unread

_BEST = "correct|right|best|better|chosen|preferred|accepted|selected|winner"
# Fields beside the answers that name one of them.
_NAMES = re.compile(
  rf"(?:{_BEST}|winning|gold)(?:_(?:answer|response|completion|choice|option))?"
  r"(?:_(?:id|idx|index|label))?"
  r"|(?:answer|response|completion|target|label)_(?:idx|index)|label"
)
# ... only where they are numbers: words under them may say something else.
_NUMBERS = re.compile(r"label|gold")
# Fields of an answer that say whether it is the right one.
_MARKS = re.compile(rf"(?:is_)?(?:{_BEST})(?:_answer|_response)?")
_INDEX = re.compile(r"_(?:idx|index)$")
_IDS = re.compile(r"id|(?:answer|response|completion)_id")


def named(
  record: Mapping[str, Any], path: str, answers: list[Any], notes: unread.Notes
) -> list[Any]:
  """Those of several answers that a record names; all, where it names none.

  Args:
    record: what may name one, in fields such as `correct_answer_id`.
    path: where the answers stand in it.
    answers: texts or objects, as the record holds them.
    notes: forgets what is read here.

  Raises:
    records.Reject: what names one fits none of them, or two name different
      ones, or each answer is marked as wrong.

  >>> named({"correct_answer": "b"}, "answers", ["a", "b"], unread.Notes())
  ['b']
  >>> named({"best_index": 1}, "answers", ["a", "b"], unread.Notes())
  ['b']
  """
  if len(answers) < 2:
    return _marked(answers)
  places: dict[str, int] = {}
  for name, value in record.items():
    plain = unread.plain_name(name)
    if name != path and _NAMES.fullmatch(plain) and _names_one(plain, value):
      places[name] = _place(name, value, answers)
  if len(set(places.values())) > 1:
    raise records.Reject(
      "fields name different answers", ", ".join(places)[:200]
    )
  for name in places:
    notes.unread -= {name, f"`{name}` of the whole record"}
  if places:
    return [answers[place] for place in places.values()][:1]
  return _marked(answers)


def is_mark(name: str) -> bool:
  """Whether a field of an answer says whether it is the right one.

  >>> is_mark("is_selected"), is_mark("score")
  (True, False)
  """
  return name == "rank" or bool(_MARKS.fullmatch(unread.plain_name(name)))


def _names_one(name: str, value: Any) -> bool:
  """Whether a field of such a name holds what names an answer."""
  if isinstance(value, str):
    text = value.strip()
    return text.isdecimal() if _NUMBERS.fullmatch(name) else bool(text)
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  return is_number and value == value  # NaN is a table's empty cell.


def _place(name: str, value: Any, answers: list[Any]) -> int:
  """The place of the answer that a field names, from 0: by its text or id."""
  said = value.strip() if isinstance(value, str) else value
  is_index = bool(_INDEX.search(unread.plain_name(name)))
  places = set()
  for place, answer in enumerate(answers):
    held = answer if isinstance(answer, Mapping) else {"": answer}
    if not is_index and any(_equals(said, key, held[key]) for key in held):
      places.add(place)
  try:
    place = int(said)
  except (ValueError, OverflowError):
    letter = said.upper() if isinstance(said, str) and len(said) == 1 else "-"
    place = string.ascii_uppercase.find(letter)
  if 0 <= place < len(answers) and (isinstance(said, str) or place == said):
    places.add(place)
  if len(places) == 1:
    return places.pop()
  detail = f"{name}: {value!r} of {len(answers)}"[:200]
  if places:
    raise records.Reject("named answer is several of the answers", detail)
  raise records.Reject("named answer is none of the answers", detail)


def _equals(said: Any, key: str, held: Any) -> bool:
  """Whether what names an answer is its text, or its id."""
  if isinstance(held, str) and isinstance(said, str):
    return said == held.strip()
  return bool(_IDS.fullmatch(key)) and said == held


def _marked(answers: list[Any]) -> list[Any]:
  """The answers that are marked as right, or have the best rank."""
  if not all(isinstance(answer, Mapping) for answer in answers):
    return answers
  marks = [
    [
      bool(value)
      for name, value in answer.items()
      if is_mark(name)
      and name != "rank"
      and isinstance(value, bool | int | float)
    ]
    for answer in answers
  ]
  if any(marks):
    right = [a for a, mark in zip(answers, marks, strict=True) if any(mark)]
    if not right:
      raise records.Reject(
        "no answer is marked as right", f"{len(answers)} of them"
      )
    return right
  ranks = [answer.get("rank") for answer in answers]
  if all(isinstance(rank, int | float) for rank in ranks):
    return [a for a in answers if a["rank"] == min(ranks)]
  return answers
