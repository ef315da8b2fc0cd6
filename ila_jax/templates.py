"""From turns to text, and which of it is response (Section 2.1).

The text is the tokenizer's chat template, or Alpaca's where there is none.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any

import jinja2

from ila_jax import errors, records

ALPACA_PREFACE = (
  "Below is an instruction that describes a task. "
  "Write a response that appropriately completes the request."
)
_ALPACA_HEADINGS = {
  "system": "",
  "user": "### Instruction:\n",
  "assistant": "### Response:\n",
}
# Some chat templates print today's date; a score must not depend on the day.
# It is 26 July 2024, as where the templates of Llama 3 have no clock. The line
# ends with the block's newline, which Jinja drops.
_FIXED_DATE = (
  "{%- macro strftime_now(format) -%}{{ format | replace('%d', '26')"
  " | replace('%m', '07') | replace('%b', 'Jul') | replace('%B', 'July')"
  " | replace('%y', '24') | replace('%Y', '2024') }}{%- endmacro %}\n"
)
_PROBE = "PROBE"


def render(
  turns: Sequence[records.Turn], tokenizer: Any
) -> tuple[str, list[tuple[int, int]]]:
  r"""The text of a conversation, and where the model's own part stands.

  With a chat template, an assistant turn begins where the template ends when
  it asks for that turn (`add_generation_prompt`), and the turns before it must
  be rendered the same with and without it. The part is the answer as the
  template shows it and the token that ends the turn; not what the template
  puts around them, be it a newline after that token or an empty thought
  before the answer.

  Without one, Alpaca's format for any number of turns: a preface (the system
  turn instead, where there is one), `### Instruction:` and `### Response:`,
  all in one text with Alpaca's input after its instruction; it begins with the
  tokenizer's BOS and ends each answer with its EOS, where it has them.

  Control tokens that a record's own text spells out count as such, as they do
  in transformers.

  Args:
    turns: of one conversation, with an assistant turn after another.
    tokenizer: from `tokens.load_tokenizer`.

  Returns:
    The text, and the first and one past the last character of each part.

  Raises:
    records.Reject: the template refuses, rewrites or drops a turn.
    errors.InputError: the template cannot render any conversation.

  >>> import types
  >>> plain = types.SimpleNamespace(
  ...   chat_template=None, bos_token=None, eos_token="</s>")
  >>> text, spans = render(
  ...   [records.Turn("user", "1 + 1?"), records.Turn("assistant", "2")], plain)
  >>> text[-20:], [text[begin:end] for begin, end in spans]
  ('\n### Response:\n2</s>', ['2</s>'])
  """
  if tokenizer.chat_template:
    return _render_chat(turns, tokenizer)
  return _render_alpaca(turns, tokenizer)


def _render_alpaca(
  turns: Sequence[records.Turn], tokenizer: Any
) -> tuple[str, list[tuple[int, int]]]:
  text, spans = tokenizer.bos_token or "", []
  if turns[0].role != "system":
    text += ALPACA_PREFACE + "\n\n"
  for turn in turns:
    text += _ALPACA_HEADINGS[turn.role]
    begin = len(text)
    text += turn.text
    if turn.role == "assistant":
      text += tokenizer.eos_token or ""
      spans.append((begin, len(text)))
    text += "\n\n"
  return text.removesuffix("\n\n"), spans


def _render_chat(
  turns: Sequence[records.Turn], tokenizer: Any
) -> tuple[str, list[tuple[int, int]]]:
  template = tokenizer.get_chat_template()
  if "strftime_now" in template:
    template = _FIXED_DATE + template
  closing = _closing(tokenizer, template)
  messages = [{"role": turn.role, "content": turn.text} for turn in turns]
  text = _apply(tokenizer, template, messages)
  answers = [i for i, turn in enumerate(turns) if turn.role == "assistant"]
  begins = []
  for i in answers:
    before = _apply(tokenizer, template, messages[:i], ask=True)
    if not text.startswith(before):
      raise records.Reject(
        "chat template changes what stands before an answer", f"turn {i + 1}"
      )
    begins.append(len(before))
  ends = [*begins[1:], len(text)]
  spans = [
    _find_answer(text, begin, end, turns[i].text, closing)
    for i, begin, end in zip(answers, begins, ends, strict=True)
  ]
  return text, spans


def _apply(
  tokenizer: Any,
  template: str,
  messages: list[dict[str, str]],
  ask: bool = False,
) -> str:
  if not messages:
    raise records.Reject("no prompt before the first response")
  try:
    return tokenizer.apply_chat_template(
      messages,
      chat_template=template,
      tokenize=False,
      add_generation_prompt=ask,
    )
  except jinja2.TemplateError as error:
    raise records.Reject("chat template refuses", str(error)) from error


@functools.lru_cache(maxsize=8)
def _closing(tokenizer: Any, template: str) -> str:
  """What follows an answer up to and with the end-of-turn token, or ""."""
  pair = [
    {"role": "user", "content": "question"},
    {"role": "assistant", "content": _PROBE},
  ]
  try:
    _, found, after = _apply(tokenizer, template, pair).rpartition(_PROBE)
  except records.Reject as error:
    found, after = "", error.detail
  if not found:
    raise errors.InputError(
      f"the chat template of {tokenizer.name_or_path!r} does not render a "
      f"question and its answer ({after}); give a tokenizer with another "
      "chat template, or with none."
    )
  control = "|".join(
    re.escape(token)
    for token in sorted(control_tokens(tokenizer), key=len, reverse=True)
  )
  match = re.match(rf"\s*(?:{control})", after) if control else None
  return match.group() if match else ""


def control_tokens(tokenizer: Any) -> set[str]:
  """The tokens of a tokenizer that are no text: special and added ones."""
  return {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}


def _find_answer(
  text: str, begin: int, end: int, answer: str, closing: str
) -> tuple[int, int]:
  """The span of an answer and its closing within what answers the prompt."""
  variants = (answer, answer.rstrip(), answer.lstrip(), answer.strip())
  places = [(text.find(v + closing, begin, end), -len(v)) for v in variants]
  places = [place for place in places if place[0] >= 0]
  if places:
    at, minus_size = min(places)
    stop = at - minus_size + len(closing)
    inserted = text[begin:at]
    # Space that the model must produce before its answer is its own.
    if not inserted.strip():
      return begin, stop
    # Beyond another end of turn, somebody else says the same.
    if closing and closing not in inserted:
      return at, stop
  raise records.Reject("chat template rewrites or drops an answer")
