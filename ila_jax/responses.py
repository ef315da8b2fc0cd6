"""Responses: one answer or one of several, a text or messages."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ila_jax import contents, dialogues, messages, records, unread

# Which of a list of answers is the response.
ANSWERS: dict[str, Callable[[Sequence[str]], str]] = {
  "first": lambda texts: texts[0],
  "longest": lambda texts: max(texts, key=len),
}
# Where an answer that is an object keeps its text.
_TEXT_KEYS = ("text", "value", "content", "response", "completion", "output")
# Fields whose messages are answers to choose from, and no conversation.
_SEVERAL = ("answers", "responses", "completions")
_ONLY = "reject"  # Or none, unless there is only one.
RULES = (*ANSWERS, _ONLY)


def are_texts(values: list[Any]) -> bool:
  """Whether a list holds texts and numbers, and no messages.

  >>> are_texts(["a", 1]), are_texts([{"role": "user"}]), are_texts([])
  (True, False, False)
  """
  return bool(values) and not any(isinstance(v, list | dict) for v in values)


def _one(texts: list[Any], rule: str) -> str:
  """The response among several answers to one question."""
  found = [contents.text_of(text, "response") for text in texts]
  found = [text for text in found if text.strip()]
  if not found:
    return ""
  if rule == _ONLY and len(found) > 1:
    raise records.Reject("several answers", f"{len(found)} of them")
  return found[0] if rule == _ONLY else ANSWERS[rule](found)


def of(
  record: Mapping[str, Any], path: str, rule: str, notes: unread.Notes
) -> tuple[Any, list[records.Turn]]:
  """The value that a response field holds, and its turns if it has some.

  Of several answers one is taken, by `rule`, one of `RULES`. Objects are opened
  at `text`, `response` and the like, as SQuAD and UltraFeedback have them.

  Raises:
    records.Reject: no such field, or nothing in it that can be an answer.

  >>> of({"answers": {"text": ["a", "b"]}}, "answers", "first", unread.Notes())
  ('a', [])
  """
  value = records.lookup(record, path)
  if value is records.MISSING:
    raise records.Reject(
      "response field missing", f"{path}; fields: {', '.join(record)}"
    )
  while isinstance(value, Mapping) and not _is_message(value):
    inner = _text_key(value)
    if inner is None:
      raise records.Reject(
        "response is not text", f"fields: {', '.join(value)}"[:200]
      )
    notes.leave(value, _beside(value, inner), f"{path}.")
    value = value[inner]
  if isinstance(value, list) and value:
    keys = [_text_key(v) if isinstance(v, Mapping) else None for v in value]
    texts = [v[k] if k else v for v, k in zip(value, keys, strict=True)]
    if are_texts(texts):
      for item, key in zip(value, keys, strict=True):
        if key:
          notes.leave(item, _beside(item, key), f"{path}.")
      if len(texts) > 1:
        notes.unread.add(f"all of `{path}` but one")
      return _one(texts, rule), []
  if isinstance(value, list | dict):
    turns = dialogues.read(value, notes)
    is_one_of = unread.plain_name(path) in _SEVERAL and len(turns) > 1
    if is_one_of and all(t.role == "assistant" and not t.calls for t in turns):
      notes.unread.add(f"all of `{path}` but one")
      text = _one([turn.text for turn in turns], rule)
      turns = [turn for turn in turns if turn.text == text][:1]
    return None, turns
  return value, []


def _is_message(value: Mapping[str, Any]) -> bool:
  return any(key in value for key in messages.ROLE_KEYS)


def _text_key(value: Mapping[str, Any]) -> str | None:
  """The field that holds the text of an answer; None for turns and others."""
  if _is_message(value) or dialogues.is_pair(value):
    return None
  return next((key for key in _TEXT_KEYS if key in value), None)


def _beside(value: Mapping[str, Any], read: str) -> list[str]:
  return [n for n in value if n != read and not unread.is_ignored(n)]


def join(
  asked: list[records.Turn], answer: list[records.Turn]
) -> list[records.Turn]:
  """A prompt and the messages of its answer, which may repeat the prompt.

  Raises:
    records.Reject: they repeat another prompt.

  >>> ask, reply = records.Turn("user", "a"), records.Turn("assistant", "b")
  >>> join([ask], [ask, reply]) == join([ask], [reply]) == [ask, reply]
  True
  """
  last = max(
    (i for i, turn in enumerate(answer) if turn.role == "user"), default=-1
  )
  if last < 0:
    return [*asked, *answer]

  def said(turns):
    spoken = [t for t in turns if t.role not in ("system", "tools")]
    return [(t.role, t.text.strip()) for t in spoken]

  ours, theirs = said(asked), said(answer[: last + 1])
  if theirs[-len(ours) :] == ours or theirs[: len(ours)] == ours:
    own = {t.role for t in answer}
    return [
      *(
        t for t in asked if t.role in ("system", "tools") and t.role not in own
      ),
      *answer,
    ]
  if ours[-len(theirs) :] == theirs:
    return [*asked, *answer[last + 1 :]]
  raise records.Reject(
    "response answers another prompt", answer[last].text[:80]
  )
