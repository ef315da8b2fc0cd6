"""Rejects: records that are not used, why, and what to do about it."""

import collections
from collections.abc import Callable
from typing import Any, NamedTuple

from ila_jax import errors
from ila_jax.pool.shapes import suggestions
from ila_jax.run import tables

DUPLICATE = "duplicate"
_MAP = (
  "Map the fields with --config.pool.fields.prompt=... and "
  "--config.pool.fields.response=... (or --config.pool.fields.conversation=...)"
)
_JOINED = (
  "A prompt that is named, --config.pool.fields.prompt=..., is joined by no "
  "other field unless that is named too"
)
_NAMED = (
  "Name the right answer in one field: by the name of its own field, such as "
  "response_2, and in a list by its index from 0; or set "
  "--config.pool.fields.response to one answer, such as answers.0"
)
_FILE = "Mend the lines, or leave the file out of config.pool.source"
_UTF8 = (
  "Save the file as UTF-8; where it is in the Windows encoding of Western "
  "Europe, with `iconv -f CP1252 -t UTF-8 FILE > NEW`"
)
_TURNS = "Mend these conversations, or leave them out of the pool"
_LONG = (
  "Raise --config.tokens.max_tokens (the base must have as many positions), or "
  "set --config.tokens.overflow=truncate_prompt, which cuts prompts from the "
  "left, or truncate_response, which cuts the end as trainers do"
)
_TEMPLATE = (
  "Give a --config.model.path whose chat template renders such conversations, "
  "or leave them out"
)
# What to do about each reason.
REMEDIES = {
  DUPLICATE: "Nothing: each example is used once",
  "no example of the pool has this text": "Give its `id`, or mend its text",
  # Records that cannot be read.
  "not JSON": _FILE,
  "not a JSON object": "Write each record as one object, {...}",
  "invalid UTF-8": _UTF8,
  "key occurs twice": "Rename one of both keys, or drop it",
  "record too large": "Split it, or leave out the field that holds a file",
  "one record or a table by columns": (
    "Write each record as one line of a .jsonl file"
  ),
  "row with too many cells": "Quote the separators inside its cells",
  "row with too few cells": (
    "Write all its cells, empty ones too, and quotes around a cell that goes "
    "over several lines"
  ),
  "row of another width": "Give each row a cell for each name of `columns`",
  "a cell is cut off by the Hub's viewer": (
    "Name the data set itself, as hf:NAME/SPLIT or by its downloaded files"
  ),
  "Python's notation is too long": (
    "Write the list as JSON (`json.dumps`), or as a list of the file itself"
  ),
  "no JSON form": "Drop the column, or save it as text or numbers",
  "a cell cannot be read": "Mend the cell, or drop its column",
  "text is not Unicode": "Mend the half characters, such as \\ud800",
  # Fields.
  **dict.fromkeys(("no known record shape", "prompt is not text"), _MAP),
  **dict.fromkeys(("prompt field missing", "response field missing"), _MAP),
  "conversation field missing": "Set config.pool.fields.conversation",
  "prompt is a list of texts": "Join the texts, or write them as messages",
  "prompt is a list of numbers": (
    f"They seem to be token ids, and text is needed. {_MAP}; or decode them"
  ),
  "response is not text": (
    "Set --config.pool.fields.response to the text, such as answers.0.text"
  ),
  "response answers another prompt": (
    "Keep only the answer's own messages in that field, or mend the prompt"
  ),
  "named answer is none of the answers": _NAMED,
  "named answer is several of the answers": _NAMED,
  "fields name different answers": _NAMED,
  "no answer is marked as right": _NAMED,
  "no answer is named": _NAMED,
  "a mark of an answer cannot be read": (
    "Write marks as true and false, and ranks as numbers, one for each answer; "
    "or name the right answer in one field"
  ),
  "weights and messages differ in number": (
    "Write one weight, 0 or 1, for each message"
  ),
  "several answers": "Set --config.pool.answers=first or longest",
  "empty prompt": f"{_MAP}, or drop records that ask nothing",
  "empty response": f"{_MAP}, or drop records without an answer",
  **dict.fromkeys(("input is not text", "context is not text"), _JOINED),
  "choices is not text": _JOINED,
  "choices are no list of texts": _JOINED,
  "answer is none of the choices": (
    "Write the choice's label or text as the answer, or its index from 0"
  ),
  "answer names several choices": "Keep one, or write a text: `A and C`",
  "answer is an empty choice": "Fill the choice, or mend the answer",
  "choices are missing before the answer": (
    "Write the choice's label as the answer, or give each choice a field or an "
    "item, empty ones too"
  ),
  "answer may be an index or a choice": (
    "Write the choice's label as the answer, as a text, in a field `answer`"
  ),
  "system is not text": "Set config.pool.fields.system to a text",
  "thought is not text": "Set config.pool.fields.thought to a text",
  "history is not a list of pairs": (
    'Write it as [["question", "answer"], ...] or as messages; or name it as a '
    "context, --config.pool.fields.context=history"
  ),
  "labels are neither a list nor a count": (
    "Set --config.pool.fields.labels to a list, a text or a number"
  ),
  "domain is not text": "Set --config.pool.fields.domain to a text or a number",
  # Conversations.
  "a named field belongs to no conversation": (
    "Choices and a prompt go with a single question: set the field to '' for "
    "these sources, in config.pool.overrides"
  ),
  "conversation is not a list": (
    "Write it as a list of messages, or set config.pool.fields.conversation"
  ),
  "conversation mixes texts and messages": _TURNS,
  "a turn is empty": (
    "Fill the turn that is named, or write the conversation as messages with a "
    "`role`"
  ),
  "columns of a conversation differ in length": _TURNS,
  "message is neither text nor an object": _TURNS,
  "item of a type that is not read": (
    "Leave such items out, or write them as messages with a `role`"
  ),
  "message has no role": "Give each message a `role`, or a `from`",
  "unknown role": (
    "Rename the role: system, user, assistant or tool, or a name that "
    "docs/guide/records.md lists"
  ),
  "message has two roles": "Keep one of `role` and `from`, or make them agree",
  "message has no content": (
    "Keep what is said in `content`, also where it is empty"
  ),
  "content is not text": (
    "Write content as text or as parts of text; conversations with images, "
    "files or audio cannot be read"
  ),
  "an answer has two thoughts": (
    "Keep one: that in the text between <think> and </think>, or that beside it"
  ),
  "text after a tool call": "Write what follows the call as a message after it",
  "tool result answers no call": (
    "Give the result the id of a call before it, or no id: then results answer "
    "calls in their order"
  ),
  "turns of a transcript do not alternate": (
    "Write the conversation as a list of messages: a question or an answer may "
    "hold the words that mark turns"
  ),
  "transcript reads in two ways": (
    "Write it as a list of messages, or begin each turn in a line of its own "
    "and change the marks within lines"
  ),
  "text between turns": (
    "Give it a mark and a role, or write the conversation as messages"
  ),
  "tool call is no JSON object": "Write calls as objects, or as their JSON",
  "weight is no number of at least 0": "Write weights as 0 and 1",
  "a list of masks may mean either": (
    "Rename it: `weights`, with 1 for each message that is learnt, or "
    "`ignore_loss`, with 1 for each that is not"
  ),
  "answers may be steps of one": (
    "Join the steps to one text, or name the answer, such as "
    "--config.pool.fields.response=completions.0, and drop the labels"
  ),
  "parts of an answer have weights": (
    "Weigh whole answers: 0 or 1 a message, in `weight` or `train`"
  ),
  "no answer is learnt": (
    "Where that is meant, raise --config.pool.max_reject_fraction. Where "
    "`label` is a class and no verdict, set --config.pool.fields.domain=label. "
    "Else give an answer a weight of 1"
  ),
  "no response": "Name the field of the answer, or drop such conversations",
  "no prompt before the first response": (
    "Put what was asked before the first answer, or drop the greeting"
  ),
  # Templates and tokens.
  "chat template changes what stands before an answer": _TEMPLATE,
  "chat template drops a thought": (
    "Give a --config.model.path whose chat template shows the thought of the "
    "answer that is learnt, or take the thoughts out of the pool"
  ),
  "chat template drops a turn": _TEMPLATE,
  "chat template refuses": _TEMPLATE,
  "chat template rewrites or drops an answer": _TEMPLATE,
  "chat template writes too much": _TEMPLATE,
  "no response token": "Drop records whose answer the tokenizer drops",
  "longer than max_tokens": _LONG,
  "longer than all windows": (
    "Raise --config.tokens.max_tokens, or set "
    "--config.tokens.overflow=truncate_response"
  ),
  "answers longer than max_tokens": (
    "Raise --config.tokens.max_tokens, or set "
    "--config.tokens.overflow=truncate_response: truncate_prompt cuts only "
    "prompts"
  ),
}
_OTHER = f"Read {tables.REJECTS.template} and mend the records"
_SHOWN_CHARACTERS = 300


class Rejected(NamedTuple):
  """A record that is not used, and why: one line of `rejects.jsonl`.

  Attributes:
    file: where it stood.
    line: 1-based line; in arrays and columnar files the record's number.
    source: name of the file without suffixes, of the data set or the package.
    reason: a phrase without variable parts.
    detail: what was found.
    raw: the record itself, for the message of a refusal; in no file.
  """

  file: str
  line: int
  source: str
  reason: str
  detail: str
  raw: str = ""

  def written(self) -> dict[str, Any]:
    """What `rejects.jsonl` keeps of it.

    >>> list(Rejected("a.jsonl", 1, "a", "not JSON", "", "{").written())
    ['file', 'line', 'source', 'reason', 'detail']
    """
    return {k: v for k, v in self._asdict().items() if k != "raw"}


class RejectCounter:
  """Counts rejects by reason and stops a run that loses too many.

  Exact duplicates are rejects too, but do not count towards the limit: they
  are no sign of a wrong file or field.

  >>> counter = RejectCounter(lambda reject: None, max_reject_fraction=0.5)
  >>> counter(Rejected("a.jsonl", 1, "a", "not JSON", ""))
  >>> counter.check(n_used=1)
  >>> counter.check(n_used=0)  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  ila_jax.errors.InputError: 1 of 1 records (100.0 %) are rejected: ...
  """

  def __init__(
    self, write: Callable[[Rejected], object], *, max_reject_fraction: float
  ):
    self.reasons: collections.Counter[str] = collections.Counter()
    self._write = write
    self._limit = max_reject_fraction
    self._first: dict[str, Rejected] = {}

  def __call__(self, rejected: Rejected) -> None:
    """Counts and writes one reject."""
    self.reasons[rejected.reason] += 1
    self._first.setdefault(rejected.reason, rejected)
    self._write(rejected)

  def check(self, *, n_used: int) -> None:
    """Compares the share of rejects with the limit, at the end of the pool.

    Raises:
      InputError: too many rejects; names the three commonest reasons, what to
        do about each, and shows one record. Or nothing to use at all.
    """
    counts = self.reasons.copy()
    n_read = counts.total() + n_used
    del counts[DUPLICATE]
    n_bad = counts.total()
    if n_used and n_bad <= self._limit * n_read:
      return
    if not n_read:
      raise errors.InputError(
        "config.pool.source has no records: all its files are empty. Allowed: "
        "one record or more. Name other files."
      )
    common = counts.most_common(3)
    counted = "; ".join(
      f"{count} {reason} ({_place(self._first[reason])})"
      for reason, count in common
    )
    remedies = " ".join(f"For '{r}': {remedy(r)}." for r, _ in common)
    raise errors.InputError(
      f"{n_bad} of {n_read} records ({100 * n_bad / n_read:.1f} %) are "
      f"rejected: {counted}. Allowed by config.pool.max_reject_fraction: "
      f"{100 * self._limit:g} %, and one usable record. {remedies} Or raise "
      f"the fraction.{_shown(self._first[common[0][0]].raw)}"
    )


def remedy(reason: str) -> str:
  """What to do about records that are rejected for a reason.

  >>> remedy("not a JSON object")
  'Write each record as one object, {...}'
  """
  return REMEDIES.get(reason, _OTHER)


def _place(rejected: Rejected) -> str:
  detail = f", {rejected.detail[:200]}" if rejected.detail else ""
  return f"first {rejected.file} line {rejected.line}{detail}"


def _shown(raw: str) -> str:
  if not raw:
    return ""
  # Whatever a file holds must not steer the terminal.
  cut = "".join(c if c.isprintable() else "�" for c in raw[:_SHOWN_CHARACTERS])
  cut += "…" if len(raw) > _SHOWN_CHARACTERS else ""
  return (
    f"\nThe first of them: {cut}\nIt looks like {suggestions.looks_like(raw)}."
  )
