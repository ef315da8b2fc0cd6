"""Stage `pool`: records become tokenized examples with ids, or rejects."""

import collections
import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.pool import base_tokenizer, index, records, shards, unread
from ila_jax.pool import examples as examples_lib
from ila_jax.pool import reading as reading_lib
from ila_jax.pool import rejects as rejects_lib
from ila_jax.pool import size as size_lib
from ila_jax.pool.contamination import evaluation, screen
from ila_jax.pool.contamination import findings as findings_lib
from ila_jax.pool.scores import names as names_lib
from ila_jax.pool.sources import sources
from ila_jax.pool.tokens import encode
from ila_jax.pool.tokens import overflow as overflow_lib
from ila_jax.pool.tokens import tally as tally_lib
from ila_jax.run import (
  context,
  draws,
  interrupts,
  progress,
  stage_record,
  tables,
)
from ila_jax.run.disk import files

# Examples that are tokenized in one call, by all threads.
_TOKENIZE_EXAMPLES = 1024


def run(run: context.Run) -> None:
  """Writes `pool/index.parquet`, `rejects.jsonl` and the record shards.

  used + rejected + contaminated = read, always; what is contaminated stands in
  `contamination.jsonl`. The dev split is drawn here: whole prompts, keyed by
  seed and prompt, so that no prompt is on both sides.

  Raises:
    errors.InputError: sources that cannot be read, too many rejects, or a
      pool too small for the dev split, the reference or the budget.
  """
  workdir = run.workdir
  inputs = _inputs(run)
  stage = stage_record.Stage(workdir, "pool", inputs)
  # A pool that never became whole is quickly read again from its start.
  if stage.begin(replace="unfinished"):
    return
  if mesh_lib.is_writer():
    with interrupts.alone():
      _read_and_write(run, stage)
  mesh_lib.barrier("pool read")
  counts = files.read_json(tables.COUNTS.path(workdir))
  stage.account.add(tokens=counts["tokens"])
  stage.finish(output=[inputs, index.fingerprint(workdir)], **counts)


def _inputs(run: context.Run) -> dict[str, Any]:
  """What a pool is made from; sources that moved away count as they were."""
  config, workdir = run.config, run.workdir
  tokenizer: dict[str, Any] = {"path": config.model.path}
  if config.model.path == config_lib.SCRATCH:
    tokenizer["vocab"] = config.model.scratch.vocab
  else:
    tokenizer["files"] = base_tokenizer.tokenizer_signature(config, workdir)
  signatures: dict[str, dict[str, Any]] = {"sources": {}, "evaluations": {}}
  if mesh_lib.is_writer():  # The others may not see the first host's files.
    made = stage_record.Stage(workdir, "pool", {}).recorded_inputs()
    with interrupts.alone():
      before = made.get("sources", {})
      for source in config.pool.sources:
        signatures["sources"][source] = _signature(source, workdir, before)
      before = made.get("evaluations", {})
      for source in config.pool.evaluations:
        with evaluation.names_field():
          signed = _signature(source, workdir, before)
        signatures["evaluations"][source] = signed
  return {
    "config": config.section("pool", "tokens"),
    "columns": shards.SCHEMA.names,  # Those of an older version had others.
    "tokenizer": tokenizer,
    **signatures,
    "seed": config.seed,
  }


def _signature(
  source: str, workdir: epath.Path, before: dict[str, Any]
) -> dict[str, Any] | str | None:
  """What a source is now; as it was before, where it cannot be compared."""
  try:
    signature = sources.signature(source, workdir=workdir)
  except errors.InputError:
    if source not in before:
      raise
    signature = None
  if source in before and None in (signature, before[source]):
    progress.say(f"  {source} cannot be compared: taken to be what it was")
    return before[source]
  return signature


def _read_and_write(run: context.Run, stage: stage_record.Stage) -> None:
  config, workdir = run.config, run.workdir
  _remove_what_was_begun(workdir)
  size_lib.check_count(config)
  tokenizer = base_tokenizer.tokenizer(config, workdir)
  columns, cut = index.Columns(), []
  tally = tally_lib.Tally(max_tokens=config.tokens.max_tokens)
  labelled = 0
  read: collections.Counter[str] = collections.Counter()
  scores = names_lib.parse(config.pool.fields.scores)
  reading = unread.Reading(names_lib.roots(scores))
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(files.create(tables.REJECTS.path(workdir)))
    rejects = rejects_lib.RejectCounter(
      lambda reject: file.write(files.json_line(reject.written()).encode()),
      max_reject_fraction=config.pool.max_reject_fraction,
    )
    found = _findings(config, workdir, stack)
    passing = _shards(config, tokenizer, rejects, read, reading, found, tally)
    for shard, kept in enumerate(passing):
      table = shards.table_of(len(columns), kept)
      shards.write_records(workdir, shard, table)
      cut.append(tally_lib.cut_rows(len(columns), kept))
      columns.add(kept)
      labelled += sum(example.has_labels for example, _ in kept)
  # The rejects are on disk by now, also when they end the run here.
  used, removed = len(columns), found.removed if found else 0
  limited = read["examples"] + removed == config.pool.limit
  counts = {
    "read": used + rejects.reasons.total() + removed,
    "used": used,
    "rejected": rejects.reasons.total(),
    "contaminated": removed,
    "contamination": found and found.told(),
    "reasons": dict(rejects.reasons.most_common()),
    "with_labels": labelled,
    "limited": limited,
    **reading.told(),
    **tally.told(),
  }
  _say_counts(workdir, counts)
  _say_what_was_read(config, reading, counts["answers_left_out"], limited)
  rejects.check(n_used=used + removed)
  _check_left(config, used, removed)
  is_dev = _dev(config, columns)
  columns.write(workdir, is_dev, shard_rows=config.pool.shard_examples)
  if counts["truncated"]:
    files.write_table(tables.TRUNCATED.path(workdir), pa.concat_tables(cut))
  with_domain = np.array([bool(name) for name in columns.names("domain")])
  counts |= {
    "with_domain": int(with_domain[columns["domain"]].sum()),
    "tokens": sum(
      int(columns[name].sum(dtype=np.int64))
      for name in ("n_prompt_tokens", "n_response_tokens")
    ),
  }
  files.write_json(tables.COUNTS.path(workdir), counts)


def _remove_what_was_begun(workdir: epath.Path) -> None:
  """Removes what a reading that was killed has left."""
  begun = shards.listed(workdir, tables.RECORDS)
  for path in (*begun, tables.TRUNCATED.path(workdir)):
    files.remove(path)


def _check_left(config: config_lib.Config, used: int, removed: int) -> None:
  if not used:
    raise errors.InputError(
      f"config.pool.decontaminate is {config.pool.decontaminate!r}, and all "
      f"{removed:,} usable examples of config.pool.source repeat a record of "
      "it. Allowed: a pool of which something is left. Name other sources, or "
      f"set --config.pool.contaminated={findings_lib.REPORT}."
    )


def _findings(
  config: config_lib.Config, workdir: epath.Path, stack: contextlib.ExitStack
) -> findings_lib.Findings | None:
  """Reads the evaluation sets; None: there are none.

  Args:
    config: the run.
    workdir: where what is found is written.
    stack: closes that file.
  """
  if not config.pool.evaluations:
    return None
  sets = evaluation.read(
    config.pool.evaluations,
    overrides=config.pool.overrides,
    announce=lambda message: progress.say(f"  {message}"),
  )
  screening = screen.Screen(
    progress.progress(sets, desc="evaluation sets", unit="records"),
    width=config.pool.contamination_ngram,
  )
  file = stack.enter_context(files.create(tables.CONTAMINATION.path(workdir)))
  return findings_lib.Findings(
    screening,
    action=config.pool.contaminated,
    write=lambda line: file.write(files.json_line(line).encode()),
  )


def _say_what_was_read(
  config: config_lib.Config,
  reading: unread.Reading,
  left_out: int,
  limited: bool,
) -> None:
  for line in unread.shares(reading.told()):
    progress.say(f"  {line}")
  if left_out:
    progress.say(
      f"  {left_out:,} earlier answers are context and not response: the chat "
      "template drops their thoughts, or changes what stands before them"
    )
  if limited:
    progress.say(
      f"  stopped at config.pool.limit, {config.pool.limit:,}: what follows in "
      "the sources was not read"
    )


def _shards(
  config: config_lib.Config,
  tokenizer: Any,
  rejects: rejects_lib.RejectCounter,
  read: collections.Counter[str],
  reading: unread.Reading,
  found: findings_lib.Findings | None,
  tally: tally_lib.Tally,
) -> Iterator[list[tuple[examples_lib.Example, encode.Encoded]]]:
  """Yields the usable examples, a shard at a time; counts what was read."""
  examples: Iterable[examples_lib.Example] = progress.progress(
    reading_lib.examples(
      config,
      rejects=rejects,
      announce=lambda message: progress.say(f"  {message}"),
      reading=reading,
    ),
    desc="pool",
    unit="examples",
  )
  examples = iter(found.passing(examples) if found else examples)
  pending: list[tuple[examples_lib.Example, encode.Encoded]] = []
  size = config.pool.shard_examples
  while batch := tuple(itertools.islice(examples, _TOKENIZE_EXAMPLES)):
    read["examples"] += len(batch)
    pending += _tokenized(config, tokenizer, rejects, tally, batch)
    while len(pending) >= size:
      yield pending[:size]
      pending = pending[size:]
  if pending:
    yield pending


def _tokenized(
  config: config_lib.Config,
  tokenizer: Any,
  rejects: rejects_lib.RejectCounter,
  tally: tally_lib.Tally,
  batch: tuple[examples_lib.Example, ...],
) -> Iterator[tuple[examples_lib.Example, encode.Encoded]]:
  encoded = encode.encode_many(
    [example.turns for example in batch],
    tokenizer,
    max_tokens=config.tokens.max_tokens,
    overflow=config.tokens.overflow,
  )
  for example, result in zip(batch, encoded, strict=True):
    if isinstance(result, encode.Encoded | overflow_lib.TooLong):
      tally.add(example.source, result)
    if isinstance(result, records.Reject):
      rejects(
        rejects_lib.Rejected(
          example.file,
          example.line,
          example.source,
          result.reason,
          result.detail,
          example.record_json,
        )
      )
    else:
      yield example, result


def _dev(config: config_lib.Config, columns: index.Columns) -> np.ndarray:
  """Draws the dev split; refuses a pool too small for the rest."""
  size_lib.check(config, columns["n_response_tokens"])
  dev = draws.draw(
    columns["prompt_id"],
    count=config.pool.dev_examples,
    seed=config.seed,
    purpose="dev",
    allowed=np.ones(len(columns), np.bool_),
  )
  warning = draws.overshoot(dev, count=config.pool.dev_examples)
  if warning:
    progress.say(f"  warning: config.pool.dev_examples: {warning}")
  return dev


def _say_counts(workdir: epath.Path, counts: dict[str, Any]) -> None:
  rejected, removed = counts["rejected"], counts["contaminated"]
  line = f"  read {counts['read']:,}, used {counts['used']:,}"
  if removed:
    line += f", contaminated {removed:,}"
  line += f", rejected {rejected:,}"
  common = itertools.islice(counts["reasons"].items(), 3)
  reasons = ", ".join(f"{count:,} {reason}" for reason, count in common)
  path = tables.REJECTS.path(workdir)
  progress.say(line + (f" ({reasons}; see {path})" if rejected else ""))
  told = findings_lib.sentences(counts), tally_lib.sentences(counts)
  for sentence in itertools.chain(*told):
    progress.say(f"  {sentence}")
