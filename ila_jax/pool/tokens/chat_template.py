"""From turns to text, and which of it is response (docs/method.md 3).

The text is the tokenizer's chat template, or Alpaca's where there is none.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ila_jax.pool import records
from ila_jax.pool.tokens import chat, messages

ALPACA_PREFACE = (
  "Below is an instruction that describes a task. "
  "Write a response that appropriately completes the request."
)
_ALPACA_HEADINGS = {
  "system": "",
  "user": "### Instruction:\n",
  "assistant": "### Response:\n",
}
# A thought that begins a text. A template may open it in the prompt; then its
# end has a line of its own in the text, else it is a word of the text.
_THOUGHT = re.compile(
  r"\s*<think>(.*?)</think>|((?:(?!<think>).)*?)^[ \t]*</think>[ \t]*$",
  re.DOTALL | re.MULTILINE,
)


def render(
  turns: Sequence[records.Turn], tokenizer: Any
) -> tuple[str, list[tuple[int, int]]]:
  r"""The text of a conversation, and where the model's own part stands.

  With a chat template, an assistant turn begins where the template ends when
  it asks for that turn (`add_generation_prompt`); if it then opens a thought
  that is not in the text, before that. The part is the answer as the template
  shows it, with its thought and its calls, and the token that ends the turn;
  not what the template puts around them, be it a newline after that token or
  an empty thought before the answer.

  Parts are the answers that are learnt. One before the last must stand whole,
  and after what the template shows when it asks for it: an answer whose thought
  the template drops later on is no part.

  Without one, Alpaca's format for any number of turns: a preface (the system
  turn instead, where there is one), `### Instruction:` and `### Response:`,
  all in one text with Alpaca's input after its instruction; it begins with the
  tokenizer's BOS and ends each answer with its EOS, where it has them.

  What cannot be shown so stands in the text as `messages.adapt` says.
  Control tokens that a record's own text spells out count as such, as they do
  in transformers.

  Args:
    turns: of one conversation, with an assistant turn after another.
    tokenizer: from `tokenizer.load_tokenizer`.

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
  adapted = [turn for _, turn in messages.adapt(turns, messages.PLAIN)]
  # A blank system turn says nothing: it is as if absent.
  adapted = [t for t in adapted if t.role != "system" or t.text.strip()]
  if adapted[0].role != "system":
    text += ALPACA_PREFACE + "\n\n"
  for turn in adapted:
    text += _ALPACA_HEADINGS[turn.role]
    begin = len(text)
    text += turn.text
    if turn.role == "assistant":
      text += tokenizer.eos_token or ""
      # What opens a conversation answers nothing.
      if turn.is_learnt and turn is not adapted[0]:
        spans.append((begin, len(text)))
    text += "\n\n"
  return text.removesuffix("\n\n"), spans


def _render_chat(
  turns: Sequence[records.Turn], tokenizer: Any
) -> tuple[str, list[tuple[int, int]]]:
  template, style = chat.choose(tokenizer, with_tools=turns[0].role == "tools")
  adapted = messages.adapt(turns, style.able)
  said, tools = messages.make([turn for _, turn in adapted], style.able)
  spoken = [
    (turn, records.where(turns, place - 1))
    for place, turn in adapted
    if turn.role != "tools"
  ]

  def apply(part: list[dict[str, Any]], ask: bool = False) -> str:
    return chat.apply(tokenizer, template, part, tools, ask=ask)

  try:
    text = apply(said)
  except records.Reject as error:
    detail = f"{spoken[_refused(apply, said)][1]}: {error.detail}"
    raise records.Reject(error.reason, detail) from error
  shape = tuple(
    (turn.role, bool(turn.text.strip()), bool(turn.calls)) for turn, _ in spoken
  )
  for place in chat.dropped(tokenizer, template, style.able, shape):
    if spoken[place][0].role != "assistant":
      raise records.Reject("chat template drops a turn", spoken[place][1])
  for tool in tools or ():
    if tool["function"]["name"] not in text:
      raise records.Reject("chat template drops a turn", "the tools")
  return text, _spans(text, spoken, said, style, apply)


def _refused(apply: Callable[..., str], said: list[dict[str, Any]]) -> int:
  """The turn at which the template refuses."""
  for place in range(len(said) - 1, 0, -1):
    try:
      apply(said[:place])
    except records.Reject:
      continue
    return place
  return 0


class _Part(NamedTuple):
  """Where an answer stands.

  Attributes:
    begin: of what the model must produce.
    end: one past the token that ends the turn.
    is_whole: whether its thought is there too, if it has one.
    is_after_text: whether the template put text of its own before it.
  """

  begin: int
  end: int
  is_whole: bool = True
  is_after_text: bool = False


def _spans(
  text: str,
  spoken: Sequence[tuple[records.Turn, str]],
  said: list[dict[str, Any]],
  style: chat.Style,
  apply: Callable[..., str],
) -> list[tuple[int, int]]:
  """Finds every turn in the text, in order; returns the parts."""
  answers = [turn.role == "assistant" for turn, _ in spoken]
  begins = [
    _begin(text, said[:place], style, apply) if is_answer else None
    for place, is_answer in enumerate(answers)
  ]
  parts: dict[int, _Part] = {}
  at = 0
  for place, (turn, where) in enumerate(spoken):
    later = (b for b in begins[place + answers[place] :] if b is not None)
    limit = next(later, len(text))
    if not answers[place]:
      at = _find_text(text, turn.text.strip(), at, limit, where)
      continue
    if not (turn.is_learnt or turn.text.strip() or turn.calls):
      continue  # It says nothing, and nobody asks where.
    part = _find_answer(text, begins[place], at, limit, turn, style)
    if part is None:
      raise records.Reject("chat template rewrites or drops an answer", where)
    at = part.end
    if turn.is_learnt:
      parts[place] = part
  if not parts:
    return []
  last = max(parts)
  if not parts[last].is_whole:
    raise records.Reject("chat template drops a thought", spoken[last][1])
  if begins[last] is None:
    if not last:
      raise records.Reject("no prompt before the first response")
    raise records.Reject(
      "chat template changes what stands before an answer", spoken[last][1]
    )
  return [
    (_with_space(part, text, said, place, apply), part.end)
    for place, part in parts.items()
    if place == last or (part.is_whole and begins[place] is not None)
  ]


def _begin(
  text: str,
  before: list[dict[str, Any]],
  style: chat.Style,
  apply: Callable[..., str],
) -> int | None:
  """Where the model begins; None if it is asked with another text before."""
  try:
    asked = apply(before, ask=True) if before else None
  except records.Reject:
    asked = None
  if asked is None:
    return None
  opened = asked.rstrip() if style.opening.strip() else asked
  for prompt in (asked, opened, asked.removesuffix(style.opening)):
    if text.startswith(prompt):
      return len(prompt)
  return None


def _find_text(text: str, core: str, at: int, limit: int, where: str) -> int:
  # Llama 3.1 shows what a tool answers as JSON.
  for shown in (core, json.dumps(core, ensure_ascii=False)[1:-1]):
    begin = text.find(shown, at, limit)
    if begin >= 0:
      return begin + len(shown)
  raise records.Reject("chat template drops a turn", where)


def _find_answer(
  text: str,
  begin: int | None,
  at: int,
  limit: int,
  turn: records.Turn,
  style: chat.Style,
) -> _Part | None:
  """The answer with its thought and calls, between begin (or at) and limit."""
  first = at if begin is None else begin
  thought, said = turn.thought, turn.text
  find = _find_calls if turn.calls else _find_closed
  place = find(text, turn, first, limit, style)
  if place is None and not thought and (inline := _THOUGHT.match(said)):
    # The template takes the thought out of the text, and nothing else.
    thought, said = inline[1] or inline[2] or "", said[inline.end() :]
    place = find(text, turn._replace(text=said), first, limit, style)
  if place is None:
    return None
  at, end = place
  if begin is None:
    return _Part(at, end)
  inserted = text[begin:at]
  shown = thought.strip() in inserted
  if thought.strip() and shown:
    return _Part(begin, end)
  # Space that the model must produce before its answer is its own, and so is
  # the begin of a thought that has only its end in the text.
  if inserted.strip() in ("", "<think>"):
    return _Part(begin, end, is_whole=shown)
  # Beyond another end of turn, somebody else says the same.
  if style.closing and style.closing not in inserted:
    return _Part(at, end, is_whole=shown, is_after_text=True)
  return None


def _find_closed(
  text: str, turn: records.Turn, begin: int, limit: int, style: chat.Style
) -> tuple[int, int] | None:
  """Where an answer begins and its turn ends; the first that is so closed."""
  core = turn.text.strip()
  closing = re.compile(rf"\s*{re.escape(style.closing)}")
  at = text.find(core, begin, limit)
  while at >= 0:
    end = at + len(core)
    if not style.closing:
      space = turn.text[len(turn.text.rstrip()) :]
      return at, end + (len(space) if text.startswith(space, end) else 0)
    if match := closing.match(text, end, limit):
      return at, match.end()
    at = text.find(core, at + 1, limit)
  return None


def _find_calls(
  text: str, turn: records.Turn, begin: int, limit: int, style: chat.Style
) -> tuple[int, int] | None:
  """The same for an answer that calls tools after its text, if it has one."""
  core = turn.text.strip()
  if not core and text.startswith(style.filler, begin):
    begin += len(style.filler)
  at = end = text.find(core, begin, limit)
  for call in messages.calls(turn.calls, style.able.calls):
    end = text.find(call["function"]["name"], end, limit) if end >= 0 else -1
  # A call may spell out the token that ends it.
  for _ in range(turn.calls.count(style.call_closing) + 1):
    end = text.find(style.call_closing, end, limit) if end >= 0 else -1
    end += len(style.call_closing) if end >= 0 else 0
  return None if end < 0 else (at, end)


def _with_space(
  part: _Part,
  text: str,
  said: list[dict[str, Any]],
  place: int,
  apply: Callable[..., str],
) -> int:
  """Where a part begins, with what the template keeps of its own space."""
  content = said[place]["content"]
  bare = content.lstrip()
  if not part.is_after_text or bare == content:
    return part.begin
  others = list(said)
  others[place] = said[place] | {"content": bare}
  kept = len(text) - len(apply(others))
  return part.begin - min(max(kept, 0), len(content) - len(bare))
