"""Marks of words: where the turns of a transcript begin, if words say so.

Such marks (`USER:`) may be words of a text too. They count where questions and
answers alternate.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import marks, messages


class _Words(NamedTuple):
  """How a transcript marks its turns by words.

  Attributes:
    mark: what begins a turn; group 1 is the word.
    signs: characters of which a text with turns has some. Most texts lack them,
      and to find that out takes a tenth of a search for marks.
    pairs: the words of questions and answers that go together; of several, the
      first of which a text has both.
    has_preface: whether a text before the first mark is a system text.
    is_in_lines: whether marks may stand within lines, as words of texts do.
  """

  mark: re.Pattern[str]
  signs: tuple[str, ...]
  pairs: tuple[tuple[str, str], ...]
  has_preface: bool = False
  is_in_lines: bool = False


_TOOL_WORDS = (
  r"(?:FUNCTION|TOOL) (?:RESPONSE|RESULT|OUTPUT)|FUNCTION|TOOL|OBSERVATION"
)
_WORDS = (
  _Words(  # Guanaco and Alpaca
    re.compile(
      r"### ?(Human|User|Instruction|Input|Assistant|Response|Output|System):"
    ),
    ("###",),
    (
      ("instruction", "response"),
      ("instruction", "output"),
      ("instruction", "assistant"),
      ("human", "assistant"),
      ("user", "assistant"),
      ("human", "response"),
      ("user", "response"),
      ("input", "response"),
      ("input", "output"),
    ),
    has_preface=True,
  ),
  _Words(  # Anthropic
    re.compile(r"(?:\A\s*|\n\n)(Human|Assistant|System):"),
    ("Assistant:",),
    (("human", "assistant"),),
  ),
  _Words(  # The same in lines
    re.compile(r"^[ \t]*(Human|User|Assistant|AI|Bot|System):", re.MULTILINE),
    ("Human:", "User:"),
    (
      *(("human", "assistant"), ("user", "assistant"), ("human", "ai")),
      *(("user", "ai"), ("human", "bot"), ("user", "bot")),
    ),
  ),
  _Words(  # OpenChatKit
    re.compile(r"<(human|user|bot|assistant)>:"),
    (">:",),
    (
      ("human", "bot"),
      ("human", "assistant"),
      ("user", "bot"),
      ("user", "assistant"),
    ),
  ),
  _Words(  # Vicuna and Glaive
    re.compile(rf"(?<![^\s>])(USER|ASSISTANT|SYSTEM|{_TOOL_WORDS}):"),
    ("ASSISTANT:",),
    (("user", "assistant"),),
    has_preface=True,
    is_in_lines=True,
  ),
)
# The roles after which a mark of words may stand; "" is the begin.
_BEFORE_ROLES = {
  "system": ("", "system"),
  "user": ("", "system", "assistant", "tool"),
  "input": ("user",),
  "tool": ("user", "input", "assistant", "tool"),
  "assistant": ("user", "input", "tool"),
}


def readings(text: str) -> list[marks.Reading]:
  """What a text is by each style of words that it has.

  >>> readings("USER: 1 + 1? ASSISTANT: 2")[0].names
  ('user', 'assistant')
  """
  if ":" not in text:
    return []
  tried = [_reading(text, style) for style in _WORDS]
  return [reading for reading in tried if reading]


def _reading(text: str, style: _Words) -> marks.Reading | None:
  if not any(map(text.__contains__, style.signs)):
    return None
  placed = marks.find(style.mark, text)
  first = {mark.name.lower(): mark.begin for mark in reversed(placed)}
  able = [pair for pair in style.pairs if first.keys() >= set(pair)]
  if not able:
    return None
  user, assistant = min(able, key=lambda pair: first[pair[0]])
  begin = min(first[user], first.get("system", len(text)))
  is_begun = style.has_preface or not marks.bare(text[:begin])
  if first[assistant] < first[user] or not is_begun:
    return None
  ways = [_alternating(placed, user, assistant)]
  if style.is_in_lines:
    edges = [mark for mark in placed if mark.is_edge]
    last, role = ways[0][-1] if ways[0] else (None, "")
    if role == "user" and edges != placed and marks.bare(text[last.end :]):
      ways = [[]]  # Words of the last answer, rather than a question.
    ways.append(_alternating(edges, user, assistant))
  ways = [turns for turns in ways if turns]
  if not ways:
    word = marks.unknown(text, known=first)
    order = ", ".join(mark.name for mark in placed)[:200]
    problem = records.Reject("turns of a transcript do not alternate", order)
    if word:
      problem = records.Reject("unknown role", repr(word))
    return marks.Reading(begin, (), (), problem)
  if ways[0] != ways[-1]:
    where = f"{len(ways[0])} turns, or {len(ways[-1])}"
    problem = records.Reject("transcript reads in two ways", where)
    return marks.Reading(begin, (), (), problem)
  kept, names = zip(*ways[0], strict=True)
  return marks.Reading(kept[0].begin, kept, names)


def _alternating(
  placed: Sequence[marks.Mark], user: str, assistant: str
) -> list[tuple[marks.Mark, str]]:
  """Marks and the roles they mean; empty where they do not alternate.

  Marks of a system text, an input or a tool that cannot stand where they stand
  are words of a text. After a token that ends a turn any mark is one.
  """
  kept: list[tuple[marks.Mark, str]] = []
  for place, mark in enumerate(placed):
    role, before = _role(mark, user, assistant), kept[-1][1] if kept else ""
    fits = before in _BEFORE_ROLES.get(role, ())
    later = placed[place + 1].name.lower() if place + 1 < len(placed) else ""
    if role in ("system", "input", "tool"):
      fits &= _is_meant(mark, later, user)
    sure = mark.follows_end and kept and role not in ("", "input")
    # Between an answer and a question it may be a turn, or words of the answer.
    is_either = (role, before, later) == ("system", "assistant", user)
    if fits or sure:
      kept.append((mark, role))
    elif role in ("user", "assistant") or (is_either and mark.is_edge):
      return []
  return kept if {"user", "assistant"} <= {role for _, role in kept} else []


def _role(mark: marks.Mark, user: str, assistant: str) -> str:
  """The role that a word marks; "" for the words of other pairs."""
  word = mark.name.lower()
  if word in (user, assistant):
    return "user" if word == user else "assistant"
  if word == "system" or (word == "input" and user == "instruction"):
    return word
  is_tool = messages.ROLES.get(unread.plain_name(word)) == "tool"
  return "tool" if is_tool else ""


def _is_meant(mark: marks.Mark, following: str, user: str) -> bool:
  """Whether a word that is no side's begins a turn, and is no heading.

  Args:
    mark: of the word.
    following: the word of the mark after it, or "".
    user: the word of questions.
  """
  if mark.name.lower() == "system":
    return mark.is_edge
  if mark.name.lower() == "input":
    return mark.is_edge or following != "input"
  return mark.is_edge and (" " in mark.name or following not in ("", user))
