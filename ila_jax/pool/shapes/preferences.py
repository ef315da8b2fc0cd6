"""Preferences: which of several answers a record names as the right one.

An index or an id beside the answers, a mark on one of them, or ranks.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import values
from ila_jax.pool.shapes import field_names

BEST = "correct|right|best|better|chosen|preferred|accepted|selected|winner"
# Fields beside the answers that name one of them.
_NAMES = re.compile(
  rf"(?:{BEST}|winning|gold)"
  rf"(?:_(?:{field_names.ANSWER_WORDS}|choice|option|model|assistant))?"
  r"(?:_(?:id|idx|index|label|name|key|number))?"
  r"|(?:answer|response|completion|target|label)_(?:idx|index)"
  r"|label|preference|choice|selection"
)
# ... and prefer it to others, as no key of a test does.
_PREFERS = re.compile(
  r"(?:best|better|chosen|prefer\w*|winner|winning)(?:_.+)?"
)
# ... only where they are numbers or letters: words may say something else.
_NUMBERS = re.compile(r"label|gold|preference|choice|selection")
# Fields that hold an answer as such, unless they name another field.
_ANSWERS = re.compile(
  rf"(?:correct|right|accepted)_(?:{field_names.ANSWER_WORDS})"
)
# What names an answer: a letter or a number, perhaps after what it is of.
_POINTER = re.compile(
  rf"[\s(\[\"'*]*(?:({field_names.ANSWER_WORDS}|choice|option|model|assistant|system|ai)"
  r"[_\s-]*)?(?:([a-j])|(\d{1,2}))[\s)\]\"'*.:]*",
  re.IGNORECASE,
)
# Fields of an answer that say whether it is the right one.
_MARKS = re.compile(rf"(?:is_)?(?:{BEST})(?:_answer|_response)?")
_RANKS = ("rank", "ranking")
# Numbers of which the highest is the best.
_SCORES = re.compile(r"(?:overall_)?(?:score|reward|rating|vote|upvote)s?")
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
    return marked(answers, path, notes)
  places: dict[str, int] = {}
  for name, value in by_certainty(record):
    plain = unread.plain_name(name)
    if places and is_model(name, value):
      continue
    if name != path and is_name(plain) and names_one(plain, value):
      places[name] = place(name, value, answers)
  if len(set(places.values())) > 1:
    raise records.Reject(
      "fields name different answers", ", ".join(places)[:200]
    )
  for name in places:
    notes.unread -= {name, f"`{name}` of the whole record"}
  left = marked(answers, path, notes)
  if not places:
    return left
  best = answers[next(iter(places.values()))]
  if not any(answer is best for answer in left):
    raise records.Reject("fields name different answers", f"marks of {path}")
  return [best]


def is_model(name: str, value: Any) -> bool:
  """Whether a field says which model made the best answer, and names none.

  >>> is_model("chosen_model", "gpt-4"), is_model("winner_model", "model_b")
  (True, False)
  """
  is_of_model = unread.plain_name(name).endswith("_model")
  return is_of_model and isinstance(value, str) and not pointer(value)


def by_certainty(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
  """The fields of a record, those last that only tell the model of an answer.

  >>> by_certainty({"chosen_model": "gpt-4", "chosen": "A"})
  [('chosen', 'A'), ('chosen_model', 'gpt-4')]
  """
  return sorted(record.items(), key=lambda field: is_model(*field))


def is_mark(name: str) -> bool:
  """Whether a field of an answer says whether it is the right one.

  >>> is_mark("is_selected"), is_mark("score")
  (True, False)
  """
  plain = unread.plain_name(name)
  return plain in _RANKS or bool(_MARKS.fullmatch(plain))


def is_score(name: str) -> bool:
  """Whether numbers under a name may say how good each answer is.

  >>> is_score("overall_score"), is_score("votes"), is_score("length")
  (True, True, False)
  """
  return bool(_SCORES.fullmatch(unread.plain_name(name)))


def scored(answers: Sequence[Any]) -> dict[str, list[int | float]]:
  """The scores of several answers, by field, where each of them has one.

  >>> scored([{"text": "a", "score": "1"}, {"text": "b", "score": 9}])
  {'score': [1, 9]}
  >>> scored([{"text": "a", "score": 1}, {"text": "b"}])
  {}
  """
  found = {}
  if len(answers) > 1 and all(isinstance(a, Mapping) for a in answers):
    for name in filter(is_score, answers[0]):
      numbers = [values.number(answer.get(name)) for answer in answers]
      if None not in numbers:
        found[name] = numbers
  return found


def is_name(plain: str) -> bool:
  """Whether a field may name one of several answers, by its plain name.

  >>> is_name("chosen"), is_name("better_response_id"), is_name("response")
  (True, True, False)
  """
  return bool(_NAMES.fullmatch(plain))


def is_best(name: str) -> bool:
  """Whether a field of such a name prefers one of several answers to others.

  >>> is_best("chosen"), is_best("correct")
  (True, False)
  """
  return bool(_PREFERS.fullmatch(unread.plain_name(name)))


def is_answer(plain: str) -> bool:
  """Whether a field of such a name may also hold the right answer as such.

  >>> is_answer("correct_answer"), is_answer("winner")
  (True, False)
  """
  return bool(_ANSWERS.fullmatch(plain))


def pointer(value: Any) -> str:
  """The letter or number by which a value names an answer; "" for none.

  >>> pointer("model_b"), pointer("(A)"), pointer("2.0"), pointer("a tie")
  ('B', 'A', '2', '')
  """
  number = values.number(value)
  said = str(value if number is None else number)
  match = _POINTER.fullmatch(said.strip())
  return (match[2] or str(int(match[3]))).upper() if match else ""


def names_one(name: str, value: Any) -> bool:
  """Whether a field, by its plain name, holds what names an answer.

  >>> names_one("label", "1.0"), names_one("label", "sports")
  (True, False)
  """
  if isinstance(value, str):
    is_pointer = bool(pointer(value))
    return is_pointer if _NUMBERS.fullmatch(name) else bool(value.strip())
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  return is_number and not values.is_blank(value)


def place(name: str, value: Any, answers: list[Any]) -> int:
  """The place of the answer that a field names, from 0.

  It names it by its text or id, by a letter, or by its index.

  Raises:
    records.Reject: it names none of them, or several.

  >>> place("chosen", "model_b", ["x", "y"]), place("chosen_idx", 0.0, ["x"])
  (1, 0)
  """
  said = value.strip() if isinstance(value, str) else value
  is_index = bool(_INDEX.search(unread.plain_name(name)))
  places = set()
  for number, answer in enumerate(answers):
    held = answer if isinstance(answer, Mapping) else {"": answer}
    if not is_index and any(_equals(said, key, held[key]) for key in held):
      places.add(number)
  index = values.number(said)
  if index is None:
    index = "ABCDEFGHIJ".find(pointer(said) or "-")
  if index in range(len(answers)):
    places.add(int(index))
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


def right(
  name: str, marks: Sequence[Any], path: str, notes: unread.Notes
) -> set[int]:
  """The places of the answers that marks of one name say are right.

  Args:
    name: of the marks.
    marks: one an answer.
    path: of the answers.
    notes: gets that some answers have none.

  Raises:
    records.Reject: a mark that cannot be read, or no answer is right.

  >>> right("is_correct", ["false", "true"], "answers", unread.Notes())
  {1}
  """
  says = [values.switch(mark) for mark in marks]
  _check_read(name, marks, says)
  if True not in says:
    raise records.Reject(
      "no answer is marked as right", f"{len(marks)} of them"
    )
  if None in says:
    notes.unread.add(f"`{name}` is missing in some of `{path}`")
  return {place for place, said in enumerate(says) if said}


def marked(answers: list[Any], path: str, notes: unread.Notes) -> list[Any]:
  """The answers that are marked as right, or else have the best rank or score.

  Raises:
    records.Reject: a mark that cannot be read; no answer is right by the marks
      of one name, or by those of all names; scores of two names disagree.

  >>> marked([{"text": "a", "is_correct": "false"},
  ...         {"text": "b", "is_correct": "true"}], "answers", unread.Notes())
  [{'text': 'b', 'is_correct': 'true'}]
  """
  if not all(isinstance(answer, Mapping) for answer in answers):
    return answers
  plain = [{unread.plain_name(k): v for k, v in a.items()} for a in answers]
  places = set(range(len(answers)))
  for name in dict.fromkeys(name for held in plain for name in held):
    marks = [held.get(name) for held in plain]
    if not is_mark(name) or name in _RANKS or all(map(values.is_blank, marks)):
      continue
    places &= right(name, marks, path, notes)
  if not places:
    raise records.Reject("fields name different answers", f"marks of {path}")
  left = [answers[place] for place in sorted(places)]
  for name in _RANKS if len(left) > 1 else ():
    marks = [values.first(plain[place], [name]) for place in sorted(places)]
    if not all(map(values.is_blank, marks)):
      ranks = [values.number(mark) for mark in marks]
      _check_read(name, marks, ranks, whole=True)
      best = min(ranks)
      return [a for a, rank in zip(left, ranks, strict=True) if rank == best]
  best = set(range(len(left)))
  scores = scored(left)
  for numbers in scores.values():
    best &= {n for n, score in enumerate(numbers) if score == max(numbers)}
  if not best:
    raise records.Reject("fields name different answers", ", ".join(scores))
  return [left[place] for place in sorted(best)]


def _check_read(
  name: str, marks: Sequence[Any], said: Sequence[Any], *, whole: bool = False
) -> None:
  for mark, read in zip(marks, said, strict=True):
    if read is None and (whole or not values.is_blank(mark)):
      raise records.Reject(
        "a mark of an answer cannot be read", f"{name}: {mark!r}"[:80]
      )
