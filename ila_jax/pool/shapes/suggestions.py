"""Suggestions: what an unreadable record seems to be, in words."""

import re
import shlex

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
_NOT_RECORDS = (
  (re.compile(r"version https://git-lfs"), "a Git LFS pointer: `git lfs pull`"),
  (re.compile(r"\s*<(!doctype|html|\?xml)", re.IGNORECASE), "a web page"),
  (re.compile(r"\s*\{\s*'"), "a Python dict; JSON has double quotes"),
  (re.compile(r"\s*[\[{\]}],?\s*$"), "JSON over several lines"),
  (re.compile(r'\s*"[^"]*":.*'), "JSON over several lines"),
  (re.compile(r'[^{}\[\]",]*,'), "a line of CSV"),
  (re.compile(r"[^{}\[\]]*\t[^{}\[\]]*"), "a line of tab-separated values"),
)


def _may_be_a_pair(first: str, second: str) -> bool:
  """Whether two fields may be a prompt and a response, by their names."""
  first, second = map(unread.plain_name, (first, second))
  if first.rstrip("0123456789_") == second.rstrip("0123456789_"):
    return False  # Two answers, or two of anything else.
  words = {*first.split("_"), *second.split("_")}
  if words & _NO_SIDES or {*first.split("_")} & _ANSWERS:
    return False
  return not {*second.split("_")} & _QUESTIONS and second != "answer_key"


def looks_like(raw: str) -> str:
  """What a rejected record seems to be, in words.

  >>> looks_like('{"q": "1 + 1?", "a": "2", "id": 7}')
  'two texts: perhaps --config.pool.fields.prompt=q and .response=a'
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
  detected = fields.detect(record)
  if detected is not None:
    said = records.lookup(record, detected.conversation)
    try:
      turns = dialogues.read(said, unread.Notes())
    except records.Reject:
      return f"a record with {detected}"
    return f"a conversation of {', '.join(t.role for t in turns) or 'no turn'}"
  if {"parent_id", "role", "text"} <= record.keys():
    return "a row of a tree of messages: join the rows into conversations first"
  texts = [
    name
    for name, value in record.items()
    if isinstance(value, str) and value.strip() and not unread.is_ignored(name)
  ]
  if len(texts) == 2 and _may_be_a_pair(*texts):
    asked, answered = map(shlex.quote, texts)
    return (
      f"two texts: perhaps --config.pool.fields.prompt={asked} and "
      f".response={answered}"
    )
  kinds = {str: "text", list: "list", dict: "object", bool: "true or false"}
  held = (
    f"{name} ({kinds.get(type(value), 'null' if value is None else 'number')})"
    for name, value in list(record.items())[:12]
  )
  return f"an object of {', '.join(held)}" if record else "an empty object"
