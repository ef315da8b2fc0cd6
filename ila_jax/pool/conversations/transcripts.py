"""Transcripts: a whole conversation written down in one text.

Turns begin at marks. Marks of tokens (`<|im_start|>user`) are marks wherever
they stand, and name any role; marks of words (`USER:`) may be words of a text
too, and count where questions and answers alternate.
"""

import re

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import marks, messages, word_marks

_NAMED = re.compile(r"(\S+)\s+name\s*=\s*(\S+)")
_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)
_SYSTEM_WORD = re.compile(r"\A\s*(?:### ?)?(?:SYSTEM|System):\s*")


def _reading(text: str, *, is_prompt: bool = False) -> marks.Reading | None:
  """The reading whose first mark comes first."""
  readings = marks.readings(text, is_prompt=is_prompt)
  readings += word_marks.readings(text)
  return min(readings, key=lambda reading: reading.begin, default=None)


def is_one(text: str) -> bool:
  """Whether a text is a transcript, be it one that cannot be read.

  >>> is_one("\\n\\nHuman: 1 + 1?\\n\\nAssistant: 2"), is_one("Human: Hi")
  (True, False)
  """
  return _reading(text) is not None


def split(text: str) -> list[records.Turn] | None:
  r"""The turns of a transcript; None where a text is none.

  Known are ChatML, the formats of Llama, Gemma, Phi, Zephyr, Mistral, DeepSeek
  and Command R, `### Human:` and `### Assistant:` (also Alpaca's headings),
  `Human:` and `Assistant:` after blank lines or in lines, `<human>:` and
  `<bot>:`, `USER:` and `ASSISTANT:`. Space around a turn belongs to the format.
  Of several styles the one whose first mark comes first.

  Marks of words must alternate. A system text comes first, else its mark is a
  word of a text. If the marks that begin a line alternate, those within lines
  are words of a text.

  Raises:
    records.Reject: nobody knows a role, a text stands between turns, or marks
      of words do not alternate or do so in two ways.

  >>> turns = split("\n\nHuman: 1 + 1?\n\nAssistant: 2")
  >>> [(turn.role, turn.text) for turn in turns]
  [('user', '1 + 1?'), ('assistant', '2')]
  >>> split("Humans and their assistants")
  """
  reading = _reading(text)
  if reading is None:
    return None
  if reading.problem:
    raise reading.problem
  return _said(text, reading)


def _said(text: str, reading: marks.Reading) -> list[records.Turn]:
  preface = marks.bare(text[: reading.begin])
  turns = [records.Turn("system", preface)] if preface else []
  placed = reading.marks
  ends = [mark.begin for mark in placed[1:]] + [len(text)]
  for place, (mark, end) in enumerate(zip(placed, ends, strict=True)):
    said, name = text[mark.end : end], reading.names[place]
    said = marks.answer(said, reading.end)
    try:
      turns += _turns(said, name, is_first=place == 0)
    except records.Reject as reject:
      where = f"turn {place + 1} of {len(placed)}"
      raise records.Reject(
        reject.reason, f"{where}: {reject.detail}"
      ) from reject
    if name == "input":
      turns[-2:] = _with_input(turns[-2:])
  if preface and turns[1].role == "assistant":
    turns[0] = records.Turn("user", preface)  # HelpSteer2 leaves its mark out.
  if turns[-1].role == "user" and not turns[-1].text:
    turns.pop()  # The format's opening of a turn that nobody took.
  return turns


def asked(text: str) -> list[records.Turn]:
  r"""The turns of a prompt that asks for an answer by a mark at its end.

  Where tokens mark the turns, it may also end with the user's.

  Returns:
    No turns for any other text, and where marks begin within a sentence.

  Raises:
    records.Reject: as `split`.

  >>> [turn.text for turn in asked("\n\nHuman: 1 + 1?\n\nAssistant:")]
  ['1 + 1?']
  """
  reading = _reading(text, is_prompt=True)
  if reading is None or reading.problem or not _is_begun(text, reading):
    return []
  if marks.bare(text[reading.marks[-1].end :]):
    return _asked_by_user(text, reading) if reading.is_of_tokens else []
  turns = _said(text, reading)
  return turns[:-1] if turns and turns[-1].role == "assistant" else []


def _is_begun(text: str, reading: marks.Reading) -> bool:
  """Whether marks begin a line, or words follow a sentence, as in Vicuna."""
  is_told = text[: reading.begin].rstrip().endswith((".", "!", "。"))
  return reading.marks[0].is_edge or (is_told and not reading.is_of_tokens)


def _asked_by_user(text: str, reading: marks.Reading) -> list[records.Turn]:
  """The turns of a prompt that ends with the user's; none if it quotes some."""
  try:
    turns = _said(text, reading)
  except records.Reject:
    return []
  # A text before the marks may be a question about them.
  is_sure = turns[0].role == "user" or not marks.bare(text[: reading.begin])
  return turns if turns[-1].role == "user" and is_sure else []


def answer(text: str, said: str) -> str:
  r"""The answer that continues a transcript, without its end-of-turn token.

  Args:
    text: the transcript.
    said: the answer, as a format writes it.

  >>> answer("[INST] 1 + 1? [/INST]", " 2</s>")
  '2'
  """
  reading = _reading(text, is_prompt=True)
  return marks.answer(said, reading.end) if reading else said


def unmarked(turn: records.Turn) -> records.Turn:
  """A system text beside a transcript, without the mark that it may have.

  >>> unmarked(records.Turn("system", "SYSTEM: Be brief.")).text
  'Be brief.'
  """
  if turn.role != "system":
    return turn
  return turn._replace(text=_SYSTEM_WORD.sub("", turn.text))


def _with_input(turns: list[records.Turn]) -> list[records.Turn]:
  """Alpaca's input joins its instruction."""
  if len(turns) < 2 or turns[0].role != "user":
    return turns
  question, more = turns
  joined = "\n\n".join(filter(None, (question.text, more.text)))
  return [records.Turn("user", joined)]


def _turns(said: str, name: str, *, is_first: bool) -> list[records.Turn]:
  """The turn of one mark; before it the system text that Llama 2 puts in it."""
  if word := marks.unknown(said):
    raise records.Reject("unknown role", repr(word))
  if end := marks.END.search(said):
    beyond = marks.bare(said[end.end() :])
    if beyond:
      raise records.Reject("text between turns", repr(beyond[:80]))
  given = _NAMED.fullmatch(name)
  turns = []
  plain = unread.plain_name(given[1] if given else name)
  if plain == "inst" and is_first and (system := _SYSTEM.match(said)):
    turns.append(records.Turn("system", system[1].strip()))
    said = said[system.end() :]
  plain = "user" if plain == "input" else marks.TOKEN_ROLES.get(plain, plain)
  if plain not in messages.ROLES:
    raise records.Reject("unknown role", repr(name)[:80])
  turn = messages.turn_of(plain, marks.bare(said))
  if given and turn.role == "tool":
    turn = turn._replace(name=given[2])
  return [*turns, turn]
