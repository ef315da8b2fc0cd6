"""Verdicts: what a record says of its answer, or of each of its answers.

A field of the whole record may say that its answer is not to be learnt; a list
beside several answers may mark, score or rank each.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import beside, values, weights
from ila_jax.pool.shapes import fields, pointers, preferences

# Lists beside answers of which the lowest is the best.
_RANKS = re.compile(r"rank(?:ing)?s?")


def _is_left_out(
  holder: beside.Holder, notes: unread.Notes, *, may_name: bool = False
) -> bool:
  """Whether an object says that its answer is not to be learnt.

  Args:
    holder: the record, or an object in it.
    notes: gets what says so, and what nothing reads.
    may_name: whether there are choices or answers, one of which it may name.
  """
  out = False
  for field, value in holder.fields.items():
    name = unread.plain_name(field)
    if field in holder.read or not weights.is_verdict(name):
      continue
    if values.is_blank(value):
      continue
    says, verdict = holder.prefix + field, None
    if not (may_name and _may_name_one(name, value)):
      verdict = weights.verdict(name, value)
    if verdict is not None:
      notes.unread.discard(says)
      notes.weights.add(says)
      out |= not verdict
    elif says in notes.unread and not (
      weights.is_label(name) or isinstance(value, str | list | dict)
    ):
      notes.unread.discard(says)  # It is told as what it is.
      notes.unread.add(f"`{says}` of the whole record")
  return out


def of_record(
  record: Mapping[str, Any], read: fields.Fields, notes: unread.Notes
) -> list[weights.Listed]:
  """Returns the lists of weights of a record; notes what nothing reads.

  Args:
    record: with structures as such.
    read: where it keeps what.
    notes: gets what is not read.

  Raises:
    records.Reject: the record says that its answer is not learnt.

  >>> record = {"prompt": "q", "response": "a", "weights": [1]}
  >>> read = fields.Fields(prompt="prompt", response="response")
  >>> of_record(record, read, unread.Notes())
  [Listed(name='weights', learnt=(True,))]
  """
  is_learnt, lists = found(record, read, notes)
  if not is_learnt:
    raise records.Reject(
      "no answer is learnt", ", ".join(sorted(notes.weights))
    )
  return lists


def found(
  record: Mapping[str, Any], read: fields.Fields, notes: unread.Notes
) -> tuple[bool, list[weights.Listed]]:
  """Whether a record lets its answer be learnt, and its lists of weights.

  It takes the same as `of_record`.

  >>> record = {"prompt": "q", "response": "a", "is_correct": False}
  >>> read = fields.Fields(prompt="prompt", response="response")
  >>> found(record, read, unread.Notes())
  (False, [])
  """
  holders = beside.holders(record, read)
  answers = records.lookup(record, read.response)
  is_one_of = isinstance(answers, list) and len(answers) > 1
  may_name = bool(read.choices) or is_one_of
  may_name |= pointers.has_several(record, read.response)
  out, lists = False, []
  for holder in holders:
    notes.leave(holder.fields, beside.left(holder), holder.prefix)
    out |= _is_left_out(holder, notes, may_name=may_name)
    if read.conversation or not is_one_of:
      lists += weights.listed(holder.fields, notes, prefix=holder.prefix)
  if not read.conversation:
    out |= any(not any(learnt) for _, learnt in lists)
  for name, learnt in () if read.conversation or out else lists:
    if not all(learnt):
      raise records.Reject("weights and messages differ in number", name)
  return not out, lists


def check(holder: beside.Holder, notes: unread.Notes) -> None:
  """Checks that an object does not say of its answer that it is not learnt.

  Raises:
    records.Reject: it does.

  >>> check(beside.Holder("", {"text": "a"}, frozenset(["text"])),
  ...       unread.Notes())
  """
  if _is_left_out(holder, notes):
    raise records.Reject(
      "no answer is learnt", ", ".join(sorted(notes.weights))
    )


def _may_name_one(name: str, value: Any) -> bool:
  """Whether a value may name one of several choices or answers."""
  if name in weights.LABELS and isinstance(value, str):
    return value.strip().lower() not in weights.WORDS
  return weights.is_label(name) and not isinstance(value, bool)


def kept(
  holder: Mapping[str, Any],
  answers: Sequence[Any],
  notes: unread.Notes,
  *,
  path: str = "answers",
  prefix: str = "",
) -> list[Any]:
  """Keeps the best answers, by the marks, scores or ranks beside them.

  Args:
    holder: the object in which the answers stand.
    answers: as it holds them.
    notes: forgets what is read here.
    path: of the answers.
    prefix: of the paths of the holder's fields.

  Raises:
    records.Reject: none is marked as right, a mark in the object of the answers
      cannot be read, lists name different answers, or the answers may be the
      steps of one.

  >>> kept({"is_correct": [0, 1]}, ["a", "b"], unread.Notes())
  ['b']
  >>> kept({"scores": [0.5, 0.1]}, ["a", "b"], unread.Notes())
  ['a']
  """
  places = set(range(len(answers)))
  for field, held in holder.items():
    is_list = isinstance(held, list) and len(held) == len(answers)
    if not is_list or held is answers:
      continue
    best = _best(unread.plain_name(field), held, path, notes)
    if best is None:
      is_own = prefix == f"{path}." and not values.is_blank(held)
      if is_own and preferences.is_mark(field):
        raise records.Reject(
          "a mark of an answer cannot be read", prefix + field
        )
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


def _best(
  name: str, held: Sequence[Any], path: str, notes: unread.Notes
) -> set[int] | None:
  """Returns the places of the preferred answers; None: it tells of none."""
  said = [weights.number(value) for value in held]
  if preferences.is_mark(name.removesuffix("s")) and not _RANKS.fullmatch(name):
    blank = [values.is_blank(value) for value in held]
    is_read = all(b or n is not None for b, n in zip(blank, said, strict=True))
    if all(blank) or not is_read:
      return None  # Answers, or words about them.
    return preferences.right(name, held, path, notes)
  if None in said:
    return None
  if _RANKS.fullmatch(name):
    if any(values.number(value) is None for value in held):
      return None  # A switch is no rank.
    best = said.index(min(said))
    # A ranking may also list the places of the answers, the best first.
    if "ranking" in name and said[0] - min(said) != best:
      raise records.Reject("fields name different answers", name)
    return {place for place, rank in enumerate(said) if rank == min(said)}
  if preferences.is_score(name):
    return {place for place, score in enumerate(said) if score == max(said)}
  if not set(said) <= {0, 1}:
    return None
  if name in ("label", "labels") and len(said) > 1:
    raise records.Reject(
      "answers may be steps of one", f"{name}: {len(said)} of them"
    )
  is_weight = weights.is_list(name) and not weights.is_mask(name)
  if is_weight or weights.is_label(name):
    return {place for place, flag in enumerate(said) if flag}
  return None
