"""Numbered turns: a conversation whose turns stand in a field each."""

import re
from collections.abc import Mapping
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import contents, dialogues, values

_NUMBERED = re.compile(r"(.*?)(\d{1,9})")


def read(
  held: Mapping[str, Any],
  notes: unread.Notes,
  read_pair: dialogues.ReadPair = dialogues.of_pair,
) -> list[records.Turn]:
  """The turns of a conversation whose fields hold one each.

  Texts are the user's and the assistant's in turn: by the numbers at the end of
  the fields' names, from 0 or 1 on, else by the fields' order. Empty ones take
  their place, and are left out.

  Raises:
    records.Reject: an answer follows no question, for that is empty; or what
      the fields hold cannot be read.

  >>> turns = read({"turn_1": "Hi", "turn_2": None, "turn_3": "1 + 1?",
  ...               "turn_4": "2"}, unread.Notes())
  >>> [turn.role for turn in turns]
  ['user', 'user', 'assistant']
  """
  numbers = [_NUMBERED.fullmatch(name) for name in held]
  places = dict(zip(held, range(len(held)), strict=True))
  if all(numbers) and len({match[1] for match in numbers}) == 1:
    first = min(1, *(int(match[2]) for match in numbers))
    places = {match[0]: int(match[2]) - first for match in numbers}
  filled = {n: v for n, v in held.items() if not values.is_blank(v)}
  items = list(filled.values())
  if any(isinstance(item, Mapping | list) for item in items):
    return dialogues.read(items, notes, read_pair=read_pair)
  texts = [contents.text_of(item, "content") for item in items]
  turns = dialogues.of_texts(texts, [places[n] for n in filled])
  heard = {places[name] for name in filled}
  before = ""
  for name, turn in zip(filled, turns, strict=True):
    place = places[name] - 1
    follows = before in ("user", "system", "tool") or place in heard
    if turn.role == "assistant" and not follows:
      empty = next((n for n, p in places.items() if p == place), "")
      detail = f"{empty or f'the turn before {name}'}: {held.get(empty)!r}"
      raise records.Reject("a turn is empty", detail[:200])
    before = turn.role
  return turns
