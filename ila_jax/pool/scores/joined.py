"""Files with scores that stand beside a pool, joined by id or by text.

A record belongs to the example whose id it has (`id`, 16 hex digits, as a run
writes it, or that number); else to the example of its prompt and response; or,
where it has no response, to all examples of its prompt. Where it has no prompt,
it belongs to the example whose record has the same id in the same field.
"""

import array
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from ila_jax import errors
from ila_jax.pool import examples, records
from ila_jax.pool.contamination import evaluation
from ila_jax.pool.scores import ids as ids_lib
from ila_jax.pool.scores import names as names_lib
from ila_jax.pool.scores import numeric
from ila_jax.pool.shapes import fields as fields_lib
from ila_jax.pool.sources import sources
from ila_jax.run import tables

FIELD = "config.pool.scores"
# Records of each file in which fields with numbers are sought.
_LOOKED_AT = 1000
_ID = re.compile(r"[0-9a-fA-F]{16}")
# How a record can belong to examples.
_BY_ID, _BY_PROMPT, _BY_OWN = range(3)
_OTHER_TEXT = "no example of the pool has this text"

_Announce = Callable[[str], object]


class Pool(NamedTuple):
  """The examples of a pool, how its records are read, and ids in them."""

  ids: UInt64[np.ndarray, " n"]
  prompt_ids: UInt64[np.ndarray, " n"]
  rules: examples.Rules
  given_ids: ids_lib.Read | None = None


class Joined(NamedTuple):
  """Scores of a pool from files.

  Attributes:
    values: float32 [n, k]; NaN where there is none.
    has: whether any record of the files has a number there [k].
  """

  values: Float[np.ndarray, "n k"]
  has: Bool[np.ndarray, " k"]


class _File:
  """What one file says: a key and numbers of each record that has a key."""

  def __init__(self, width: int):
    self._width = width
    self.keys, self.kinds = array.array("Q"), array.array("b")
    self._lines, self._values = array.array("q"), array.array("f")
    self._begins: dict[str, int] = {}  # Of each file, in their order.
    self.read, self.first_lost = 0, ""
    self.id_field = ""  # Of records without a prompt.

  def add(
    self, key: int, kind: int, raw: records.RawRecord, held: list[float]
  ) -> None:
    self._begins.setdefault(raw.file, len(self.keys))
    self.keys.append(key)
    self.kinds.append(kind)
    self._lines.append(raw.line)
    self._values.extend(held)

  def own_id(self, record: Mapping[str, Any]) -> int:
    """The id of a record in the field where the first has one; 0: none."""
    self.id_field = self.id_field or ids_lib.name(record)
    return ids_lib.number(record.get(self.id_field))

  def where(self, place: int) -> str:
    """File and line of a record that has a key."""
    files = [file for file, begin in self._begins.items() if begin <= place]
    return f"{files[-1]} line {self._lines[place]}"

  @property
  def values(self) -> Float[np.ndarray, "m k"]:
    return np.array(self._values, np.float32).reshape(-1, self._width)


def paths(specs: Sequence[str], rules: examples.Rules) -> list[str]:
  """The fields of files that hold numbers, by the first records of each.

  Args:
    specs: files, as `sources.open_source` takes them.
    rules: as pools are read by.

  Raises:
    errors.InputError: a file that cannot be read.
  """
  found: dict[str, None] = {}
  for spec in specs:
    held, read = [], set()
    for raw in itertools.islice(_opened(spec), _LOOKED_AT):
      if raw.record is not None:
        held.append(raw.record)
        for fields in _readings(spec, raw, rules):
          read |= {
            part
            for named in _resolved(raw.record, fields)
            for part in named.split(", ")
          }
    found |= dict.fromkeys(numeric.paths(held, read=read))
  return list(found)


def read(
  specs: Sequence[str],
  fields: Sequence[str],
  *,
  pool: Pool,
  announce: _Announce = lambda message: None,
) -> Joined:
  """Reads the scores of a pool's examples from files.

  Args:
    specs: files, as `sources.open_source` takes them; the first that has a
      number counts.
    fields: dotted paths of the scores in their records.
    pool: the examples.
    announce: gets a line for each file: how much of it belongs to the pool.

  Raises:
    errors.InputError: a file that cannot be read, or of which no record
      belongs to an example.
  """
  values = np.full((len(pool.ids), len(fields)), np.nan, np.float32)
  has = np.zeros(len(fields), np.bool_)
  known = np.sort(pool.ids)  # A set of Python's takes ten times the memory.
  for spec in specs:
    file = _read(spec, fields, pool.rules, known)
    own, told = _matched(spec, file, pool)
    both = ~np.isnan(values) & ~np.isnan(own)
    unlike = int((both & (values != own)).any(axis=1).sum())
    if unlike:
      told += (
        f"; for {unlike:,} of them an earlier file has other numbers, which "
        "count"
      )
    announce(f"{spec}: {told}")
    values = np.where(np.isnan(values), own, values)
    has |= ~np.isnan(file.values).all(axis=0) if len(file.keys) else False
  return Joined(values, has)


def _opened(spec: str) -> Iterator[records.RawRecord]:
  with evaluation.names_field(FIELD):
    yield from sources.open_source(spec)


def _readings(
  spec: str, raw: records.RawRecord, rules: examples.Rules
) -> list[fields_lib.Fields]:
  """How a record may be read: as the pool is, or by its own names."""
  return [examples.source_fields(spec, raw.source, rules), fields_lib.Fields()]


def _resolved(
  record: Mapping[str, Any], fields: fields_lib.Fields
) -> Iterable[str]:
  try:
    return filter(None, fields_lib.resolve(record, fields))
  except records.Reject:
    return ()


def _read(
  spec: str,
  fields: Sequence[str],
  rules: examples.Rules,
  known: UInt64[np.ndarray, " n"],
) -> _File:
  file = _File(len(fields))
  for raw in _opened(spec):
    file.read += 1
    try:
      key, kind = _key(spec, raw, rules, known)
    except records.Reject as reject:
      is_other = raw.record is None or reject.reason == _OTHER_TEXT
      key, kind = 0 if is_other else file.own_id(raw.record or {}), _BY_OWN
      if not key:
        detail = f", {reject.detail[:200]}" if reject.detail else ""
        file.first_lost = file.first_lost or (
          f"{raw.file} line {raw.line}: {reject.reason}{detail}"
        )
        continue
    held = [numeric.at(raw.record or {}, path)[0] for path in fields]
    file.add(key, kind, raw, held)
  return file


def _key(
  spec: str,
  raw: records.RawRecord,
  rules: examples.Rules,
  known: UInt64[np.ndarray, " n"],
) -> tuple[int, int]:
  """The id by which a record is joined, and of what it is; `known` ascend.

  Raises:
    records.Reject: it has neither an id of the pool nor a prompt.
  """
  if raw.record is None:
    raise records.Reject(raw.reason, raw.detail)
  own = raw.record.get("id")
  if isinstance(own, str) and _ID.fullmatch(own.strip()):
    own = int(own.strip(), 16)
  if isinstance(own, int) and ids_lib.is_among(known, own):
    return own, _BY_ID
  because = None
  for configured in _readings(spec, raw, rules):
    try:
      turns = evaluation.turns_of(raw.record, configured)
      if not turns[-1].text and not turns[-1].calls:
        return records.prompt_id(turns), _BY_PROMPT
      key = records.example_id(turns)
    except (records.Reject, UnicodeEncodeError) as error:
      because = because or error
      continue
    if ids_lib.is_among(known, key):
      return key, _BY_ID
    because = records.Reject(_OTHER_TEXT)
  if isinstance(because, records.Reject):
    raise because
  raise records.Reject("text is not Unicode")


def _matched(
  spec: str, file: _File, pool: Pool
) -> tuple[Float[np.ndarray, "n k"], str]:
  """The file's scores of each example, and how many it has, in words."""
  keys = np.array(file.keys, np.uint64)
  kinds = np.array(file.kinds, np.int8)
  values = file.values
  own = np.full((len(pool.ids), values.shape[1]), np.nan, np.float32)
  is_met = np.zeros(len(pool.ids), np.bool_)
  belongs = np.zeros(len(keys), np.bool_)
  unlike: list[np.ndarray] = []
  by_kind = [pool.ids, pool.prompt_ids]
  if file.id_field and pool.given_ids is not None:
    by_kind.append(pool.given_ids(file.id_field))
  for kind, ids in enumerate(by_kind):
    these = np.flatnonzero(kinds == kind)
    _, first, number = np.unique(
      keys[these], return_index=True, return_inverse=True
    )
    same = (values[these] == values[these[first[number]]]) | (
      np.isnan(values[these]) & np.isnan(values[these[first[number]]])
    )
    row, place = _pairs(keys[these[first]], ids)
    belongs[these] = np.isin(number, place)
    unlike.append(these[~same.all(axis=1) & belongs[these]])
    free = ~is_met[row]
    own[row[free]] = values[these[first[place[free]]]]
    is_met[row] = True
  return own, _told(spec, file, belongs, np.concatenate(unlike), is_met)


def _pairs(
  keys: UInt64[np.ndarray, " m"], ids: UInt64[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
  """The rows whose id is one of the keys, and the place of that key."""
  order = np.argsort(ids, kind="stable")
  low = np.searchsorted(ids[order], keys, side="left")
  count = np.searchsorted(ids[order], keys, side="right") - low
  place = np.repeat(np.arange(len(keys)), count)
  inside = np.arange(len(place)) - np.repeat(np.cumsum(count) - count, count)
  return order[low[place] + inside], place


def _told(
  spec: str,
  file: _File,
  belongs: Bool[np.ndarray, " m"],
  unlike: Int[np.ndarray, " u"],
  is_met: Bool[np.ndarray, " n"],
) -> str:
  """How much of a file belongs to the pool, in words.

  Raises:
    errors.InputError: nothing does.
  """
  first_lost = file.first_lost
  lost = file.read - int(belongs.sum())
  if lost and not first_lost:
    place = int(np.flatnonzero(~belongs)[0])
    none = "no example of the pool has this prompt"
    if file.kinds[place] == _BY_OWN:
      none = f"no example of the pool, or several, have this {file.id_field!r}"
    first_lost = f"{file.where(place)}: {none}"
  if not is_met.any():
    raise errors.InputError(
      f"{FIELD} is {spec!r}, and none of its {file.read:,} records belongs to "
      f"an example of the pool (the first is {first_lost or 'not there'}); "
      f"allowed: records with `id`, as {tables.RANKING.template} has it, or "
      "with the prompt, or the prompt and the response, of the pool's records, "
      "or without a prompt and with the `id` of a pool's record. "
      "Name their fields with --config.pool.overrides=\"{'NAME': {'prompt': "
      "'FIELD'}}\", where NAME is that of the file without suffixes; or name "
      f"the scores that the pool's own records hold with "
      f"--{names_lib.FIELD}."
    )
  told = (
    f"of {file.read:,} records {file.read - lost:,} belong to "
    f"{is_met.sum():,} of {len(is_met):,} examples"
  )
  if lost:
    told += f"; {lost:,} belong to none (the first is {first_lost})"
  if len(unlike):
    told += (
      f"; {len(unlike):,} repeat an earlier one with other numbers (the first "
      f"is {file.where(int(unlike.min()))}), and the earlier counts"
    )
  return told
