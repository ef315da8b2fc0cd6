"""Weights: which answers a record says are learnt, by the names of its fields.

They stand in a message, in a list beside the messages, or in the record.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import values

# An answer is learnt unless one of the first is 0, or one of the second is 1.
WEIGHTS = (
  *("weight", "loss_weight", "loss", "loss_mask", "loss_scale", "compute_loss"),
  *("train", "training", "trainable", "is_trainable", "do_train"),
  *("train_mask", "training_mask", "learn", "learnable", "is_learnt"),
  *("should_train", "train_on_turn", "output_with_loss"),
)
MASKS = (
  *("mask", "masked", "is_masked", "ignore", "ignore_loss", "no_loss"),
  *("no_train",),
)
# Fields that say of an answer, as preference data do, whether it is good.
LABELS = ("label", "kto_tag", "desirable", "is_desirable")
# Some hold classes or scales as often: of these no number is a verdict.
_SCALES = ("label", "correctness")
# Words that can be nothing but a verdict.
WORDS = {
  **dict.fromkeys(("true", "correct", "desirable", "chosen", "accepted"), True),
  **dict.fromkeys(("false", "incorrect", "undesirable", "rejected"), False),
  "wrong": False,
}
_CORRECT = re.compile(
  r"correct(?:ness)?|accepted|is_(?:correct|right|best|better|chosen|preferred"
  r"|accepted|selected)(?:_answer|_response)?"
)
# Lists of them beside a conversation, one a message. A list of losses may be
# what somebody measured.
_LISTS = frozenset(
  name + end for name in (*WEIGHTS, *MASKS) for end in ("", "s")
) - {"loss"}
# A list under such a name may mark what is learnt, or what is not.
_EITHER = ("mask", "masks")


class Listed(NamedTuple):
  """Weights in a list.

  Attributes:
    name: of the field.
    learnt: whether each item is learnt.
  """

  name: str
  learnt: tuple[bool, ...]


def number(value: Any) -> int | float | None:
  """What a switch or a number says, as a number; None for all else.

  >>> number("0.0"), number("no"), number(True), number("bad")
  (0, 0, 1, None)
  """
  says = values.switch(value)
  return values.number(value) if says is None else int(says)


def _lets_learn(name: str, value: Any, notes: unread.Notes) -> bool:
  """Whether a weight lets an answer be learnt."""
  said = number(value)
  if said is None or said < 0:
    raise records.Reject(
      "weight is no number of at least 0", f"{name}: {value!r}"[:80]
    )
  if is_mask(name):
    said = 1 - min(said, 1)
  if said not in (0, 1):
    notes.unread.add(f"{name} other than 0 and 1")
  return said > 0


def is_mask(name: str) -> bool:
  """Whether 1 under such a name means that nothing is learnt.

  >>> is_mask("ignore_loss"), is_mask("loss_mask")
  (True, False)
  """
  return name in MASKS or name.removesuffix("s") in MASKS


def is_learnt(holder: Mapping[str, Any], notes: unread.Notes) -> bool:
  """Whether what stands in a message is to be learnt.

  Raises:
    records.Reject: a weight that is none.

  >>> is_learnt({"content": "Four.", "weight": 0}, unread.Notes())
  False
  """
  learnt = True
  filled = {k: v for k, v in holder.items() if not values.is_blank(v)}
  named = {unread.plain_name(key): value for key, value in filled.items()}
  for name in (*WEIGHTS, *MASKS):
    if name in named:
      learnt &= _lets_learn(name, named[name], notes)
      notes.weights.add(name)
  for key, value in filled.items():  # As preference data mark a bad answer.
    name = unread.plain_name(key)
    says = verdict(name, value) if is_label(name) else None
    if says is not None:
      notes.unread.discard(f"messages.{key}")
      notes.weights.add(name)
      learnt &= says
  return learnt


@functools.lru_cache(maxsize=4096)
def is_label(name: str) -> bool:
  """Whether a field of such a name may say that an answer is good or bad.

  >>> is_label("kto_tag"), is_label("is_correct"), is_label("weight")
  (True, True, False)
  """
  return name in LABELS or bool(_CORRECT.fullmatch(name))


@functools.lru_cache(maxsize=4096)
def is_verdict(name: str) -> bool:
  """Whether a field of such a name may say whether an answer is learnt.

  >>> is_verdict("label"), is_verdict("train"), is_verdict("topic")
  (True, True, False)
  """
  return name in WEIGHTS or name in MASKS or is_label(name)


def verdict(name: str, value: Any) -> bool | None:
  """Whether a field lets an answer be learnt; None: it does not tell.

  Other numbers than 0 and 1 may be classes, losses or shares; and these two may
  be of a scale that has more, which one record does not show.

  >>> verdict("kto_tag", "0"), verdict("label", 0), verdict("label", "wrong")
  (False, None, False)
  """
  if is_label(name) and isinstance(value, str):
    word = value.strip().lower()
    if word in WORDS:
      return WORDS[word]
    if name in LABELS and values.number(word) is None:
      return None  # Yes and no may be classes.
  if name in _SCALES and values.number(value) is not None:
    return None
  said = number(value)
  if said not in (0, 1) or (name == "loss" and value == 1):
    return None
  if name in MASKS:
    is_sure = name != "mask" or value is True  # It may be of tokens.
    return not said if is_sure else None
  return bool(said)


def is_list(name: str) -> bool:
  """Whether a list under such a name may hold a weight for each message.

  >>> is_list("lossWeights"), is_list("labels")
  (True, False)
  """
  return unread.plain_name(name) in _LISTS


def listed(
  fields: Mapping[str, Any], notes: unread.Notes, *, prefix: str = ""
) -> list[Listed]:
  """The lists of weights among fields; they count as read.

  Args:
    fields: of an object; a text may write a list.
    notes: forgets what is read here.
    prefix: of their names, where the object is not the record itself.

  Raises:
    records.Reject: weights of tokens, or a list that may mean either.

  >>> listed({"weights": [0, 1]}, unread.Notes())
  [Listed(name='weights', learnt=(False, True))]
  """
  lists = []
  for field, held in fields.items():
    name = unread.plain_name(field)
    if name in _LISTS and isinstance(held, str):
      held = values.items(held)
    if name not in _LISTS or not isinstance(held, list) or not held:
      continue
    if any(isinstance(value, list | dict) for value in held):
      raise records.Reject("parts of an answer have weights", prefix + field)
    if name in _EITHER:
      raise records.Reject("a list of masks may mean either", prefix + field)
    learnt = tuple(_lets_learn(name, value, notes) for value in held)
    notes.unread -= {prefix + field, f"`{prefix + field}` of the whole record"}
    notes.weights.add(prefix + field)
    lists.append(Listed(prefix + field, learnt))
  return lists


def masked(
  turns: Sequence[records.Turn],
  lists: Sequence[Listed],
  items: Sequence[int] = (),
) -> list[records.Turn]:
  """Turns with the weights that are listed beside them.

  Args:
    turns: of a conversation.
    lists: of weights, each one a message, or one a turn.
    items: the message from which each turn is, from 0; where messages are
      turns, it may be left out.

  Raises:
    records.Reject: there are more or fewer weights than messages.

  >>> turns = [records.Turn("user", "a"), records.Turn("assistant", "b")]
  >>> masked(turns, [Listed("weights", (True, False))])[1].is_learnt
  False
  """
  said = list(turns)
  for name, learnt in lists:
    places: Sequence[int] = items or range(len(said))
    n_items = max(places, default=-1) + 1
    if len(learnt) == len(said):
      places = range(len(said))
    elif len(learnt) != n_items:
      raise records.Reject(
        "weights and messages differ in number",
        f"{name}: {len(learnt)} and {n_items}",
      )
    for turn, place in enumerate(places):
      if said[turn].role == "assistant" and not learnt[place]:
        said[turn] = said[turn]._replace(is_learnt=False)
  return said
