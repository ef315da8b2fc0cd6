"""A task: one split is read, tokenized, and written down for the merge.

A split has a folder of its own, so that many machines may write side by side:
its used records, the outcome of each record, and at last `split.json`, which
says what they were made from.
"""

import contextlib
import json
from collections.abc import Callable, Hashable
from typing import Any

import pyarrow.parquet as pq
from etils import epath

from ila_jax import errors
from ila_jax.pool import examples as examples_lib
from ila_jax.pool import records, shards
from ila_jax.pool import seen as seen_lib
from ila_jax.pool.contamination import findings
from ila_jax.pool.sources import sources
from ila_jax.pool.splits import job as job_lib
from ila_jax.pool.splits import outcomes
from ila_jax.pool.splits import splits as splits_lib
from ila_jax.pool.tokens import encode, tally
from ila_jax.pool.tokens import overflow as overflow_lib
from ila_jax.run import tables
from ila_jax.run.disk import checksums, files

# Examples that are tokenized in one call; records that are held at most.
_TOKENIZE_EXAMPLES, _HELD_RECORDS = 1024, 8192
# Records that are shown in a message have fewer characters.
_SHOWN_CHARACTERS = 1 << 20
# Is called with the file, the line and the number of records so far.
Beat = Callable[[str, int, int], object]


def folder(root: epath.PathLike) -> epath.Path:
  """The folder of all splits that were read, in that of a run.

  >>> folder("runs/first").name
  'pool_splits'
  """
  return tables.SPLIT.path(root, shard=0).parent.parent


def is_done(
  job: job_lib.Job, split: splits_lib.Split, root: epath.Path
) -> bool:
  """Whether a split was read, from what is there now, and is whole.

  Args:
    job: of which the split is a part.
    split: of the pool.
    root: folder of the run.
  """
  mark = tables.SPLIT.path(root, shard=split.number)
  if not mark.exists():
    return False
  try:
    if files.read_json(mark)["key"] != job.key(split):
      return False
  except (errors.InputError, KeyError, TypeError):
    return False
  others = tables.SPLIT_OUTCOMES, tables.SPLIT_RECORDS
  return all(
    checksums.is_whole(one.path(root, shard=split.number)) for one in others
  )


def run(
  job: job_lib.Job,
  tools: job_lib.Tools,
  split: splits_lib.Split,
  root: epath.PathLike,
  beat: Beat = lambda file, line, count: None,
) -> int:
  """Reads one split, and writes what the merge needs.

  Args:
    job: of which the split is a part.
    tools: of the job.
    split: of the pool.
    root: folder of the run; gets `pool_splits/NUMBER/`.
    beat: called now and then with file, line and the records so far.

  Returns:
    The records that were read.

  Raises:
    errors.InputError: what makes the rest of a file unreadable.
  """
  key = job.key(split)  # Before it is read: a file may change meanwhile.
  place = {"shard": split.number}
  with contextlib.ExitStack() as stack:
    used, rows = (
      stack.enter_context(
        pq.ParquetWriter(
          stack.enter_context(files.create(artifact.path(root, **place))),
          schema,
          compression="zstd",
        )
      )
      for artifact, schema in (
        (tables.SPLIT_RECORDS, shards.SCHEMA),
        (tables.SPLIT_OUTCOMES, outcomes.SCHEMA),
      )
    )
    reading = _Reading(job, tools, used, rows)
    for number, span in enumerate(split.spans):
      if not reading.read(number, span, beat):
        break
    reading.flush()
  text = json.dumps({"key": key, **reading.told()}) + "\n"
  with files.create(tables.SPLIT.path(root, **place)) as file:
    file.write(text.encode())
  return reading.count


class _Places(dict[Hashable, int]):
  """Names in the order in which they came, and their places."""

  def __missing__(self, name: Hashable) -> int:
    self[name] = place = len(self)
    return place


class _Reading:
  """The reading of one split: what is held between two writings."""

  def __init__(
    self,
    job: job_lib.Job,
    tools: job_lib.Tools,
    used: pq.ParquetWriter,
    rows: pq.ParquetWriter,
  ):
    self._job, self._tools = job, tools
    self._used_file, self._rows_file = used, rows
    self._reader = examples_lib.Reader(tools.rules)
    self._seen = seen_lib.Seen()
    self._held: list[outcomes.Outcome] = []
    # Place among those held, and the example, of what is to be tokenized.
    self._pending: list[tuple[int, examples_lib.Example]] = []
    self.count = self._n_used = 0
    self._files, self._sources, self._hows = _Places(), _Places(), _Places()
    self._lines: list[int] = []
    self._said: dict[str, None] = {}
    self._lost: dict[tuple[str, str, str], int] = {}
    self._shown: dict[str, str] = {}

  def read(self, number: int, span: Any, beat: Beat) -> bool:
    """Reads a span; returns whether more are wanted."""
    self._lines.append(0)

    def counted(lines: int) -> None:
      self._lines[number] = lines

    raws = sources.read_span(
      span,
      announce=lambda message: self._said.setdefault(message),
      lost=self._lost,
      counted=counted,
    )
    for raw in raws:
      if self._job.limit is not None and len(self._seen) >= self._job.limit:
        return False
      self._add(number, span, raw)
      self.count += 1
      if (
        len(self._pending) >= _TOKENIZE_EXAMPLES
        or len(self._held) >= _HELD_RECORDS
      ):
        self.flush()
        beat(raw.file, raw.line, self.count)
    return True

  def _add(self, number: int, span: Any, raw: records.RawRecord) -> None:
    at = outcomes.Outcome(
      number,
      raw.line,
      self._files[raw.file],
      self._sources[raw.source],
      raw.record is not None,
    )
    try:
      example, shape, notes = self._reader.example(
        span.spec, raw, is_first=span.is_first
      )
      if example.id in self._seen:
        raise examples_lib.duplicate(example.id)
    except records.Reject as reject:
      self._held.append(self._rejected(at, reject, raw.text))
      return
    self._seen.add(example.id)
    how = shape, tuple(sorted(notes.weights)), tuple(sorted(notes.unread))
    match = self._tools.screen and self._tools.screen.match(example.turns)
    if not (match and self._job.removes):
      self._pending.append((len(self._held), example))
    self._held.append(
      at._replace(
        id=example.id,
        prompt_id=example.prompt_id,
        how=self._hows[how],
        n_labels=example.n_labels,
        has_labels=example.has_labels,
        domain=example.domain,
        match=json.dumps(findings.line(example, match)) if match else "",
      )
    )

  def _rejected(
    self, at: outcomes.Outcome, reject: records.Reject, text: str
  ) -> outcomes.Outcome:
    if len(text) <= _SHOWN_CHARACTERS:
      self._shown.setdefault(reject.reason, text)
    detail = examples_lib.detail(reject)
    return at._replace(reason=reject.reason, detail=detail)

  def flush(self) -> None:
    """Tokenizes what is held, and writes it down."""
    results = encode.encode_many(
      [example.turns for _, example in self._pending],
      self._tools.tokenizer,
      max_tokens=self._job.max_tokens,
      overflow=self._job.overflow,
    )
    kept = []
    for (place, example), result in zip(self._pending, results, strict=True):
      row = self._held[place]
      if isinstance(result, encode.Encoded | overflow_lib.TooLong):
        row = _counted(row, result, self._job.max_tokens)
      if isinstance(result, records.Reject):
        row = self._rejected(row, result, example.record_json)
      else:
        kept.append((example, result))
      self._held[place] = row
    self._rows_file.write_table(outcomes.table(self._held))
    if kept:
      self._used_file.write_table(shards.table_of(self._n_used, kept))
    self._n_used += len(kept)
    self._held, self._pending = [], []

  def told(self) -> dict[str, Any]:
    """What is known of the split beside the outcomes, as JSON values."""
    return {
      "records": self.count,
      "lines": self._lines,
      "files": list(self._files),
      "sources": list(self._sources),
      "hows": list(self._hows),
      "shown": self._shown,
      "said": list(self._said),
      "lost": [[*cell, count] for cell, count in self._lost.items()],
      "watches": [
        [*key, watch.found, list(watch.names), watch.indices.counts]
        for key, watch in self._reader.watches.items()
      ],
    }


def _counted(
  row: outcomes.Outcome,
  result: encode.Encoded | overflow_lib.TooLong,
  max_tokens: int,
) -> outcomes.Outcome:
  """The outcome with the numbers of a tokenized example."""
  one = tally.outcome(result, max_tokens=max_tokens)
  row = row._replace(
    fate=one.fate,
    response=one.response,
    cut_prompt=one.cut[0],
    cut_response=one.cut[1],
    left_out=one.left_out,
    largest_token=one.largest_token,
  )
  if isinstance(result, overflow_lib.TooLong):
    return row
  responses = int(result.is_response.sum())
  return row._replace(
    is_used=True,
    n_prompt_tokens=len(result.ids) - responses,
    n_response_tokens=responses,
  )
