"""Marks: where the turns of a transcript begin, if tokens say so.

Such marks (`<|im_start|>user`) are marks wherever they stand, and may name any
role.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import messages

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
# What a tokenizer may put behind an answer, whatever the format.
_STOP = r"<eos>|<\|end_?of_?text\|>|<｜end▁of▁sentence｜>"
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
    sign: characters that each of its marks has. Most texts lack them, and to
      find that out takes a tenth of a search for marks.
    has_preface: whether a text may stand before the first mark.
    end: the format's own end of a turn, as a pattern.
  """

  mark: re.Pattern[str]
  sign: str
  has_preface: bool = False
  end: str = ""


_TOKENS = (
  # ChatML, also that of Phi-4.
  _Style(
    re.compile(r"<\|im_start\|>([^\n]*?)(?:<\|im_sep\|>|\n|\Z)"),
    "<|im_start|>",
    end=r"<\|im_end\|>",
  ),
  # Llama 3 and 4, Granite.
  _Style(
    re.compile(
      r"<\|start_header_id\|>([^<\n]*)<\|end_header_id\|>"
      r"|<\|header_start\|>([^<\n]*)<\|header_end\|>"
      r"|<\|start_of_role\|>([^<\n]*)<\|end_of_role\|>"
    ),
    "<|",
    end=r"<\|eo[tm](?:_id)?\|>",
  ),
  # Gemma.
  _Style(
    re.compile(r"<start_of_turn>([^\n]*)(?:\n|\Z)"),
    "<start_of_turn>",
    end="<end_of_turn>",
  ),
  # gpt-oss.
  _Style(
    re.compile(r"<\|start\|>((?:(?!<\|start\|>).)*?)<\|message\|>"),
    "<|start|>",
    end=r"<\|(?:end|return|call)\|>",
  ),
  # Command R.
  _Style(
    re.compile(r"<\|START_OF_TURN_TOKEN\|><\|(\w+?)(?:_TOKEN)?\|>"),
    "<|START_OF_TURN_TOKEN|>",
    end=r"<\|END_OF_TURN_TOKEN\|>",
  ),
  # DeepSeek.
  _Style(
    re.compile(r"<｜(?!begin▁of▁sentence|end▁of▁sentence)([^｜\n]+)｜>"),
    "<｜",
    has_preface=True,
  ),
  # Phi-3, Zephyr, Tulu, OpenAssistant.
  _Style(
    re.compile(
      r"<\|(system|user|assistant|prompter|tool|observation|function)\|>"
      r"|^<\|(?!end|eot|im_|begin|start|header_|message|channel)(\w+)\|>",
      re.MULTILINE,
    ),
    "<|",
    end=r"<\|end\|>",
  ),
  # NeMo and HelpSteer2, whose first question may have no mark.
  _Style(
    re.compile(r"^<extra_id_[01]>(\w[\w \t]*)(?:\n|\Z)", re.MULTILINE),
    "<extra_id_",
    has_preface=True,
    end="<extra_id_1>",
  ),
  # Llama 2 and Mistral.
  _Style(
    re.compile(
      r"\[(/?INST|SYSTEM_PROMPT)\]"
      r"|(\[/?(?:TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\])"
    ),
    "[",
  ),
)
# Names that only tokens have.
TOKEN_ROLES = {"inst": "user", "/inst": "assistant", "system_prompt": "system"}


class Reading(NamedTuple):
  """What a text is as a transcript of one style.

  Attributes:
    begin: where its first mark stands.
    marks: that begin its turns.
    names: the role that each of them means.
    problem: why it cannot be read, or None.
    end: the format's own end of a turn, as a pattern.
    is_of_tokens: whether tokens mark its turns, and not words.
  """

  begin: int
  marks: Sequence[Mark]
  names: Sequence[str]
  problem: records.Reject | None = None
  end: str = ""
  is_of_tokens: bool = False


def bare(text: str) -> str:
  """A text without space around it, and without the tokens of formats.

  >>> bare("\\n4</s><|endoftext|> ")
  '4'
  """
  return _cut(text, _SPACE.match(text).end(), _LAST)


def answer(text: str, end: str) -> str:
  r"""An answer without space around it, and without what ends it.

  Args:
    text: `</s>` ends it only where it has no `<s>`, which is HTML.
    end: pattern of `Reading.end`.

  >>> answer(" 4<|im_end|>\n", r"<\|im_end\|>"), answer("<s>5</s>", "")
  ('4', '<s>5</s>')
  """
  stops = (end, _STOP, "" if "<s>" in text else "</s>")
  last = re.compile(rf"(?:{'|'.join(filter(None, stops))})\Z")
  return _cut(text, len(text) - len(text.lstrip()), last)


def _cut(text: str, begin: int, last: re.Pattern[str]) -> str:
  """A text from `begin` on without space and tokens at its end."""
  end = len(text)
  while end > begin:
    tail = text[max(end - _TOKEN_CHARACTERS, begin) : end]
    token = last.search(tail)
    kept = tail[: token.start()] if token else tail.rstrip()
    if kept == tail:
      break
    end -= len(tail) - len(kept)
  return text[begin:end]


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


def find(pattern: re.Pattern[str], text: str) -> list[Mark]:
  """Where a pattern matches a text; its group that matches names the role.

  >>> [mark.name for mark in find(re.compile("(Q|A):"), "Q: 1 + 1? A: 2")]
  ['Q', 'A']
  """
  marks = []
  for match in pattern.finditer(text):
    name = next(group for group in match.groups() if group is not None)
    begin = match.start()
    before = text[max(begin - _TOKEN_CHARACTERS, 0) : begin].rstrip(" \t")
    follows_end = bool(_LAST.search(before.rstrip()))
    is_edge = before[-1:] in ("", "\n") or match[0][:1] == "\n" or follows_end
    marks.append(Mark(begin, match.end(), name.strip(), is_edge, follows_end))
  return marks


def readings(text: str, *, is_prompt: bool = False) -> list[Reading]:
  """What a text is by each style of tokens that it has.

  Args:
    text: a transcript, with turns of the user and of the assistant.
    is_prompt: whether it needs no turn of the assistant.

  >>> readings("<|user|>1 + 1?<|end|><|assistant|>2")[0].names
  ['user', 'assistant']
  """
  tried = [_reading(text, style, is_prompt) for style in _TOKENS]
  return [reading for reading in tried if reading]


def _reading(text: str, style: _Style, is_prompt: bool) -> Reading | None:
  marks = find(style.mark, text) if style.sign in text else []
  if not marks or (bare(text[: marks[0].begin]) and not style.has_preface):
    return None
  names = [mark.name for mark in marks]
  plain = [unread.plain_name(name.partition(" ")[0]) for name in names]
  roles = {messages.ROLES.get(TOKEN_ROLES.get(name, name)) for name in plain}
  if style.has_preface and marks[0].is_edge and bare(text[: marks[0].begin]):
    roles.add("user")
  if "user" not in roles or not (is_prompt or roles & {"assistant", None}):
    return None
  begin = marks[0].begin
  return Reading(begin, marks, names, end=style.end, is_of_tokens=True)
