"""The pool: usable examples of all sources, with stable ids and no duplicates.

Records stream: what is held of each is a number, the id. Whatever is not
used is a reject with file, line and reason, so that used + rejected = read.
"""

import collections
import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ila_jax import errors, records, sources, turns

# Records of a source in which each configured field must be found.
_PATIENCE_RECORDS = 1000


class Example(NamedTuple):
  """One usable record.

  Attributes:
    id: 16 hex digits of the SHA-256 of the turns.
    prompt_id: the same of all that stands before the first response.
    source: name of the file without suffixes, of the data set or the package.
    turns: system, user and assistant turns; the last is the assistant's.
    n_labels: K of section 2.2, at least 1.
    has_labels: whether the record had labels; without them K is 1.
    domain: from the domain field; "" without one.
    record_json: the record in one line, as a JSON value equal to what was read.
    file: where it stood.
    line: 1-based line; in arrays and columnar files the record's number.
  """

  id: str
  prompt_id: str
  source: str
  turns: tuple[records.Turn, ...]
  n_labels: int
  has_labels: bool
  domain: str
  record_json: str
  file: str
  line: int


class Rejected(NamedTuple):
  """One line of `rejects.jsonl`: a record that is not used, and why."""

  file: str
  line: int
  source: str
  reason: str
  detail: str


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
      InputError: too many rejects; names the three commonest reasons. Or
        nothing to use at all.
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
    found = "; ".join(
      f"{count} {reason} ({_place(self._first[reason])})"
      for reason, count in counts.most_common(3)
    )
    raise errors.InputError(
      f"{n_bad} of {n_read} records ({100 * n_bad / n_read:.1f} %) are "
      f"rejected: {found}. Allowed by config.pool.max_reject_fraction: "
      f"{100 * self._limit:g} %, and one usable record. "
      f"{_remedy(counts.most_common(1)[0][0])}, or raise the fraction."
    )


DUPLICATE = "duplicate"
# What helps against a reason, where it is neither the files nor the fields.
_REMEDIES = {
  "longer than max_tokens": "Raise --config.tokens.max_tokens, or set "
  "--config.tokens.overflow=truncate_prompt, which cuts prompts from the left",
  "answers longer than max_tokens": "Raise --config.tokens.max_tokens",
}


def _remedy(reason: str) -> str:
  """What to do about most of the rejects."""
  return _REMEDIES.get(
    reason,
    "Map the fields with --config.pool.fields.prompt=... and .response=..., "
    "mend the files",
  )


def _place(rejected: Rejected) -> str:
  detail = f", {rejected.detail[:200]}" if rejected.detail else ""
  return f"first {rejected.file} line {rejected.line}{detail}"


class _FieldWatch:
  """Finds configured fields that no record of a source has: a wrong name."""

  def __init__(self, source: str, fields: records.Fields):
    self._source, self._n_seen = source, 0
    self._missing = {n: p for n, p in fields._asdict().items() if p}
    self._names: dict[str, None] = {}

  def see(self, record: Mapping) -> None:
    if not self._missing:
      return
    self._n_seen += 1
    self._names.update(dict.fromkeys(list(record)[:50]))
    for name, path in list(self._missing.items()):
      if records.lookup(record, path) is not records.MISSING:
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


def _source_fields(
  spec: str,
  source: str,
  fields: Mapping[str, str],
  overrides: Mapping[str, Mapping[str, str]],
) -> records.Fields:
  """What is configured for a source: the last that names a field decides."""
  merged = sources.known_fields(spec)
  merged.update({name: path for name, path in fields.items() if path})
  for pattern, own in overrides.items():
    if fnmatch.fnmatchcase(source, pattern):
      merged.update(own)
  return records.Fields(**merged)


def _example(raw: records.RawRecord, fields: records.Fields) -> Example:
  record = raw.record
  said = turns.to_turns(record, fields)
  n_labels = records.n_labels(record, fields.labels)
  domain = records.domain(record, fields.domain)
  try:
    ids = records.example_id(said), records.prompt_id(said)
    domain.encode()
  except UnicodeEncodeError as error:
    raise records.Reject("text is not Unicode", error.reason) from error
  return Example(
    *ids,
    raw.source,
    said,
    1 if n_labels is None else n_labels,
    n_labels is not None,
    domain,
    raw.text,
    raw.file,
    raw.line,
  )


def _resolved(
  raw: records.RawRecord, configured: records.Fields
) -> records.Fields:
  """Where a record's fields stand; a cell that is lost must be none of them."""
  # A stand-in: the shape is told by the columns, not by what a row has lost.
  shown = {**raw.record, **{column: column for column, _ in raw.lost}}
  fields = records.resolve(shown, configured)
  roots = {path.partition(".")[0] for path in fields if path}
  for column, why in raw.lost:
    if column in roots:
      raise records.Reject("a cell cannot be read", f"column {column!r}: {why}")
  return fields


def _rejected(raw: records.RawRecord, reject: records.Reject) -> Rejected:
  # Names of fields come from the record: of any length, and of any characters.
  detail = reject.detail[:500].encode(errors="backslashreplace").decode()
  return Rejected(raw.file, raw.line, raw.source, reject.reason, detail)


class _Reader:
  """What is remembered of each source while its records pass."""

  def __init__(self, fields, overrides, announce):
    self._fields, self._overrides = fields, overrides
    self._announce = announce
    self._configured: dict[tuple[str, str], records.Fields] = {}
    self._watches: dict[tuple[str, str], _FieldWatch] = {}
    self._announced: set[tuple[str, records.Fields]] = set()

  def example(self, spec: str, raw: records.RawRecord) -> Example:
    """The raw record as an example; raises Reject where it is not usable."""
    if raw.record is None:
      raise records.Reject(raw.reason, raw.detail)
    key = spec, raw.source
    if key not in self._configured:
      configured = _source_fields(*key, self._fields, self._overrides)
      self._configured[key] = configured
      self._watches[key] = _FieldWatch(raw.source, configured)
    self._watches[key].see(raw.record)
    fields = _resolved(raw, self._configured[key])
    example = _example(raw, fields)
    if (raw.source, fields) not in self._announced:
      self._announced.add((raw.source, fields))
      self._announce(f"{raw.source}: {fields}")
    return example

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
  rejects: Callable[[Rejected], object],
  fields: Mapping[str, str] | None = None,
  overrides: Mapping[str, Mapping[str, str]] | None = None,
  limit: int | None = None,
  announce: Callable[[str], object] = lambda message: None,
  data_dir: str | None = None,
) -> Iterator[Example]:
  """Streams the usable examples of all sources, each only once.

  Args:
    specs: sources, as `sources.open_source` takes them, in order.
    rejects: gets every record that is not used.
    fields: where records keep things, such as {"prompt": "problem"}; what is
      left out is detected from the names of the record's fields.
    overrides: {pattern of source names: fields} for single sources; an empty
      path takes back what `fields` says.
    limit: examples to use, the first so many; None: all.
    announce: gets a line per source and shape: the fields that are read.
    data_dir: where TFDS keeps its data; None: its default.

  Raises:
    InputError: a source that cannot be read, an unknown name of a field, or a
      configured field that no record has.

  >>> examples = read(["docstrings:json"], rejects=print, limit=1)
  >>> next(examples).source
  'json'
  """
  fields, overrides = dict(fields or {}), dict(overrides or {})
  records.fields_from(fields, where="config.pool.fields")
  for pattern, own in overrides.items():
    records.fields_from(own, where=f"config.pool.overrides[{pattern!r}]")
  if warning := _vain_overrides(specs, overrides):
    announce(warning)
  reader = _Reader(fields, overrides, announce)
  seen: set[int] = set()
  for spec in specs:
    opened = sources.open_source(spec, data_dir=data_dir, announce=announce)
    for raw in opened:
      if limit is not None and len(seen) >= limit:
        break
      try:
        example = reader.example(spec, raw)
        digest = int(example.id, 16)
        if digest in seen:
          raise records.Reject(DUPLICATE, f"of the earlier {example.id}")
      except records.Reject as reject:
        rejects(_rejected(raw, reject))
        continue
      seen.add(digest)
      yield example
  reader.finish()
