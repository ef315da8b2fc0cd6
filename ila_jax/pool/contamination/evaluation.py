"""Evaluation sets: what is asked in each record, and the answer if it has one.

They are read as pools are, and more leniently: a record without an answer, as
tests often are, counts by what it asks.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ila_jax import errors
from ila_jax.pool import examples as examples_lib
from ila_jax.pool import records, unread
from ila_jax.pool.conversations import conversation, weights
from ila_jax.pool.shapes import fields as fields_lib
from ila_jax.pool.shapes import turns as turns_lib
from ila_jax.pool.sources import sources

# Stands where a record has no answer, and is taken out again.
_STAND_IN = "response"


class Record(NamedTuple):
  """One record of an evaluation set.

  Attributes:
    source: name of the file without suffixes, or of the data set.
    file: where it stood.
    line: 1-based line; in arrays and columnar files the record's number.
    prompt: what users ask in it.
    said: all its turns but system and tools, its answer the last.
    answer: the last of them; "" without one.
    turns: all of it, as a pool's turns are.
    follows: whether it is a question that follows another in its record.
  """

  source: str
  file: str
  line: int
  prompt: str
  said: str
  answer: str
  turns: tuple[records.Turn, ...] = ()
  follows: bool = False


def asked(turns: Sequence[records.Turn]) -> str:
  r"""What users ask in a conversation; all before its answer if none does.

  >>> Turn = records.Turn
  >>> asked([Turn("system", "Be brief."), Turn("user", "1 + 1?"),
  ...        Turn("assistant", "2"), Turn("user", "And 2 + 2?")])
  '1 + 1?\n\nAnd 2 + 2?'
  """
  texts = [turn.text for turn in turns if turn.role == "user"]
  if not texts:
    texts = [turn.text for turn in turns if turn.role != "assistant"]
  return "\n\n".join(texts)


@contextlib.contextmanager
def names_field(field: str = "config.pool.decontaminate") -> Iterator[None]:
  """Errors about a source name the field that it comes from.

  Raises:
    errors.InputError: that of the block, with the field in it.
  """
  try:
    yield
  except errors.InputError as error:
    said = str(error).replace("config.pool.source", field)
    raise errors.InputError(said) from error


def read(
  specs: Sequence[str],
  *,
  overrides: Mapping[str, Mapping[str, str]],
  announce: Callable[[str], object] = lambda message: None,
) -> Iterator[Record]:
  """Streams the records of evaluation sets.

  Args:
    specs: sources, as `sources.open_source` takes them.
    overrides: as `examples.Rules` has them.
    announce: gets a line of what is left out, and how much has no prompt.

  Raises:
    errors.InputError: a source that cannot be read, or without any prompt.
  """
  for pattern, own in overrides.items():
    fields_lib.check_names(own, where=f"config.pool.overrides[{pattern!r}]")
  rules = examples_lib.Rules(overrides=overrides)
  for spec in specs:
    found, missed, first = 0, 0, ""
    for raw in _opened(spec, announce):
      try:
        if raw.record is None:
          raise records.Reject(raw.reason, raw.detail)
        fields = examples_lib.source_fields(spec, raw.source, rules)
        turns = turns_of(raw.record, fields)
      except records.Reject as reject:
        missed += 1
        first = first or _told(raw, reject)
        continue
      found += 1
      yield _record(raw.source, raw.file, raw.line, turns)
    if not found:
      raise errors.InputError(
        f"config.pool.decontaminate is {spec!r}, of which no record can be "
        f"read ({first or 'it has none'}); allowed: records with a prompt. "
        "Name its fields with --config.pool.overrides=\"{'NAME': {'prompt': "
        "'FIELD'}}\", where NAME is that of the file without suffixes."
      )
    if missed:
      announce(
        f"warning: {missed:,} of {found + missed:,} records of {spec} have no "
        f"prompt that can be read, and are compared with nothing ({first})"
      )


def _opened(
  spec: str, announce: Callable[[str], object]
) -> Iterator[records.RawRecord]:
  with names_field():
    yield from sources.open_source(spec, announce=announce)


def _told(raw: records.RawRecord, reject: records.Reject) -> str:
  detail = f", {reject.detail[:200]}" if reject.detail else ""
  return f"{raw.file} line {raw.line}: {reject.reason}{detail}"


def turns_of(
  record: Mapping[str, Any], configured: fields_lib.Fields
) -> tuple[records.Turn, ...]:
  """The turns of a record, with an empty answer where it has none.

  Raises:
    records.Reject: it has no prompt that can be read.

  >>> turns_of({"question": "1 + 1?"}, fields_lib.Fields())[-1].text
  ''
  """
  try:
    return turns_lib.to_turns(record, fields_lib.resolve(record, configured))
  except records.Reject as reject:
    because = reject
  # Neither its answer nor what is said of the whole record is needed.
  detected = fields_lib.detect(record) or fields_lib.Fields()
  answer = (configured.response or detected.response).partition(".")[0]
  asking: dict[str, Any] = {
    name: value
    for name, value in record.items()
    if name not in (answer, _STAND_IN)
    and not weights.is_verdict(unread.plain_name(name))
    and not weights.is_list(name)
  }
  asking[_STAND_IN] = _STAND_IN
  if configured.prompt or configured.conversation or configured.response:
    configured = configured._replace(response=_STAND_IN)
  try:
    read = fields_lib.resolve(asking, configured)
    *turns, last = turns_lib.to_turns(asking, read)
  except records.Reject:
    alone = _questions_alone(record)
    if not alone or configured != fields_lib.Fields():
      raise because from None
    return (*alone, records.Turn("assistant", ""))
  return (*turns, last._replace(text="", thought="", calls=""))


def _questions_alone(record: Mapping[str, Any]) -> list[records.Turn]:
  """Questions of one user in a list, without answers; [] if there are none.

  MT-Bench and Arena-Hard write them so.

  >>> _questions_alone({"turns": ["1 + 1?", {"content": "Why?"}]})[1].text
  'Why?'
  """
  for name in ("turns", "prompt"):
    held = record.get(name)
    texts = [
      one["content"]
      if isinstance(one, Mapping) and [*one] == ["content"]
      else one
      for one in (held if isinstance(held, list) else ())
    ]
    if texts and all(isinstance(text, str) and text.strip() for text in texts):
      return [records.Turn("user", text) for text in texts]
  return []


def _record(
  source: str, file: str, line: int, turns: tuple[records.Turn, ...]
) -> Record:
  shown = [turn for turn in turns if turn.role not in ("system", "tools")]
  return Record(
    source,
    file,
    line,
    asked(turns[:-1]),
    "\n\n".join(map(conversation.said, shown)),
    turns[-1].text,
    turns,
  )


def questions(one: Record) -> list[Record]:
  """Each question of a record with several, and its answer, by itself.

  A pool may hold one of them without the others.

  Returns:
    A record for each, in their order, of the same place; [] where there are
    fewer than two.

  >>> turns = [records.Turn("user", "1 + 1?"), records.Turn("assistant", "2"),
  ...          records.Turn("user", "Why?"), records.Turn("assistant", "")]
  >>> one = Record("set", "set.jsonl", 7, "", "", "", tuple(turns))
  >>> [(q.prompt, q.answer, q.follows) for q in questions(one)]
  [('1 + 1?', '2', False), ('Why?', '', True)]
  """
  places = [k for k, turn in enumerate(one.turns) if turn.role == "user"]
  if len(places) < 2:
    return []
  found = []
  for place in places:
    answer = one.turns[place + 1]
    if answer.role != "assistant":
      answer = records.Turn("assistant", "")
    own = _record(one.source, one.file, one.line, (one.turns[place], answer))
    found.append(own._replace(follows=place > places[0]))
  return found
