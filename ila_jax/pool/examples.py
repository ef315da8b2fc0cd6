"""The pool: usable examples of all sources, with stable ids and no duplicates.

Records stream: what is held of each is a number, the id. Whatever is not
used is a reject with file, line and reason, so that used + rejected = read.
"""

import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ila_jax.pool import records, unread
from ila_jax.pool import rejects as rejects_lib
from ila_jax.pool import seen as seen_lib
from ila_jax.pool.shapes import fields as fields_lib
from ila_jax.pool.shapes import labels, turns
from ila_jax.pool.sources import delimited, json_text, sources
from ila_jax.pool.splits import field_watch


class Example(NamedTuple):
  """One usable record.

  Attributes:
    id: the first 64 bits of the SHA-256 of the turns.
    prompt_id: the same of all that stands before the first response.
    source: name of the file without suffixes, of the data set or the package.
    turns: tools, system, user, tool and assistant turns; the last is an
      assistant's.
    n_labels: K of depth (docs/method.md 2.2), at least 1.
    has_labels: whether the record had labels; without them K is 1.
    domain: from the domain field; "" without one.
    record_json: the record in one line, as a JSON value equal to what was read.
    file: where it stood.
    line: 1-based line; in arrays and columnar files the record's number.
  """

  id: int
  prompt_id: int
  source: str
  turns: tuple[records.Turn, ...]
  n_labels: int
  has_labels: bool
  domain: str
  record_json: str
  file: str
  line: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
  """Where records keep things, and which of several answers counts.

  Attributes:
    fields: paths such as {"prompt": "problem"}; what is left out is detected
      from the names of the record's fields.
    overrides: {pattern of source names: fields} for single sources; an empty
      path takes back what `fields` says.
    answers: which of a list of answers is the response: `responses.RULES`.
  """

  fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
  overrides: Mapping[str, Mapping[str, str]] = dataclasses.field(
    default_factory=dict
  )
  answers: str = "first"


DEFAULT_RULES = Rules()


def source_fields(spec: str, source: str, rules: Rules) -> fields_lib.Fields:
  """What is configured for a source: the last that names a field decides."""
  merged = sources.known_fields(spec)
  merged.update({name: path for name, path in rules.fields.items() if path})
  for pattern, own in rules.overrides.items():
    if fnmatch.fnmatchcase(source, pattern):
      merged.update(own)
  return fields_lib.Fields(**merged)


def _example(
  raw: records.RawRecord,
  read: fields_lib.Fields,
  answers: str,
  named: fields_lib.Fields,
  notes: unread.Notes,
) -> Example:
  record = raw.record
  said = turns.to_turns(record, read, answers=answers, named=named, notes=notes)
  n_labels = labels.count(record, read.labels)
  domain = labels.domain(record, read.domain)
  text, bad = json_text.repaired(raw.text)
  try:
    ids = records.example_id(said), records.prompt_id(said)
    domain.encode()
  except UnicodeEncodeError as error:
    if bad:
      raise records.Reject("invalid UTF-8", bad) from error
    raise records.Reject("text is not Unicode", error.reason) from error
  if bad:
    notes.unread.add("bytes that are no UTF-8, kept as \ufffd")
  return Example(
    *ids,
    raw.source,
    said,
    1 if n_labels is None else n_labels,
    n_labels is not None,
    domain,
    text,
    raw.file,
    raw.line,
  )


def _resolved(
  raw: records.RawRecord, configured: fields_lib.Fields
) -> fields_lib.Fields:
  """Where a record's fields stand; a cell that is lost must be none of them."""
  # A stand-in: the shape is told by the columns, not by what a row has lost.
  shown = {**raw.record, **{column: column for column, _ in raw.lost}}
  read = fields_lib.resolve(shown, configured)
  paths = [path for named in read for path in named.split(",")]
  roots = {path.strip().partition(".")[0] for path in paths}
  for column, why in raw.lost:
    if column in roots:
      is_encoding = why == delimited.NO_UTF8
      reason = "invalid UTF-8" if is_encoding else "a cell cannot be read"
      raise records.Reject(reason, f"column {column!r}: {why}")
  return read


def duplicate(number: int) -> records.Reject:
  """Why an example that was read before is not used.

  >>> duplicate(255).detail
  'of the earlier 00000000000000ff'
  """
  return records.Reject(rejects_lib.DUPLICATE, f"of the earlier {number:016x}")


def rejected(
  raw: records.RawRecord, reject: records.Reject
) -> rejects_lib.Rejected:
  """What is written of a record that is not used."""
  return rejects_lib.Rejected(
    raw.file, raw.line, raw.source, reject.reason, detail(reject), raw.text
  )


def detail(reject: records.Reject) -> str:
  """What is written of a reason's detail.

  >>> detail(records.Reject("not JSON", "at column 7"))
  'at column 7'
  """
  # Names of fields come from the record: of any length, and of any characters.
  return reject.detail[:500].encode(errors="backslashreplace").decode()


class Reader:
  """Makes examples of records, and remembers what it has seen of each source.

  Attributes:
    watches: of the configured fields, by source as named and source name.

  >>> reader = Reader(DEFAULT_RULES)
  >>> record = {"prompt": "1 + 1?", "response": "2"}
  >>> raw = records.RawRecord("a.jsonl", 1, "a", record, "{}")
  >>> example, shape, notes = reader.example("a.jsonl", raw)
  >>> example.turns[0].text, shape
  ('1 + 1?', 'prompt = prompt, response = response')
  """

  def __init__(self, rules: Rules):
    """Begins with no record; `rules` say where records keep things."""
    self._rules = rules
    self._configured: dict[tuple[str, str], fields_lib.Fields] = {}
    self.watches: dict[tuple[str, str], field_watch.FieldWatch] = {}
    self._names = functools.lru_cache(maxsize=4096)(str)

  def example(
    self, spec: str, raw: records.RawRecord, *, is_first: bool = True
  ) -> tuple[Example, str, unread.Notes]:
    """A raw record as an example, with the fields read and what it holds else.

    Args:
      spec: the source, as the user named it.
      raw: of that source.
      is_first: whether this reader sees its source from the beginning.

    Raises:
      records.Reject: it is not usable.
      InputError: a configured field that none of the first records has.
    """
    if raw.record is None:
      raise records.Reject(raw.reason, raw.detail)
    key = spec, raw.source
    if key not in self._configured:
      self._configured[key] = source_fields(*key, self._rules)
      watch = field_watch.FieldWatch(raw.source, self._configured[key])
      self.watches[key] = watch
    self.watches[key].see(raw.record, may_end=is_first)
    configured = self._configured[key]
    read = _resolved(raw, configured)
    self.watches[key].indices.see(raw.record, read)
    notes, rule = unread.Notes(), self._rules.answers
    made = _example(raw, read, rule, configured, notes)
    for name in ("response", "thought"):
      if notes.unread & {*records.paths(raw.record, getattr(read, name))}:
        read = read._replace(**{name: ""})
    return made, self._names(read), notes

  def finish(self) -> None:
    """Checks what only whole sources show.

    Raises:
      InputError: a configured field that no record has, or answers that count
        their choices from 1.
    """
    for watch in self.watches.values():
      watch.check()
      watch.indices.check()


def check_rules(
  specs: Sequence[str], rules: Rules, announce: Callable[[str], object]
) -> None:
  """Refuses unknown names of fields, and tells of rules for no source.

  Raises:
    InputError: names the field.
  """
  fields_lib.check_names(rules.fields, where="config.pool.fields")
  for pattern, own in rules.overrides.items():
    fields_lib.check_names(own, where=f"config.pool.overrides[{pattern!r}]")
  if warning := _vain_overrides(specs, rules.overrides):
    announce(warning)


def _vain_overrides(
  specs: Sequence[str], overrides: Mapping[str, Mapping[str, str]]
) -> str:
  """A warning of fields for sources that are not there; "": there are none."""
  if not overrides:
    return ""
  names = sorted(set().union(*(sources.names(spec) for spec in specs)))
  vain = [repr(p) for p in overrides if not fnmatch.filter(names, p)]
  if not vain:
    return ""
  return (
    f"warning: config.pool.overrides has {', '.join(vain)}, which matches no "
    f"source; the sources are {', '.join(names[:50])}"
  )


def read(
  specs: Sequence[str],
  *,
  rejects: Callable[[rejects_lib.Rejected], object],
  rules: Rules = DEFAULT_RULES,
  limit: int | None = None,
  announce: Callable[[str], object] = lambda message: None,
  reading: unread.Reading | None = None,
  data_dir: str | None = None,
) -> Iterator[Example]:
  """Streams the usable examples of all sources, each only once.

  Args:
    specs: sources, as `sources.open_source` takes them, in order.
    rejects: gets every record that is not used.
    rules: where records keep things, and which answer counts.
    limit: examples to use, the first so many; None: all.
    announce: gets a line for what a source shows first: the fields that are
      read, those that hold weights, and those with text that are not read.
    reading: counts the same over the examples.
    data_dir: where TFDS keeps its data; None: its default.

  Raises:
    InputError: a source that cannot be read, an unknown name of a field, a
      configured field that no record has, or answers that count from 1.

  >>> examples = read(["docstrings:json"], rejects=print, limit=1)
  >>> next(examples).source
  'json'
  """
  check_rules(specs, rules, announce)
  reading = unread.Reading() if reading is None else reading
  reader = Reader(rules)
  seen = seen_lib.Seen()
  for spec in specs:
    opened = sources.open_source(spec, data_dir=data_dir, announce=announce)
    for raw in opened:
      if limit is not None and len(seen) >= limit:
        break
      try:
        example, *how = reader.example(spec, raw)
        if example.id in seen:
          raise duplicate(example.id)
      except records.Reject as reject:
        rejects(rejected(raw, reject))
        continue
      seen.add(example.id)
      for message in reading.add(example.source, *how):
        announce(message)
      yield example
  reader.finish()
