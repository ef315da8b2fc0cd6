"""Marks: where the turns of a transcript begin.

Marks of tokens (`<|im_start|>user`) are marks wherever they stand, and name any
role. Marks of words (`USER:`) may be words of a text too; they count where
questions and answers alternate.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ila_jax import messages, records, unread

# Tokens that end a turn: only its own format may follow them.
END = re.compile(
  r"<\|im_end\|>|<\|eot_id\|>|<\|eom_id\|>|<\|eot\|>|<\|eom\|>|<\|end\|>"
  r"|<\|end_?of_?text\|>|<end_of_turn>|<\|END_OF_TURN_TOKEN\|>|<\|return\|>"
  r"|<｜end▁of▁sentence｜>|\[/SYSTEM_PROMPT\]"
)
# What may stand around turns and is nobody's text. `</s>` is HTML as well.
_NOISE = (
  rf"(?:{END.pattern}|</?s>|<bos>|<eos>|<\|begin_of_text\|>|<BOS_TOKEN>"
  r"|<｜begin▁of▁sentence｜>|\[gMASK\]|<sop>)"
)
_SPACE, _LAST = re.compile(rf"(?:\s|{_NOISE})*"), re.compile(rf"{_NOISE}\Z")
# A word and a colon where only a mark can stand.
_WORD = re.compile(
  rf"(?:{END.pattern})\s*(?:### ?)?([A-Za-z][\w ]{{0,30}}):"
  r"|</s>\s*(?:### ?)([A-Za-z][\w ]{0,30}):|</s>\s*([A-Z][A-Z _]{1,30}):"
)
# No such token is longer.
_TOKEN_CHARACTERS = 40


class Mark(NamedTuple):
  """Where a turn begins.

  Attributes:
    begin: first character of the mark.
    end: one past its last.
    name: of the role, as it is written.
    is_edge: whether it begins a line, or follows a token that ends a turn.
    follows_end: whether it follows such a token.
  """

  begin: int
  end: int
  name: str
  is_edge: bool
  follows_end: bool


class _Style(NamedTuple):
  """How a transcript marks its turns by tokens.

  Attributes:
    mark: what begins a turn; its only group that matches names the role.
    has_preface: whether a text before the first mark is a system text.
  """

  mark: re.Pattern[str]
  has_preface: bool = False


_TOKENS = (
  # ChatML, also that of Phi-4.
  _Style(re.compile(r"<\|im_start\|>([^\n]*?)(?:<\|im_sep\|>|\n|\Z)")),
  # Llama 3 and 4, Granite.
  _Style(
    re.compile(
      r"<\|start_header_id\|>(.*?)<\|end_header_id\|>"
      r"|<\|header_start\|>(.*?)<\|header_end\|>"
      r"|<\|start_of_role\|>(.*?)<\|end_of_role\|>"
    )
  ),
  # Gemma.
  _Style(re.compile(r"<start_of_turn>([^\n]*)(?:\n|\Z)")),
  # gpt-oss.
  _Style(re.compile(r"<\|start\|>(.*?)<\|message\|>")),
  # Command R.
  _Style(re.compile(r"<\|START_OF_TURN_TOKEN\|><\|(\w+?)(?:_TOKEN)?\|>")),
  # DeepSeek.
  _Style(
    re.compile(r"<｜(?!begin▁of▁sentence|end▁of▁sentence)([^｜\n]+)｜>"),
    has_preface=True,
  ),
  # Phi-3, Zephyr, Tulu, OpenAssistant.
  _Style(
    re.compile(
      r"<\|(system|user|assistant|prompter|tool|observation|function)\|>"
      r"|^<\|(?!end|eot|im_|begin|start|header_|message|channel)(\w+)\|>",
      re.MULTILINE,
    )
  ),
  # Llama 2 and Mistral.
  _Style(
    re.compile(
      r"\[(/?INST|SYSTEM_PROMPT)\]"
      r"|(\[/?(?:TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\])"
    )
  ),
)
# Names that only tokens have.
TOKEN_ROLES = {"inst": "user", "/inst": "assistant", "system_prompt": "system"}


class _Words(NamedTuple):
  """How a transcript marks its turns by words.

  Attributes:
    mark: what begins a turn; group 1 is the word.
    pairs: the words of questions and answers that go together; of several, the
      first of which a text has both.
    has_preface: whether a text before the first mark is a system text.
    is_in_lines: whether marks may stand within lines, as words of texts do.
  """

  mark: re.Pattern[str]
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
    (("human", "assistant"),),
  ),
  _Words(  # OpenChatKit
    re.compile(r"<(human|user|bot|assistant)>:"),
    (
      ("human", "bot"),
      ("human", "assistant"),
      ("user", "bot"),
      ("user", "assistant"),
    ),
  ),
  _Words(  # Vicuna and Glaive
    re.compile(rf"(?<![^\s>])(USER|ASSISTANT|SYSTEM|{_TOOL_WORDS}):"),
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


class Reading(NamedTuple):
  """What a text is as a transcript of one style.

  Attributes:
    begin: where its first mark stands.
    marks: that begin its turns.
    names: the role that each of them means.
    problem: why it cannot be read, or None.
  """

  begin: int
  marks: Sequence[Mark]
  names: Sequence[str]
  problem: records.Reject | None = None


def bare(text: str) -> str:
  """A text without space around it, and without the tokens of formats.

  >>> bare("\\n4</s><|endoftext|> ")
  '4'
  """
  text = text[_SPACE.match(text).end() :].rstrip()
  while token := _LAST.search(text[-_TOKEN_CHARACTERS:]):
    text = text[: -len(token[0])].rstrip()
  return text


def unknown(text: str, *, known: Collection[str] = ()) -> str:
  """A word that marks a turn behind the end of one; "" without any.

  Args:
    text: of one turn, or of several.
    known: words in lower case that are known as marks.

  >>> unknown("I see.<|endoftext|> NARRATOR: He sees.")
  'NARRATOR'
  """
  words = (next(filter(None, m.groups())) for m in _WORD.finditer(text))
  return next((word for word in words if word.lower() not in known), "")


def _marks(pattern: re.Pattern[str], text: str) -> list[Mark]:
  marks = []
  for found in pattern.finditer(text):
    name = next(group for group in found.groups() if group is not None)
    begin = found.start()
    before = text[max(begin - _TOKEN_CHARACTERS, 0) : begin].rstrip(" \t")
    follows_end = bool(_LAST.search(before.rstrip()))
    is_edge = before[-1:] in ("", "\n") or found[0][:1] == "\n" or follows_end
    marks.append(Mark(begin, found.end(), name.strip(), is_edge, follows_end))
  return marks


def reading(text: str) -> Reading | None:
  """What a text is, by the style whose first mark comes first; None: nothing.

  >>> reading("USER: 1 + 1? ASSISTANT: 2").names
  ('user', 'assistant')
  """
  found = [_by_tokens(text, style) for style in _TOKENS]
  found += [_by_words(text, style) for style in _WORDS]
  return min(filter(None, found), key=lambda r: r.begin, default=None)


def _by_tokens(text: str, style: _Style) -> Reading | None:
  marks = _marks(style.mark, text)
  if not marks or (bare(text[: marks[0].begin]) and not style.has_preface):
    return None
  names = [mark.name for mark in marks]
  plain = [unread.plain_name(name.partition(" ")[0]) for name in names]
  roles = {messages.ROLES.get(TOKEN_ROLES.get(name, name)) for name in plain}
  if "user" not in roles or not roles & {"assistant", None}:
    return None
  return Reading(marks[0].begin, marks, names)


def _by_words(text: str, style: _Words) -> Reading | None:
  marks = _marks(style.mark, text)
  first = {mark.name.lower(): mark.begin for mark in reversed(marks)}
  able = [pair for pair in style.pairs if first.keys() >= set(pair)]
  if not able:
    return None
  user, assistant = min(able, key=lambda pair: first[pair[0]])
  begin = min(first[user], first.get("system", len(text)))
  is_begun = style.has_preface or not bare(text[:begin])
  if first[assistant] < first[user] or not is_begun:
    return None
  found = [_alternating(marks, user, assistant)]
  if style.is_in_lines:
    edges = [mark for mark in marks if mark.is_edge]
    last, role = found[0][-1] if found[0] else (None, "")
    if role == "user" and edges != marks and bare(text[last.end :]):
      found = [[]]  # Words of the last answer, rather than a question.
    found.append(_alternating(edges, user, assistant))
  found = [turns for turns in found if turns]
  if not found:
    word = unknown(text, known=first)
    order = ", ".join(mark.name for mark in marks)[:200]
    problem = records.Reject("turns of a transcript do not alternate", order)
    if word:
      problem = records.Reject("unknown role", repr(word))
    return Reading(begin, (), (), problem)
  if found[0] != found[-1]:
    where = f"{len(found[0])} turns, or {len(found[-1])}"
    problem = records.Reject("transcript reads in two ways", where)
    return Reading(begin, (), (), problem)
  kept, names = zip(*found[0], strict=True)
  return Reading(kept[0].begin, kept, names)


def _alternating(
  marks: Sequence[Mark], user: str, assistant: str
) -> list[tuple[Mark, str]]:
  """Marks and the roles they mean; empty where they do not alternate.

  Marks of a system text, an input or a tool that cannot stand where they stand
  are words of a text. After a token that ends a turn any mark is one.
  """
  kept: list[tuple[Mark, str]] = []
  for place, mark in enumerate(marks):
    role, before = _role(mark, user, assistant), kept[-1][1] if kept else ""
    fits = before in _BEFORE_ROLES.get(role, ())
    if role in ("input", "tool"):
      fits &= _is_meant(mark, marks[place + 1 :], user)
    sure = mark.follows_end and kept and role not in ("", "input")
    if fits or sure:
      kept.append((mark, role))
    elif role in ("user", "assistant"):
      return []
  return kept if {"user", "assistant"} <= {role for _, role in kept} else []


def _role(mark: Mark, user: str, assistant: str) -> str:
  """The role of a word that marks one; "" for the words of other pairs."""
  word = mark.name.lower()
  if word in (user, assistant):
    return "user" if word == user else "assistant"
  if word == "system" or (word == "input" and user == "instruction"):
    return word
  is_tool = messages.ROLES.get(unread.plain_name(word)) == "tool"
  return "tool" if is_tool else ""


def _is_meant(mark: Mark, later: Sequence[Mark], user: str) -> bool:
  """Whether the word of an input or a tool begins a turn, and is no heading."""
  following = later[0].name.lower() if later else ""
  if mark.name.lower() == "input":
    return mark.is_edge or following != "input"
  return mark.is_edge and (" " in mark.name or following not in ("", user))
