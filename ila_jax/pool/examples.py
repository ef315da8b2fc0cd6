"""The pool: usable examples of all sources, with stable ids and no duplicates.

Records stream: what is held of each is a number, the id. Whatever is not
used is a reject with file, line and reason, so that used + rejected = read.
"""

import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ila_jax import errors
from ila_jax.pool import records, unread
from ila_jax.pool import rejects as rejects_lib
from ila_jax.pool import seen as seen_lib
from ila_jax.pool.shapes import fields as fields_lib
from ila_jax.pool.shapes import labels, turns
from ila_jax.pool.sources import delimited, json_text, sources

# Records of a source in which each configured field must be found.
_PATIENCE_RECORDS = 1000


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


class _FieldWatch:
  """Finds configured fields that no record of a source has: a wrong name."""

  def __init__(self, source: str, fields: fields_lib.Fields):
    self._source, self._n_seen = source, 0
    self._missing = {n: p for n, p in fields._asdict().items() if p}
    self._names: dict[str, None] = {}

  def see(self, record: Mapping) -> None:
    if not self._missing:
      return
    self._n_seen += 1
    self._names.update(dict.fromkeys(list(record)[:50]))
    for name, path in list(self._missing.items()):
      paths = [path]
      if name in fields_lib.SEVERAL:
        paths = records.paths(record, path)
      if any(records.lookup(record, p) is not records.MISSING for p in paths):
        del self._missing[name]
    if self._n_seen >= _PATIENCE_RECORDS:
      self.check()

  def check(self) -> None:
    if not (self._missing and self._n_seen):
      return
    name, path = next(iter(self._missing.items()))
    raise errors.InputError(
      f"config.pool.fields.{name} is {path!r}, but none of the first "
      f"{self._n_seen} records of {self._source} has that field. Allowed: "
      f"{', '.join(list(self._names)[:50])}. Correct the name, or set it for "
      "one source only with config.pool.overrides."
    )


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
  is_named: bool,
  notes: unread.Notes,
) -> Example:
  record = raw.record
  said = turns.to_turns(
    record, read, answers=answers, replaces=is_named, notes=notes
  )
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


def _rejected(
  raw: records.RawRecord, reject: records.Reject
) -> rejects_lib.Rejected:
  # Names of fields come from the record: of any length, and of any characters.
  detail = reject.detail[:500].encode(errors="backslashreplace").decode()
  return rejects_lib.Rejected(
    raw.file, raw.line, raw.source, reject.reason, detail, raw.text
  )


class _Reader:
  """What is remembered of each source while its records pass."""

  def __init__(
    self,
    rules: Rules,
    announce: Callable[[str], object],
    reading: unread.Reading,
  ):
    self._rules = rules
    self._announce, self._reading = announce, reading
    self._configured: dict[tuple[str, str], fields_lib.Fields] = {}
    self._watches: dict[tuple[str, str], _FieldWatch] = {}
    self._names = functools.lru_cache(maxsize=4096)(str)

  def example(
    self, spec: str, raw: records.RawRecord
  ) -> tuple[Example, fields_lib.Fields, unread.Notes]:
    """The raw record as an example; raises Reject where it is not usable."""
    if raw.record is None:
      raise records.Reject(raw.reason, raw.detail)
    key = spec, raw.source
    if key not in self._configured:
      configured = source_fields(*key, self._rules)
      self._configured[key] = configured
      self._watches[key] = _FieldWatch(raw.source, configured)
    self._watches[key].see(raw.record)
    configured = self._configured[key]
    read = _resolved(raw, configured)
    notes, rule = unread.Notes(), self._rules.answers
    is_named = bool(configured.response)
    return _example(raw, read, rule, is_named, notes), read, notes

  def use(
    self, example: Example, read: fields_lib.Fields, notes: unread.Notes
  ) -> None:
    """Counts what was read of an example, and says what is new in it."""
    if read.conversation and read.response in notes.unread:
      read = read._replace(response="")
    for message in self._reading.add(example.source, self._names(read), notes):
      self._announce(message)

  def finish(self) -> None:
    for watch in self._watches.values():
      watch.check()


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
    InputError: a source that cannot be read, an unknown name of a field, or a
      configured field that no record has.

  >>> examples = read(["docstrings:json"], rejects=print, limit=1)
  >>> next(examples).source
  'json'
  """
  fields_lib.check_names(rules.fields, where="config.pool.fields")
  for pattern, own in rules.overrides.items():
    fields_lib.check_names(own, where=f"config.pool.overrides[{pattern!r}]")
  if warning := _vain_overrides(specs, rules.overrides):
    announce(warning)
  reading = unread.Reading() if reading is None else reading
  reader = _Reader(rules, announce, reading)
  seen = seen_lib.Seen()
  for spec in specs:
    opened = sources.open_source(spec, data_dir=data_dir, announce=announce)
    for raw in opened:
      if limit is not None and len(seen) >= limit:
        break
      try:
        example, *how = reader.example(spec, raw)
        if example.id in seen:
          earlier = f"of the earlier {example.id:016x}"
          raise records.Reject(rejects_lib.DUPLICATE, earlier)
      except records.Reject as reject:
        rejects(_rejected(raw, reject))
        continue
      seen.add(example.id)
      reader.use(example, *how)
      yield example
  reader.finish()
