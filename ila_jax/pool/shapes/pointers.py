"""Pointers: fields that say which other field holds the answer.

In `{"answer_a": "...", "answer_b": "...", "better": "a"}` the field `better` is
a pointer to `answer_a`."""

import re
from collections.abc import Mapping
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import values
from ila_jax.pool.shapes import field_names, kinds, preferences

# Fields whose items are answers to one prompt.
_LISTS = (
  *("responses", "answers", "completions", "candidates", "outputs"),
  *("generations", "replies"),
)
# The name of a field, as a value; longer ones are answers.
_NAME_CHARACTERS = 60
# What names no answer in words, or none that is sure.
_NONE = (
  *("tie", "both", "neither", "none", "equal", "draw", "same", "unsure"),
  *("first", "second", "left", "right", "former", "latter"),
)
# One field for each answer says whether it is the best: `winner_model_a`.
_ONE_HOT = re.compile(rf"(?:{preferences.BEST})_(?:\w+_)?([a-j]|\d{{1,2}}|tie)")


def names_one(name: str) -> bool:
  """Whether a field of such a name may name one of several answers.

  >>> names_one("better_response_id"), names_one("winner_model_a")
  (True, True)
  >>> names_one("score")
  False
  """
  plain = unread.plain_name(name)
  return preferences.is_name(plain) or bool(_ONE_HOT.fullmatch(plain))


def offered(choice: str, response: str) -> str:
  """The fields of choices; "" where they are answers, one of which is the best.

  >>> offered("answerA, answerB", "answerA, answerB"), offered("A, B", "answer")
  ('', 'A, B')
  """
  names = tuple(choice.split(", "))
  is_named = choice == response or preferences.is_best(response)
  are_answers = field_names.families(names, field_names.ANSWER)
  return "" if is_named and are_answers else choice


def among(
  record: Mapping[str, Any],
  paths: list[str],
  notes: unread.Notes,
  *,
  path: str = "",
) -> str:
  """Finds the path of the right answer, where another field points to it.

  Args:
    record: what holds all of them.
    paths: of the answers.
    notes: forgets what is read here.
    path: of a field that names one, whatever it is called.

  Raises:
    records.Reject: no field names one, or several name different ones.

  >>> record = {"answer_a": "x", "answer_b": "y", "winner": "model_b"}
  >>> among(record, ["answer_a", "answer_b"], unread.Notes())
  'answer_b'
  """
  labels = _labels(paths)
  named: dict[str, str] = {}
  for name, value in preferences.by_certainty(record):
    plain = unread.plain_name(name)
    if name in paths or values.is_blank(value):
      continue
    if named and preferences.is_model(name, value):
      continue
    match, says = _ONE_HOT.fullmatch(plain), values.switch(value)
    if match and says is not None:
      notes.unread.discard(name)
      if says:
        named[name] = labels.get(match[1].upper()) or _fail(name, value)
    elif name == path or (
      preferences.is_name(plain) and preferences.names_one(plain, value)
    ):
      named[name] = _named(name, value, labels, record) or _fail(name, value)
  if not named:
    raise records.Reject("no answer is named", ", ".join(paths)[:200])
  if len(set(named.values())) > 1:
    raise records.Reject(
      "fields name different answers", ", ".join(named)[:200]
    )
  first = next(iter(named.values()))
  for name in (*named, *paths):
    notes.unread -= {name, f"`{name}` of the whole record"}
  notes.unread.add(f"all of `{', '.join(paths)}` but one")
  return first


def meant(
  record: Mapping[str, Any], path: str, notes: unread.Notes
) -> tuple[Any, str]:
  """Returns the response and its path; follows a pointer to another field.

  Raises:
    records.Reject: it names none of those beside it.

  >>> record = {"chosen": "response_a", "response_a": "x", "response_b": "y"}
  >>> meant(record, "chosen", unread.Notes())
  ('x', 'response_a')
  >>> meant({"chosen": "y", "rejected": "x"}, "chosen", unread.Notes())
  ('y', 'chosen')
  """
  value, plain = records.lookup(record, path), unread.plain_name(path)
  names = preferences.is_name(plain)
  if names and isinstance(value, list) and len(value) == 1 and path in record:
    named, where = meant({**record, path: value[0]}, path, notes)
    return (value, path) if where == path else (named, where)
  is_plain = isinstance(value, str | int | float) and not values.is_blank(value)
  if not is_plain or isinstance(value, bool) or plain in field_names.INDICES:
    return value, path
  if not names and len(str(value)) > _NAME_CHARACTERS:
    return value, path
  family, answers = _beside(record, path)
  field = _field(record, path, str(value))
  if field and names and field not in family:
    if not _is_of_answer(field) and not (family or answers):
      _fail(path, value)
    if _is_of_answer(field):
      notes.unread.discard(field)
      return record[field], field
  is_words = isinstance(value, str) and not preferences.pointer(value)
  is_kin = all(unread.plain_name(n).startswith(f"{plain}_") for n in family)
  names |= bool(family and (field or (is_kin and not is_words)))
  if not names and unread.plain_name(answers) == f"{plain}s":
    # A number may be an answer that the list writes in words.
    names = preferences.pointer(value).isalpha()
  has_rejected = not values.is_blank(record.get("rejected"))
  if not names or not (family or answers):
    is_lost = names and not (isinstance(value, str) or has_rejected)
    if is_lost and not _has_choices(record):
      _fail(path, value)
    return value, path
  held = [record[n] for n in family] if family else record[answers]
  if isinstance(held, Mapping):
    return _by_key(held, path, value, answers, notes)
  if is_words and (has_rejected or preferences.is_answer(plain)):
    known = [said.strip() for said in held if isinstance(said, str)]
    if not field and value.strip() not in known and not _says_none(value):
      return value, path
  if not family:
    notes.unread.discard(answers)
    if not preferences.is_name(plain):
      notes.unread.add(f"all of `{answers}` but one")
      held = held[preferences.place(path, value, held)]
    return held, answers
  named = among(record, family, notes, path=path)
  return records.lookup(record, named), named


def has_several(record: Mapping[str, Any], path: str) -> bool:
  """Whether a response is a list of answers, or other answers stand beside it.

  >>> record = {"answer": "x", "response_a": "x", "response_b": "y"}
  >>> has_several(record, "answer"), has_several({"answer": "x"}, "answer")
  (True, False)
  """
  if len(records.paths(record, path)) > 1:
    return True
  return any(_beside(record, path))


def _says_none(value: str) -> bool:
  return value.strip().lower() in _NONE


def _field(record: Mapping[str, Any], path: str, said: str) -> str:
  """Finds the field whose name a value is; "" for none."""
  if len(said) > _NAME_CHARACTERS:
    return ""
  plain = unread.plain_name(said)
  names = (n for n in record if n != path and unread.plain_name(n) == plain)
  return next(names, "")


def _is_of_answer(name: str) -> bool:
  """Whether a field holds an answer, by a word in its name."""
  words = {*re.split(r"[\d_]+", unread.plain_name(name))}
  return bool(words & {*field_names.ANSWER_WORDS.split("|")})


def _by_key(
  held: Mapping[str, Any],
  path: str,
  value: Any,
  answers: str,
  notes: unread.Notes,
) -> tuple[Any, str]:
  """Finds the answer of an object by its key; returns it and its path."""
  said = str(value).strip()
  same = [k for k in held if unread.plain_name(k) == unread.plain_name(said)]
  label = preferences.pointer(value)
  same = same or [k for k in held if label and preferences.pointer(k) == label]
  if len(same) != 1:
    _fail(path, value)
  notes.unread.discard(answers)
  notes.unread.add(f"all of `{answers}` but one")
  return held[same[0]], f"{answers}.{same[0]}"


def _fail(name: str, value: Any) -> str:
  raise records.Reject(
    "named answer is none of the answers", f"{name}: {value!r}"[:200]
  )


def _has_choices(record: Mapping[str, Any]) -> bool:
  choices = field_names.families(tuple(record), field_names.CHOICE)
  return any(map(_several, choices)) or any(
    unread.plain_name(name) in field_names.CHOICES
    and kinds.of_field(name, value) not in ("", "aside")
    for name, value in record.items()
  )


def _several(family: Mapping[str, str]) -> bool:
  return len(family) > 1


def _labels(paths: list[str]) -> dict[str, str]:
  """Labels of paths: the letter or number in each name, or else its place."""
  families = field_names.families(tuple(paths), field_names.ANSWER)
  if len(families) == 1 and len(families[0]) == len(paths):
    return families[0]
  letters = zip("ABCDEFGHIJ", paths, strict=False)
  return dict(letters) | {str(n): path for n, path in enumerate(paths)}


def _beside(record: Mapping[str, Any], path: str) -> tuple[list[str], str]:
  """Finds the answers beside another field, or the field with a list."""
  for family in field_names.families(tuple(record), field_names.ANSWER):
    names = list(family.values())
    own = names if preferences.is_best(path) else ()
    others = {name: v for name, v in record.items() if name not in own}
    if len(names) > 1 and path not in names and not _has_choices(others):
      return names, ""
  named = [n for n in record if n != path and unread.plain_name(n) in _LISTS]
  return [], next((n for n in named if _are_several(record[n])), "")


def _are_several(held: Any) -> bool:
  """Whether a field holds a list of answers, or an object of them by name."""
  if isinstance(held, Mapping):
    return len(held) > 1 and all(isinstance(v, str) for v in held.values())
  return isinstance(held, list) and len(held) > 1


def _named(
  name: str, value: Any, labels: Mapping[str, str], record: Mapping[str, Any]
) -> str:
  """Finds the path that a value means, by name, text or label; "" for none."""
  said = str(value).strip()
  plain = unread.plain_name(said[:_NAME_CHARACTERS])
  for path in labels.values():
    if plain == unread.plain_name(path):
      return path
  by_field = {}
  for path in labels.values():
    held = records.lookup(record, path)
    if isinstance(held, str) and held.strip() == said:
      by_field.setdefault(said, path)
  if label := preferences.pointer(value):
    is_number = values.number(value) is not None
    if is_number and label in labels and "0" not in labels:
      raise records.Reject(
        "named answer is several of the answers", f"{name}: {value!r}"[:200]
      )
    by_field |= {label: labels[label]} if label in labels else {}
  if len(set(by_field.values())) > 1:
    raise records.Reject(
      "named answer is several of the answers", f"{name}: {value!r}"[:200]
    )
  path = next(iter(by_field.values()), "")
  is_filled = path and not values.is_blank(records.lookup(record, path))
  return path if is_filled else ""
