"""Chat templates: which a tokenizer has, what it shows, what it writes.

What a template does is learnt by rendering words that stand nowhere else.
"""

import functools
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jinja2

from ila_jax import errors
from ila_jax.pool import records
from ila_jax.pool.tokens import messages, sandbox

# Some chat templates print today's date; a score must not depend on the day.
# It is midnight of 26 July 2024, the day that the templates of Llama 3 have
# where there is no clock, in English wherever the run is.
_DATE = {
  **{"%c": "%a %b %e %X %Y", "%D": "%m/%d/%y", "%x": "%m/%d/%y"},
  **{"%F": "%Y-%m-%d", "%r": "%I:%M:%S %p", "%R": "%H:%M"},
  **{"%T": "%H:%M:%S", "%X": "%H:%M:%S", "%h": "%b"},
  **{"%a": "Fri", "%A": "Friday", "%b": "Jul", "%B": "July", "%C": "20"},
  **{"%-d": "26", "%d": "26", "%e": "26", "%-m": "7", "%m": "07"},
  **{"%-y": "24", "%y": "24", "%Y": "2024", "%g": "24", "%G": "2024"},
  **{"%-H": "0", "%H": "00", "%k": " 0", "%-I": "12", "%I": "12", "%l": "12"},
  **{"%-M": "0", "%M": "00", "%-S": "0", "%S": "00", "%f": "000000"},
  **{"%p": "AM", "%P": "am", "%z": "+0000", "%Z": "UTC", "%s": "1721952000"},
  **{"%-j": "208", "%j": "208", "%u": "5", "%w": "5", "%U": "29", "%W": "30"},
  **{"%V": "30", "%n": "\n", "%t": "\t", "%%": "%"},
}
# The line ends with the block's newline, which Jinja drops.
_FIXED_DATE = (
  "{%- macro strftime_now(format) -%}{{ format"
  + "".join(f" | replace({c!r}, {v!r})" for c, v in _DATE.items())
  + " }}{%- endmacro %}\n"
)
_ASKED, _ANSWER = "QUESTION", "PROBE"
_PAIR = [records.Turn("user", _ASKED), records.Turn("assistant", _ANSWER)]
_TOOLS = records.Turn(
  "tools",
  '[{"type": "function", "function": {"name": "TOOL", "description": "Adds.", '
  '"parameters": {"type": "object", "properties": {}}}}]',
)
# Mistral's templates want ids of nine letters and digits.
_CALL = records.Turn(
  "assistant",
  "",
  calls='[{"id": "call00001", "type": "function", "function": {"name": "CALL",'
  ' "arguments": {"KEY": "VALUE"}}}]',
)
_REPLY = records.Turn("tool", "REPLY", call_id="call00001", name="CALL")


class Style(NamedTuple):
  """What a chat template shows, and how it ends a turn.

  Attributes:
    able: what it shows; the rest becomes text.
    closing: what follows an answer up to and with the end-of-turn token, or "".
    call_closing: the token that ends a turn of calls.
    opening: what it says for the model where it asks for an answer and not
      where the answer stands, such as the begin of a thought.
    filler: what it puts before the last answer, such as an empty thought.
  """

  able: messages.Abilities
  closing: str
  call_closing: str
  opening: str
  filler: str


def control_tokens(tokenizer: Any) -> set[str]:
  """The tokens of a tokenizer that are no text: special and added ones."""
  return {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}


def check(tokenizer: Any) -> None:
  """Refuses a chat template that cannot render a question and its answer.

  Args:
    tokenizer: of transformers, with a chat template or without.

  Raises:
    errors.InputError: the template is no Jinja, has no default, loops or grows
      without end, or refuses or drops a question or its answer.

  >>> import types
  >>> check(types.SimpleNamespace(chat_template=None))
  """
  if not tokenizer.chat_template:
    return
  for with_tools in (False, True):
    template = _template(tokenizer, with_tools)
    sandbox.check(template, str(tokenizer.name_or_path))
  choose(tokenizer, with_tools=False)


def choose(tokenizer: Any, *, with_tools: bool) -> tuple[str, Style]:
  """The template for a conversation with tools or without, and its style.

  Raises:
    errors.InputError: as `check`.
  """
  plain = _template(tokenizer, False)
  template = _template(tokenizer, True) if with_tools else plain
  if template != plain:
    # One for tools that does not show a conversation is of no use.
    try:
      return template, _style(tokenizer, template, for_tools=True)
    except errors.InputError:
      pass
  return plain, _style(tokenizer, plain)


def _template(tokenizer: Any, with_tools: bool) -> str:
  try:
    template = tokenizer.get_chat_template(tools=[] if with_tools else None)
  except ValueError as error:
    raise errors.InputError(
      f"the tokenizer of {tokenizer.name_or_path!r} has chat templates of the "
      f"names {', '.join(sorted(tokenizer.chat_template))}, and none of the "
      "name default. Name one of them default in its tokenizer_config.json."
    ) from error
  if not isinstance(template, str):
    raise errors.InputError(
      f"the chat_template of the tokenizer of {tokenizer.name_or_path!r} is "
      f"{template!r}; allowed: a text, a Jinja template. Correct its "
      "tokenizer_config.json, or take chat_template out of it."
    )
  if "strftime_now" in template:
    template = _FIXED_DATE + template
  return template


def apply(
  tokenizer: Any,
  template: str,
  said: list[dict[str, Any]],
  tools: list[dict[str, Any]] | None = None,
  *,
  ask: bool = False,
) -> str:
  """One rendering, of bounded length.

  Args:
    tokenizer: its special tokens are known to the template.
    template: Jinja source.
    said: messages, one at least.
    tools: that may be called, if the template shows them.
    ask: whether it is to end where an assistant's turn begins.

  Raises:
    records.Reject: the template refuses, or writes too much.
  """
  try:
    text = tokenizer.apply_chat_template(
      said,
      tools=tools,
      chat_template=template,
      tokenize=False,
      add_generation_prompt=ask,
    )
  # A template may raise anything, a TypeError at its own mistakes too.
  except Exception as error:
    detail = str(error)
    if not isinstance(error, jinja2.TemplateError):
      detail = f"{type(error).__name__}: {detail}"
    raise records.Reject("chat template refuses", detail) from error
  most = sandbox.LEAST_CHARACTERS
  if len(text) > most and len(text) > sandbox.most_characters(said, tools):
    raise records.Reject(
      "chat template writes too much", f"{len(text)} characters"
    )
  return text


@functools.lru_cache(maxsize=16)
def _style(tokenizer: Any, template: str, for_tools: bool = False) -> Style:
  def show(
    turns: Sequence[records.Turn],
    able: messages.Abilities = messages.PLAIN,
    ask: bool = False,
  ) -> str:
    """A rendering; "" where the template refuses."""
    said, tools = messages.make(turns, able)
    if for_tools and not tools:
      tools = messages.tools(_TOOLS.text)
    try:
      return apply(tokenizer, template, said, tools, ask=ask)
    except records.Reject as error:
      refused.append(error.detail)
      return ""

  refused: list[str] = []
  text = show(_PAIR)
  if _ASKED not in text or _ANSWER not in text:
    reason = refused[0][:200] if refused else "one of them is not there"
    raise errors.InputError(
      f"the chat template of {tokenizer.name_or_path!r} does not render a "
      f"question and its answer ({reason}); give a tokenizer with another chat "
      "template, or with none."
    )
  control = "|".join(
    re.escape(token)
    for token in sorted(control_tokens(tokenizer), key=len, reverse=True)
  )
  after = text.rpartition(_ANSWER)[2]
  match = re.match(rf"\s*(?:{control})", after) if control else None
  closing = match.group() if match else ""
  asked = show(_PAIR[:1], ask=True)
  filler = ""
  if asked and text.startswith(asked):
    filler = text[len(asked) : text.rindex(_ANSWER)]
  calls, call_closing = _calls(show, control, closing.strip())
  return Style(
    able=_abilities(show, calls),
    closing=closing,
    call_closing=call_closing,
    opening=_opening(show),
    filler=filler,
  )


def _opening(show: Callable[..., str]) -> str:
  longest = ""
  # A template may treat the last answer and those before it differently.
  for turns in (_PAIR, _PAIR * 2):
    asked, text = show(turns[:1], ask=True), show(turns)
    same = (a == b for a, b in zip(asked, text, strict=False))
    rest = asked[sum(itertools.takewhile(bool, same)) :]
    if _ASKED not in rest:
      longest = max(longest, rest, key=len)
  return longest


def _calls(
  show: Callable[..., str], control: str, closing: str
) -> tuple[str, str]:
  """The form of arguments that a template shows, and what ends the turn."""
  for arguments in ("mapping", "text"):
    able = messages.PLAIN._replace(calls=arguments)
    text = show([_PAIR[0], _CALL], able)
    last = max(text.rfind(word) for word in ("CALL", "KEY", "VALUE"))
    ends = re.findall(control, text[last:]) if control else []
    # Python's own way to print a mapping is no JSON.
    whole = all(word in text for word in ("CALL", "KEY", "VALUE"))
    if whole and ends and "{'KEY'" not in text:
      return arguments, closing if closing in ends else ends[-1]
  return "", ""


def _abilities(show: Callable[..., str], calls: str) -> messages.Abilities:
  plain = messages.PLAIN
  user, answer = _PAIR
  thinking = answer._replace(thought="THOUGHT")
  calling = _CALL if calls else answer
  able = plain._replace(calls=calls, tool=True)
  return messages.Abilities(
    system="SYSTEM" in show([records.Turn("system", "SYSTEM"), *_PAIR]),
    tools="TOOL" in show([_TOOLS, *_PAIR], plain._replace(tools=True)),
    tool="REPLY" in show([user, calling, _REPLY, answer], able),
    thought="THOUGHT" in show([user, thinking], plain._replace(thought=True)),
    calls=calls,
  )


@functools.lru_cache(maxsize=4096)
def dropped(
  tokenizer: Any,
  template: str,
  able: messages.Abilities,
  shape: tuple[tuple[str, bool, bool], ...],
) -> tuple[int, ...]:
  """Which turns of a shape the template leaves out or moves.

  Args:
    tokenizer: as in `apply`.
    template: Jinja source.
    able: what it shows.
    shape: role of each turn, whether it says anything, whether it calls tools.

  Returns:
    Their places, from 0; none where the template refuses the words that stand
    for the turns.
  """
  words = [f"WORD{i}Q" if says else "" for i, (_, says, _) in enumerate(shape)]
  turns = [
    (_REPLY if role == "tool" else records.Turn(role, "")) for role, *_ in shape
  ]
  turns = [
    turn._replace(text=word, calls=_CALL.calls if calls else "")
    for turn, (_, _, calls), word in zip(turns, shape, words, strict=True)
  ]
  try:
    text = apply(tokenizer, template, *messages.make(turns, able))
  except records.Reject:
    return ()
  missing, at = [], 0
  for place, word in enumerate(words):
    begin = text.find(word, at)
    if begin < 0:
      missing.append(place)
    else:
      at = begin + len(word)
  return tuple(missing)
