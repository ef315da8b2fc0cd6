"""Responses: one answer or one of several, a text or messages."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import (
  beside,
  contents,
  dialogues,
  messages,
  tool_calls,
  values,
)
from ila_jax.pool.shapes import (
  pointers,
  preferences,
  structures,
  verdicts,
)

# Which of a list of answers is the response.
ANSWERS: dict[str, Callable[[Sequence[str]], str]] = {
  "first": lambda texts: texts[0],
  "longest": lambda texts: max(texts, key=len),
}
# Where an answer that is an object keeps its text.
_TEXT_KEYS = (
  *("text", "value", "content", "response", "completion", "output", "answer"),
)
# Fields whose messages are answers to choose from, and no conversation.
_SEVERAL = ("answers", "responses", "completions")
# What an answer that is an object may have beside its text, as a message has.
_OF_A_MESSAGE = (*tool_calls.KEYS, *messages.THOUGHT_KEYS)
# What a call to a tool holds, where a list of them is the answer.
_OF_A_CALL = {"name", "arguments", "id", "type"}
_ONLY = "reject"  # Or none, unless there is only one.
RULES = (*ANSWERS, _ONLY)


def are_texts(items: list[Any]) -> bool:
  """Whether a list holds texts and numbers, and no messages.

  >>> are_texts(["a", 1]), are_texts([{"role": "user"}]), are_texts([])
  (True, False, False)
  """
  return bool(items) and not any(isinstance(v, list | dict) for v in items)


def _one(texts: list[Any], rule: str) -> str:
  """The response among several answers to one question."""
  answers = [contents.text_of(text, "response") for text in texts]
  answers = [text for text in answers if text.strip()]
  if not answers:
    return ""
  if rule == _ONLY and len(answers) > 1:
    raise records.Reject("several answers", f"{len(answers)} of them")
  return answers[0] if rule == _ONLY else ANSWERS[rule](answers)


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
  paths = records.paths(record, path)
  if len(paths) > 1:
    path = pointers.among(record, paths, notes)
  value, path = pointers.meant(record, path, notes)
  if value is records.MISSING:
    raise records.Reject(
      "response field missing", f"{path}; fields: {', '.join(record)}"
    )
  holder, prefix = record, ""
  if path not in record and "." in path:
    prefix = path.rpartition(".")[0]
    holder, prefix = records.lookup(record, prefix), f"{prefix}."
  value = _spoken(_unsigned(value, path, notes), path, notes)
  while isinstance(value, Mapping) and not _is_message(value):
    inner = _text_key(value)
    if inner is None:
      raise records.Reject(
        "response is not text", f"fields: {', '.join(value)}"[:200]
      )
    if not isinstance(value[inner], list):
      preferences.marked([value], path, notes)
    notes.leave(value, _beside(value, inner), f"{path}.")
    holder, prefix = value, f"{path}."
    verdicts.check(beside.Holder(prefix, holder, frozenset([inner])), notes)
    value = value[inner]
  if isinstance(value, list) and value:
    if not any(map(_is_turns, value)) or (
      unread.plain_name(path) in _SEVERAL and all(map(_is_answer, value))
    ):
      value = _best(record, value, path, notes, holder=(prefix, holder))
    if all(isinstance(v, Mapping) and _is_call(v) for v in value):
      return None, [
        records.Turn("assistant", "", calls=tool_calls.json_list(value))
      ]
    if all(isinstance(v, list) for v in value) and not _says_who(value, path):
      raise records.Reject("response is not text", "a list of lists")
    _check_kinds(value)
    keys = [_text_key(v) if isinstance(v, Mapping) else None for v in value]
    texts = [v[k] if k else v for v, k in zip(value, keys, strict=True)]
    are_said = any(keys) and all(map(_are_messages, texts))
    if are_said or are_texts(texts):
      for item, key in zip(value, keys, strict=True):
        if key:
          notes.leave(item, _beside(item, key), f"{path}.")
      if len(texts) > 1:
        notes.unread.add(f"all of `{path}` but one")
      return _said(texts, rule, notes) if are_said else (_one(texts, rule), [])
  if isinstance(value, list | dict):
    turns = dialogues.read(value, notes)
    is_one_of = unread.plain_name(path) in _SEVERAL and len(turns) > 1
    if is_one_of and all(t.role == "assistant" and not t.calls for t in turns):
      notes.unread.add(f"all of `{path}` but one")
      text = _one([turn.text for turn in turns], rule)
      turns = [turn for turn in turns if turn.text == text][:1]
    return None, turns
  return value, []


def _spoken(value: Any, path: str, notes: unread.Notes) -> Any:
  """An answer with a thought or calls beside its text, as a message."""
  if not isinstance(value, Mapping) or _is_message(value):
    return value
  held = (value.get(name) for name in _OF_A_MESSAGE)
  is_said = any(
    isinstance(more, str | list | dict) and not values.is_blank(more)
    for more in held
  )
  if not (is_said and {"content", "text"} & value.keys()):
    return value
  read = frozenset(_OF_A_MESSAGE)
  verdicts.check(beside.Holder(f"{path}.", value, read), notes)
  return {"role": "assistant", **value}


def _said(
  answers: list[Any], rule: str, notes: unread.Notes
) -> tuple[None, list[records.Turn]]:
  """The turns of one of several answers that are messages."""
  said = [dialogues.read(answer, notes) for answer in answers]
  text = _one([turns[-1].text for turns in said], rule)
  return None, next((t for t in said if t[-1].text == text), said[0])


def _are_messages(held: Any) -> bool:
  """Whether an answer is a message, or a list of messages."""
  items = held if isinstance(held, list) else [held]
  return bool(items) and all(map(structures.is_message, items))


def _unsigned(value: Any, path: str, notes: unread.Notes) -> Any:
  """An answer, or several, without the names of authors that are no roles."""
  answers = value if isinstance(value, list) else [value]
  if answers is value and unread.plain_name(path) not in _SEVERAL:
    return value  # It may be what several people say to each other.
  if not all(isinstance(a, Mapping) and "role" not in a for a in answers):
    return value
  names = [values.first(answer, messages.ROLE_KEYS) for answer in answers]
  plain = [unread.plain_name(n) if isinstance(n, str) else "" for n in names]
  roles = [messages.ROLES.get(name, "") for name in plain]
  if "" not in roles or not {"", "assistant"}.issuperset(roles):
    return value
  for answer in answers:
    signed = [name for name in answer if name in messages.ROLE_KEYS]
    notes.leave(answer, signed, f"{path}.")
  answers = [
    {k: v for k, v in answer.items() if k not in messages.ROLE_KEYS}
    for answer in answers
  ]
  return answers if isinstance(value, list) else answers[0]


def _best(
  record: Mapping[str, Any],
  answers: list[Any],
  path: str,
  notes: unread.Notes,
  *,
  holder: tuple[str, Any],
) -> list[Any]:
  """The answers that a record names, and that marks and scores prefer."""
  best, (prefix, held) = preferences.named(record, path, answers, notes), holder
  if isinstance(held, Mapping):
    kept = verdicts.kept(held, answers, notes, path=path, prefix=prefix)
    best = [answer for answer in best if answer in kept]
  if not best:
    raise records.Reject("fields name different answers", path)
  if len(best) < len(answers):
    notes.unread.add(f"all of `{path}` but one")
  scores = preferences.scored(answers)  # They count as read.
  if not scores:
    return best
  return [{n: v for n, v in a.items() if n not in scores} for a in best]


def _check_kinds(answers: list[Any]) -> None:
  """Rejects objects that are neither answers nor messages."""
  for value in answers:
    if not isinstance(value, Mapping) or _text_key(value):
      continue
    plain = {unread.plain_name(name): None for name in value}
    if not (_is_turns(plain) or "type" in plain):
      raise records.Reject(
        "response is not text", f"fields: {', '.join(value)}"[:200]
      )


def _is_turns(value: Any) -> bool:
  """Whether an item of a list is a turn or a pair of them."""
  if isinstance(value, Mapping):
    return _is_message(value) or dialogues.is_pair(value)
  return isinstance(value, list)


def _is_answer(value: Any) -> bool:
  """Whether an item of a list is a message of the assistant."""
  if not isinstance(value, Mapping):
    return False
  role = values.first(value, messages.ROLE_KEYS)
  plain = unread.plain_name(role) if isinstance(role, str) else ""
  return messages.ROLES.get(plain) == "assistant"


def _says_who(value: list[Any], path: str) -> bool:
  """Whether lists in a list are turns: with a role, or of a conversation."""
  names = [item[0] for item in value if item and isinstance(item[0], str)]
  roles = {unread.plain_name(name) for name in names}
  return bool(roles & messages.ROLES.keys()) or path.startswith("chosen")


def _is_call(value: Mapping[str, Any]) -> bool:
  return {"name", "arguments"} <= value.keys() <= _OF_A_CALL


def _is_message(value: Mapping[str, Any]) -> bool:
  return any(key in value for key in messages.ROLE_KEYS)


def _text_key(value: Mapping[str, Any]) -> str | None:
  """The field that holds the text of an answer; None for turns and others."""
  if _is_message(value) or dialogues.is_pair(value):
    return None
  return values.name(value, _TEXT_KEYS)


def _beside(value: Mapping[str, Any], read: str) -> list[str]:
  """The fields beside a text; a list of marks may be of something else."""
  names = [n for n in value if n != read and not unread.is_ignored(n)]
  return [
    n for n in names if isinstance(value[n], list) or not preferences.is_mark(n)
  ]


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

  def said(turns: list[records.Turn]) -> list[tuple[str, str]]:
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
