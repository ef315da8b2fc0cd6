"""The merge: splits in their order become one pool, as if read by one.

The first of several equal examples stays, wherever the others are; what a
split counted for another one is counted for nothing.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from etils import epath
from jaxtyping import Bool, Int

from ila_jax.pool import examples as examples_lib
from ila_jax.pool import index, shards, unread
from ila_jax.pool import rejects as rejects_lib
from ila_jax.pool import seen as seen_lib
from ila_jax.pool.contamination import findings as findings_lib
from ila_jax.pool.sources import columnar
from ila_jax.pool.splits import field_watch, spans
from ila_jax.pool.splits import splits as splits_lib
from ila_jax.pool.tokens import tally as tally_lib
from ila_jax.run import tables
from ila_jax.run.disk import files

_NUMBERS = (
  *("id", "prompt_id", "n_labels", "n_prompt_tokens", "n_response_tokens"),
)
_FATE = ("source", "fate", "response", "cut_prompt", "cut_response", "left_out")


class Counts(NamedTuple):
  """What a merge adds to.

  Attributes:
    rejects: gets what is not used.
    tally: of the tokenized examples.
    reading: of how records were read.
    found: of what repeats an evaluation set; None: none was named.
  """

  rejects: rejects_lib.RejectCounter
  tally: tally_lib.Tally
  reading: unread.Reading
  found: findings_lib.Findings | None


class Merge:
  """A pool, while its splits are merged.

  Attributes:
    columns: the index.
    cut: the used examples that were cut, as `truncated.parquet` has them.
    examples: different ones so far, those that are not used after all included.
    with_labels: used examples that have labels.
  """

  def __init__(
    self,
    cutter: shards.Cutter,
    counts: Counts,
    *,
    rules: examples_lib.Rules,
    limit: int | None,
    announce: Callable[[str], object],
  ):
    """Begins with no split.

    Args:
      cutter: gets the records.
      counts: are added to.
      rules: how the records were read.
      limit: different examples, the first so many; None: all.
      announce: gets a line for what a source shows first.
    """
    self.columns = index.Columns()
    self.cut: list[pa.Table] = []
    self.examples = self.with_labels = 0
    self._cutter, self._counts = cutter, counts
    self._rules, self._limit, self._announce = rules, limit, announce
    self._seen = seen_lib.Seen()
    self._said: set[str] = set()
    self._lost: columnar.Lost = {}
    self._lines: dict[str, int] = {}  # Of a file, as far as it was merged.
    self._watches: dict[tuple[str, str], field_watch.FieldWatch] = {}

  @property
  def is_full(self) -> bool:
    """Whether the limit is reached: no more splits are wanted."""
    return self._limit is not None and self.examples >= self._limit

  def add(self, split: splits_lib.Split, root: epath.PathLike) -> None:
    """Adds the next split, which was read.

    Raises:
      errors.InputError: a configured field that no record of a source has.
    """
    told = files.read_json(tables.SPLIT.path(root, shard=split.number))
    path = tables.SPLIT_OUTCOMES.path(root, shard=split.number)
    with files.reading(path) as stream:
      rows = pq.read_table(stream)
    is_new = self._first_ones(rows)
    # What follows the last one that is wanted was not to be read.
    rows = rows.slice(0, len(is_new))
    part = _Part(split, told, rows, is_new, self._offsets(split, told))
    for message in told["said"]:
      self._say(message)
    self._watch(part)
    self._read(part)
    self._tokenized(part)
    self._reject(part)
    self._match(part)
    self._use(part, root)
    for *cell, count in told["lost"]:
      known = self._lost.get(tuple(cell), 0)
      self._lost[tuple(cell)] = known + count

  def finish(self) -> None:
    """Writes the last shard, and checks what is known at the end alone.

    Raises:
      errors.InputError: a configured field that no record of a source has, or
        answers that count their choices from 1.
    """
    self._cutter.finish()
    for message in columnar.told_lost(self._lost):
      self._announce(message)
    for watch in self._watches.values():
      watch.check()
      watch.indices.check()

  def _say(self, message: str) -> None:
    if message not in self._said:
      self._said.add(message)
      self._announce(message)

  def _first_ones(self, rows: pa.Table) -> Bool[np.ndarray, " r"]:
    """Which rows are the first with their id, up to the limit."""
    ids = rows["id"].to_numpy()
    there = np.flatnonzero(pc.greater_equal(rows["how"], 0).to_numpy())
    is_new = np.zeros(len(ids), np.bool_)
    is_new[there] = self._seen.add_many(ids[there])
    new = np.flatnonzero(is_new)
    if self._limit is not None and len(new) >= self._limit - self.examples:
      new = new[: self._limit - self.examples]
      is_new = is_new[: new[-1] + 1]
    self.examples += len(new)
    return is_new

  def _offsets(
    self, split: splits_lib.Split, told: dict[str, Any]
  ) -> Int[np.ndarray, " s"]:
    """Lines of the file before each span, where it counts from its own."""
    offsets = []
    for span, lines in zip(split.spans, told["lines"], strict=False):
      path = span.file.path if span.file else ""
      before = self._lines.get(path, 0) if spans.is_of_lines(span) else 0
      offsets.append(before)
      self._lines[path] = before + lines
    return np.array(offsets, np.int64)

  def _watch(self, part: "_Part") -> None:
    parsed = part.rows.filter(part.rows["is_parsed"])
    specs = [span.spec for span in part.split.spans]
    places = np.array([specs.index(spec) for spec in specs])
    spec_of = places[parsed["span"].to_numpy()]
    source_of = parsed["source"].to_numpy()
    for spec, source, found, names, counts in part.told["watches"]:
      key = spec, source
      if key not in self._watches:
        fields = examples_lib.source_fields(*key, self._rules)
        self._watches[key] = field_watch.FieldWatch(source, fields)
      is_own = spec_of == specs.index(spec)
      is_own &= source_of == part.told["sources"].index(source)
      self._watches[key].follow(int(is_own.sum()), found, names)
      self._watches[key].indices.follow(counts)

  def _read(self, part: "_Part") -> None:
    """Counts how examples were read, in the order of the first of each kind."""
    hows = part.told["hows"]
    kind = (
      part.new["source"].to_numpy() * len(hows) + part.new["how"].to_numpy()
    )
    kinds, first, counts = np.unique(
      kind, return_index=True, return_counts=True
    )
    for place in np.argsort(first):
      source, how = divmod(int(kinds[place]), len(hows))
      shape, weights, unread_names = hows[how]
      notes = unread.Notes()
      notes.weights.update(weights)
      notes.unread.update(unread_names)
      for message in self._counts.reading.add(
        part.told["sources"][source], shape, notes, int(counts[place])
      ):
        self._announce(message)

  def _tokenized(self, part: "_Part") -> None:
    rows = part.new.filter(pc.not_equal(part.new["fate"], ""))
    groups = rows.group_by(list(_FATE)).aggregate(
      [("largest_token", "max"), ("id", "count")]
    )
    for row in groups.to_pylist():
      outcome = tally_lib.Outcome(
        row["fate"],
        row["response"],
        (row["cut_prompt"], row["cut_response"]),
        row["left_out"],
        row["largest_token_max"],
      )
      source = part.told["sources"][row["source"]]
      self._counts.tally.add_like(source, outcome, row["id_count"])

  def _reject(self, part: "_Part") -> None:
    reasons = np.array(pc.not_equal(part.rows["reason"], "").to_numpy())
    is_again = part.is_again
    shown = dict(part.told["shown"])
    for place in np.flatnonzero(reasons | is_again):
      row = part.rows.slice(place, 1).to_pylist()[0]
      reason, detail = row["reason"], row["detail"]
      if is_again[place]:
        reject = examples_lib.duplicate(row["id"])
        reason, detail = reject.reason, examples_lib.detail(reject)
      self._counts.rejects(
        rejects_lib.Rejected(
          part.told["files"][row["file"]],
          part.line(row),
          part.told["sources"][row["source"]],
          reason,
          detail,
          shown.pop(reason, ""),
        )
      )

  def _match(self, part: "_Part") -> None:
    if self._counts.found is None:
      return
    self._counts.found.compare(len(part.new))
    rows = part.new.filter(pc.not_equal(part.new["match"], ""))
    for row in rows.to_pylist():
      line = json.loads(row["match"]) | {"line": part.line(row)}
      self._counts.found.add(line)

  def _use(self, part: "_Part", root: epath.PathLike) -> None:
    """Adds the used examples to the index and to the shards."""
    rows = part.new.filter(part.new["is_used"])
    first_row = len(self.columns)
    names = np.array([*part.told["sources"], ""], object)
    numbers = {
      name: rows[name].to_numpy()
      for name in (*_NUMBERS, "cut_prompt", "cut_response")
    }
    was_cut = (numbers["cut_prompt"] > 0) | (numbers["cut_response"] > 0)
    self.columns.extend(
      numbers
      | {
        "truncated": was_cut,
        "source": names[rows["source"].to_numpy()].tolist(),
        "domain": rows["domain"].to_pylist(),
      }
    )
    self.with_labels += pc.sum(rows["has_labels"]).as_py() or 0
    self.cut.append(
      pa.table(
        {
          "row": first_row + np.flatnonzero(was_cut),
          "id": numbers["id"][was_cut],
          "prompt": numbers["cut_prompt"][was_cut].astype(np.int32),
          "response": numbers["cut_response"][was_cut].astype(np.int32),
        }
      )
    )
    used = part.rows["is_used"].to_numpy()
    stays = part.is_new[used]
    path = tables.SPLIT_RECORDS.path(root, shard=part.split.number)
    with files.reading(path) as stream:
      begin = 0
      for batch in pq.ParquetFile(stream).iter_batches(1024):
        kept = stays[begin : begin + len(batch)]
        begin += len(batch)
        table = pa.Table.from_batches([batch])
        own = table.slice(0, len(kept)).filter(pa.array(kept))
        self._cutter.add(own)


class _Part(NamedTuple):
  """A split, as far as it is merged.

  Attributes:
    split: of the pool.
    told: its `split.json`.
    rows: its outcomes, up to the limit.
    is_new: which of them are the first with their id.
    offsets: lines of the file before each span.
  """

  split: splits_lib.Split
  told: dict[str, Any]
  rows: pa.Table
  is_new: np.ndarray
  offsets: np.ndarray

  @property
  def new(self) -> pa.Table:
    """The rows of examples that no split before had."""
    return self.rows.filter(pa.array(self.is_new))

  @property
  def is_again(self) -> np.ndarray:
    """Which rows are examples of an earlier split."""
    is_example = pc.greater_equal(self.rows["how"], 0).to_numpy()
    return np.asarray(is_example) & ~self.is_new

  def line(self, row: dict[str, Any]) -> int:
    """The line at which a row stands in its file."""
    return row["line"] + int(self.offsets[row["span"]])
