"""Transcripts: a whole conversation written down in one text."""

import re
from typing import NamedTuple

from ila_jax import records


class _Style(NamedTuple):
  """How a transcript marks its turns.

  Attributes:
    marker: what begins a turn; group 1 names its role.
    roles: the roles by that name, in lower case.
    noise: tokens around turns that are nobody's text.
    has_preface: whether a text before the first turn is a system text.
  """

  marker: re.Pattern[str]
  roles: dict[str, str]
  noise: re.Pattern[str]
  has_preface: bool = False


_PLAIN = {
  "system": "system",
  "human": "user",
  "user": "user",
  "instruction": "user",
  "input": "input",
  "assistant": "assistant",
  "gpt": "assistant",
  "bot": "assistant",
  "response": "assistant",
  "output": "assistant",
  "tool": "tool",
  "ipython": "tool",
}
_ENDS = re.compile(r"</?s>|<\|end_?of_?text\|>|<\|begin_of_text\|>")
_STYLES = (
  _Style(  # ChatML
    re.compile(r"<\|im_start\|>(system|user|assistant|tool)\n"),
    _PLAIN,
    re.compile(r"<\|im_end\|>|<\|endoftext\|>|</?s>"),
  ),
  _Style(  # Llama 3
    re.compile(
      r"<\|start_header_id\|>(system|user|assistant|tool|ipython)"
      r"<\|end_header_id\|>"
    ),
    _PLAIN,
    re.compile(r"<\|eot_id\|>|<\|begin_of_text\|>|<\|end_of_text\|>"),
  ),
  _Style(  # Llama 2
    re.compile(r"(\[/?INST\])"),
    {"[inst]": "user", "[/inst]": "assistant"},
    _ENDS,
  ),
  _Style(  # Guanaco and Alpaca
    re.compile(
      r"### ?(Human|User|Instruction|Input|Assistant|Response|Output|System):"
    ),
    _PLAIN,
    _ENDS,
    has_preface=True,
  ),
  _Style(  # Anthropic
    re.compile(r"(?:^|\n\n)(Human|Assistant|System):"), _PLAIN, _ENDS
  ),
  _Style(  # OpenChatKit
    re.compile(r"<(human|user|bot|assistant)>:"), _PLAIN, _ENDS
  ),
  _Style(  # Vicuna
    re.compile(r"(?:^|\s|</s>)(USER|ASSISTANT|SYSTEM):"),
    _PLAIN,
    _ENDS,
    has_preface=True,
  ),
)
_SYSTEM = re.compile(r"<<SYS>>(.*?)<</SYS>>", re.DOTALL)


def split(text: str) -> list[records.Turn] | None:
  r"""The turns of a transcript; None where a text is none.

  Known are ChatML, the formats of Llama 2 and 3, `### Human:` and
  `### Assistant:` (also Alpaca's headings), `Human:` and `Assistant:` after
  blank lines, `<human>:` and `<bot>:`, `USER:` and `ASSISTANT:`. Space around
  a turn belongs to the format.

  >>> turns = split("\n\nHuman: 1 + 1?\n\nAssistant: 2")
  >>> [(turn.role, turn.text) for turn in turns]
  [('user', '1 + 1?'), ('assistant', '2')]
  >>> split("Humans and their assistants")
  """
  for style in _STYLES:
    turns = _split(text, style)
    if turns:
      return turns
  return None


def _split(text: str, style: _Style) -> list[records.Turn] | None:
  marks = list(style.marker.finditer(text))
  if not marks:
    return None
  preface = style.noise.sub("", text[: marks[0].start()]).strip()
  if preface and not style.has_preface:
    return None
  turns = [records.Turn("system", preface)] if preface else []
  ends = [mark.start() for mark in marks[1:]] + [len(text)]
  for mark, end in zip(marks, ends, strict=True):
    role = style.roles[mark[1].lower()]
    said = style.noise.sub("", text[mark.end() : end]).strip()
    if system := _SYSTEM.search(said):
      turns.append(records.Turn("system", system[1].strip()))
      said = said.replace(system[0], "").strip()
    if role == "input" and turns and turns[-1].role == "user":
      turns[-1] = records.Turn("user", f"{turns[-1].text}\n\n{said}")
    else:
      turns.append(records.Turn("user" if role == "input" else role, said))
  if turns[-1].role == "user" and not turns[-1].text:
    turns.pop()  # The format's opening of a turn that nobody took.
  asked = [turn.role for turn in turns if turn.role != "system"]
  if asked[:1] != ["user"] or "assistant" not in asked:
    return None
  return turns
