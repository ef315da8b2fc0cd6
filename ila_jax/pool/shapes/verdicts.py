"""Verdicts: what a record says of its answer, or of each of its answers.

A field of the whole record may say that its answer is not to be learnt; a list
beside several answers may mark, score or rank each.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import weights
from ila_jax.pool.shapes import beside, preferences

# Lists beside answers: the highest is the best, or the lowest.
_SCORES = re.compile(r"(?:overall_)?(?:score|reward|rating|vote|upvote)s?")
_RANKS = re.compile(r"rank(?:ing)?s?")


def is_left_out(
  holder: beside.Holder,
  notes: unread.Notes,
  *,
  has_choices: bool,
  is_one_of: bool,
) -> bool:
  """Whether an object as a whole says that its answer is not to be learnt.

  Args:
    holder: the record, or an object in it.
    notes: gets what says so, and what nothing reads.
    has_choices: whether there are choices, one of which a field may name.
    is_one_of: whether there are several answers, one of which it may name.

  >>> record = {"prompt": "q", "completion": "a", "label": "False"}
  >>> holder = beside.Holder("", record, frozenset(["prompt", "completion"]))
  >>> is_left_out(holder, unread.Notes(), has_choices=False, is_one_of=False)
  True
  """
  out = False
  for field, value in holder.fields.items():
    name = unread.plain_name(field)
    if field in holder.read or value is None or not weights.is_verdict(name):
      continue
    says, verdict = holder.prefix + field, None
    if not ((has_choices or is_one_of) and _may_name_one(name, value)):
      verdict = weights.verdict(name, value)
    if verdict is not None:
      notes.unread.discard(says)
      notes.weights.add(says)
      out |= not verdict
    elif not isinstance(value, str | list | dict) and says in notes.unread:
      notes.unread.discard(says)  # It is told as what it is.
      notes.unread.add(f"`{says}` of the whole record")
  return out


def check(holder: beside.Holder, notes: unread.Notes) -> None:
  """Checks that an object does not say of its answer that it is not learnt.

  Raises:
    records.Reject: it does.

  >>> check(beside.Holder("", {"text": "a"}, frozenset(["text"])),
  ...       unread.Notes())
  """
  if is_left_out(holder, notes, has_choices=False, is_one_of=False):
    raise records.Reject(
      "no answer is learnt", ", ".join(sorted(notes.weights))
    )


def _may_name_one(name: str, value: Any) -> bool:
  """Whether a value may name one of several choices or answers."""
  if name in weights.LABELS and isinstance(value, str):
    return value.strip().lower() not in ("true", "false", *weights.BAD)
  return weights.is_label(name) and not isinstance(value, bool)


def kept(
  holder: Mapping[str, Any],
  answers: Sequence[Any],
  notes: unread.Notes,
  *,
  prefix: str = "",
) -> list[Any]:
  """Those of several answers that lists beside them mark, score or rank best.

  Args:
    holder: the object in which the answers stand.
    answers: as it holds them.
    notes: forgets what is read here.
    prefix: of the paths of the holder's fields.

  Raises:
    records.Reject: none is marked as right, lists name different answers, or
      the answers may be the steps of one.

  >>> kept({"is_correct": [0, 1]}, ["a", "b"], unread.Notes())
  ['b']
  >>> kept({"scores": [0.5, 0.1]}, ["a", "b"], unread.Notes())
  ['a']
  """
  places = set(range(len(answers)))
  if len(answers) < 2:
    return list(answers)
  for field, values in holder.items():
    if not isinstance(values, list) or len(values) != len(answers):
      continue
    best = _best(unread.plain_name(field), values)
    if best is None:
      continue
    if not best:
      raise records.Reject(
        "no answer is marked as right", f"{len(answers)} of them"
      )
    places &= best
    if not places:
      raise records.Reject("fields name different answers", prefix + field)
    notes.unread -= {prefix + field, f"`{prefix + field}` of the whole record"}
  return [answers[place] for place in sorted(places)]


def _best(name: str, values: Sequence[Any]) -> set[int] | None:
  """The places of the answers that a list prefers; None: it is no such list."""
  numbers = [weights.number(value) for value in values]
  if None in numbers:
    return None
  are_flags = set(numbers) <= {0.0, 1.0}
  if name in ("label", "labels") and are_flags:
    raise records.Reject(
      "answers may be steps of one", f"{name}: {len(values)} of them"
    )
  if _RANKS.fullmatch(name):
    best = numbers.index(min(numbers))
    # A ranking may also list the places of the answers, the best first.
    if "ranking" in name and numbers[0] - min(numbers) != best:
      raise records.Reject("fields name different answers", name)
    return {p for p, said in enumerate(numbers) if said == min(numbers)}
  if _SCORES.fullmatch(name):
    return {p for p, said in enumerate(numbers) if said == max(numbers)}
  is_weight = weights.is_list(name) and not weights.is_mask(name)
  is_mark = weights.is_label(name) or preferences.is_mark(name)
  if are_flags and (is_mark or is_weight):
    return {place for place, said in enumerate(numbers) if said}
  return None
