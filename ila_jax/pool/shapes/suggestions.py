"""Suggestions: what an unreadable record seems to be, in words."""

import re
import shlex
from collections.abc import Sequence

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import dialogues
from ila_jax.pool.shapes import fields
from ila_jax.pool.sources import json_text

# Words in the names of fields that are neither prompt nor response.
_NO_SIDES = frozenset(
  (
    *("role", "from", "speaker", "sender", "author", "user", "id", "key"),
    *("type", "kind", "category", "class", "label", "topic", "subject", "tag"),
    *("title", "name", "node", "source", "status", "level", "difficulty"),
    *("context", "passage", "document", "article", "paragraph", "rejected"),
    *("cot", "thought", "thoughts", "thinking", "reasoning", "rationale"),
    *("explanation", "knowledge", "critique", "feedback", "score", "final"),
    *("worker", "annotator", "batch", "dataset", "domain", "split", "prefix"),
  )
)
# ... that are no response, and no prompt.
_QUESTIONS = frozenset(
  (
    *("question", "query", "prompt", "instruction", "input", "problem", "q"),
    *("sentence", "stem", "task", "request"),
  )
)
_ANSWERS = frozenset(
  ("answer", "response", "output", "completion", "reply", "solution")
)
# Words that say whose a question or an answer is.
_WHOSE = frozenset(("user", "final", "source", "subject"))
_NOT_RECORDS = (
  (re.compile(r"version https://git-lfs"), "a Git LFS pointer: `git lfs pull`"),
  (re.compile(r"\s*<(!doctype|html|\?xml)", re.IGNORECASE), "a web page"),
  (re.compile(r"\s*\{\s*'"), "a Python dict; JSON has double quotes"),
  (re.compile(r"\s*[\[{\]}],?\s*$"), "JSON over several lines"),
  (re.compile(r'\s*"[^"]*":.*'), "JSON over several lines"),
  (re.compile(r'[^{}\[\]",]*,'), "a line of CSV"),
  (re.compile(r"[^{}\[\]]*\t[^{}\[\]]*"), "a line of tab-separated values"),
)


def _words(name: str) -> set[str]:
  return {*unread.plain_name(name).split("_")}


def _may_be_a_pair(first: str, second: str) -> bool:
  """Whether two fields may be a prompt and a response, by their names."""
  one, other = map(unread.plain_name, (first, second))
  if one.rstrip("0123456789_") == other.rstrip("0123456789_"):
    return False  # Two answers, or two of anything else.
  if (_words(first) | _words(second)) & _NO_SIDES or _words(first) & _ANSWERS:
    return False
  return not _words(second) & _QUESTIONS and other != "answer_key"


def _sides(texts: Sequence[str]) -> list[str]:
  """The fields that may be a prompt and a response; [] where none may be.

  One field alone is named as a question and one as an answer, or there are no
  more than two of which neither is named as something else.
  """
  named = [
    (n, _words(n)) for n in texts if not (_words(n) - _WHOSE) & _NO_SIDES
  ]
  asked = [name for name, words in named if words & _QUESTIONS]
  answers = [name for name, words in named if words & _ANSWERS]
  if len(asked) == len(answers) == 1 and asked != answers:
    return [*asked, *answers]
  if len(texts) == 2 and _may_be_a_pair(*texts):
    return [*texts]
  return []


def looks_like(raw: str) -> str:
  """What a rejected record seems to be, in words.

  >>> looks_like('{"q": "1 + 1?", "a": "2", "id": 7}').partition(": ")[2]
  'perhaps --config.pool.fields.prompt=q --config.pool.fields.response=a'
  >>> looks_like("a,b,c")
  'a line of CSV'
  """
  record, _, problem = json_text.parse_line(
    json_text.Parser(), raw.encode(errors="replace")
  )
  if record is None:
    for pattern, what in _NOT_RECORDS:
      if pattern.match(raw):
        return what
    return f"no record: {problem[0]}, {problem[1]}"
  detected = None
  try:
    detected = fields.detect(record)
    if detected is not None:
      said = records.lookup(record, detected.conversation)
      turns = dialogues.read(said, unread.Notes())
      roles = ", ".join(turn.role for turn in turns)
      return f"a conversation of {roles or 'no turn'}"
  except records.Reject:
    return (
      f"a record with {detected}" if detected else "a text that is too long"
    )
  if {"parent_id", "role", "text"} <= record.keys():
    return "a row of a tree of messages: join the rows into conversations first"
  texts = [
    name
    for name, value in record.items()
    if isinstance(value, str) and value.strip() and not unread.is_ignored(name)
  ]
  if sides := _sides(texts):
    asked, answered = map(shlex.quote, sides)
    return (
      f"{'two' if len(texts) == 2 else 'several'} texts: perhaps "
      f"--config.pool.fields.prompt={asked} "
      f"--config.pool.fields.response={answered}"
    )
  kinds = {str: "text", list: "list", dict: "object", bool: "true or false"}
  held = (
    f"{name} ({kinds.get(type(value), 'null' if value is None else 'number')})"
    for name, value in list(record.items())[:12]
  )
  return f"an object of {', '.join(held)}" if record else "an empty object"
