"""Stage `pool`: records become tokenized examples with ids, or rejects."""

import contextlib
import itertools
from typing import Any

import jax
import numpy as np
import pyarrow as pa
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.pool import base_tokenizer, index, shards, unread
from ila_jax.pool import reading as reading_lib
from ila_jax.pool import size as size_lib
from ila_jax.pool.contamination import evaluation
from ila_jax.pool.contamination import findings as findings_lib
from ila_jax.pool.sources import sources
from ila_jax.pool.splits import job as job_lib
from ila_jax.pool.splits import merge as merge_lib
from ila_jax.pool.splits import shares, task, workers
from ila_jax.pool.tokens import tally as tally_lib
from ila_jax.run import (
  context,
  draws,
  interrupts,
  log,
  progress,
  stage_record,
  tables,
)
from ila_jax.run.disk import files, folders


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
      _prepare(run)
  mesh_lib.barrier("pool begun")
  if jax.process_count() > 1 and run.config.pool.limit is None:
    with interrupts.alone():
      _read_share(run)
    mesh_lib.barrier("shares of the pool read")
  if mesh_lib.is_writer():
    with interrupts.alone():
      _read_and_write(run)
  mesh_lib.barrier("pool read")
  counts = files.read_json(tables.COUNTS.path(workdir))
  stage.account.add(tokens=counts["tokens"])
  stage.finish(output=[inputs, index.fingerprint(workdir)], **counts)


def _inputs(run: context.Run) -> dict[str, Any]:
  """What a pool is made from; sources that moved away count as they were."""
  config, workdir = run.config, run.workdir
  signatures: dict[str, dict[str, Any]] = {"sources": {}, "evaluations": {}}
  section = config.section("pool", "tokens")
  if mesh_lib.is_writer():  # The others may not see the first host's files.
    made = stage_record.Stage(workdir, "pool", {}).recorded_inputs()
    with interrupts.alone():
      before = made.get("config", {}).get("pool", {}).get("overrides", {})
      section["pool"]["overrides"] = _overrides(config, before)
      before = made.get("sources", {})
      for source in config.pool.sources:
        signatures["sources"][source] = reading_lib.signature(
          source, workdir, before
        )
      before = made.get("evaluations", {})
      for source in config.pool.evaluations:
        with evaluation.names_field():
          signed = reading_lib.signature(source, workdir, before)
        signatures["evaluations"][source] = signed
  return {
    "config": section,
    "columns": shards.SCHEMA.names,  # Those of an older version had others.
    "tokenizer": base_tokenizer.made_from(config, workdir),
    **signatures,
    "seed": config.seed,
  }


def _overrides(
  config: config_lib.Config, before: dict[str, Any]
) -> dict[str, Any]:
  """The overrides that decide what a pool is.

  Those that name a target set, a dev set or a file of scores alone count as
  they were when the pool was made, with the overrides `before`.
  """
  overrides = config.pool.overrides
  of_pool = (*config.pool.sources, *config.pool.evaluations)
  beside = (*config.select.targets, *config.laboratory.dev_sources)
  free = sources.matched(overrides, (*beside, *config.pool.score_files))
  free -= sources.matched(overrides, of_pool)
  found = {k: before.get(k) if k in free else v for k, v in overrides.items()}
  return {k: value for k, value in found.items() if value is not None}


def _prepare(run: context.Run) -> None:
  """Looks whether the pool is worth reading; makes its tokenizer."""
  _remove_what_was_begun(run.workdir)
  size_lib.check_count(run.config)
  with base_tokenizer.folder(run.config, run.workdir):
    pass


def _read_share(run: context.Run) -> None:
  """Reads this host's share of the splits, side by side with the others.

  A host that does not see the sources leaves its share to the first, which
  reads what is left, and says what is wrong.
  """
  try:
    with shares.opened(run.config, run.workdir) as (job, splits):
      own = splits[jax.process_index() :: jax.process_count()]
      asked = run.config.pool.workers
      for _ in workers.finished(job, own, run.workdir, asked=asked):
        pass
  except errors.InputError as error:
    if mesh_lib.is_writer():
      raise
    log.write(f"  left to the first host: {error}")


def _read_and_write(run: context.Run) -> None:
  config, workdir = run.config, run.workdir
  with contextlib.ExitStack() as stack:
    tokenizer = stack.enter_context(base_tokenizer.folder(config, workdir))
    job = shares.job_of(config, workdir, tokenizer)
    counts = merge_lib.Counts(
      reading_lib.counted_rejects(config, workdir, stack),
      tally_lib.Tally(max_tokens=config.tokens.max_tokens),
      reading_lib.begun(config),
      _findings(config, job, workdir, stack),
    )
    merged = _merged(run, job, counts)
  _write(run, merged, counts)


def _merged(
  run: context.Run, job: job_lib.Job, counts: merge_lib.Counts
) -> merge_lib.Merge:
  """Reads all splits, or finds them read, and merges them."""
  config, workdir = run.config, run.workdir
  size = config.pool.shard_examples
  merged = merge_lib.Merge(
    shards.Cutter(workdir, shard_rows=size),
    counts,
    rules=reading_lib.pool_rules(config),
    limit=config.pool.limit,
    announce=_announce,
  )
  passing = workers.finished(
    job,
    shares.splits_of(config, announce=_announce),
    workdir,
    asked=config.pool.workers,
  )
  with contextlib.closing(passing):
    for split in passing:
      merged.add(split, workdir)
      if merged.is_full:
        break
  merged.finish()
  return merged


def _announce(message: str) -> None:
  progress.say(f"  {message}")


def _write(
  run: context.Run, merged: merge_lib.Merge, parts: merge_lib.Counts
) -> None:
  """Writes the index and the counts; the rejects are on the disk by now."""
  config, workdir = run.config, run.workdir
  columns, rejects, found = merged.columns, parts.rejects, parts.found
  used, removed = len(columns), found.removed if found else 0
  limited = merged.examples == config.pool.limit
  counts = {
    "read": used + rejects.reasons.total() + removed,
    "used": used,
    "rejected": rejects.reasons.total(),
    "contaminated": removed,
    "contamination": found and found.told(),
    "reasons": dict(rejects.reasons.most_common()),
    "with_labels": merged.with_labels,
    "limited": limited,
    **parts.reading.told(),
    **parts.tally.told(),
  }
  _say_counts(workdir, counts)
  left_out = counts["answers_left_out"]
  _say_what_was_read(config, parts.reading, left_out, limited)
  rejects.check(n_used=used + removed)
  _check_left(config, used, removed)
  is_dev, warned = _dev(run, columns, parts)
  for one in warned:
    progress.say(f"  warning: {one}")
  columns.write(workdir, is_dev, shard_rows=config.pool.shard_examples)
  if counts["truncated"]:
    cut = pa.concat_tables(merged.cut)
    files.write_table(tables.TRUNCATED.path(workdir), cut)
  with_domain = np.array([bool(name) for name in columns.names("domain")])
  counts |= {
    "warnings": warned,
    "with_domain": int(with_domain[columns["domain"]].sum()),
    "tokens": sum(
      int(columns[name].sum(dtype=np.int64))
      for name in ("n_prompt_tokens", "n_response_tokens")
    ),
  }
  files.write_json(tables.COUNTS.path(workdir), counts)
  folders.remove(task.folder(workdir))


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
  config: config_lib.Config,
  job: job_lib.Job,
  workdir: epath.Path,
  stack: contextlib.ExitStack,
) -> findings_lib.Findings | None:
  """What repeats an evaluation set; None: none was named."""
  screening = job_lib.screen_of(
    job,
    lambda sets: progress.progress(
      sets, desc="evaluation sets", unit="records"
    ),
    announce=_announce,
  )
  if screening is None:
    return None
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


def _dev(
  run: context.Run, columns: index.Columns, parts: merge_lib.Counts
) -> tuple[np.ndarray, list[str]]:
  """Returns the dev split, and warnings; refuses a pool too small for it."""
  config = run.config
  [(how, _)] = parts.reading.shapes.most_common(1)
  again = size_lib.of_duplicates(parts.rejects, len(columns), how)
  size_lib.check(config, columns["n_response_tokens"], why=again)
  dev = draws.draw(
    columns["prompt_id"],
    count=config.pool.dev_examples,
    seed=config.seed,
    purpose="dev",
    allowed=np.ones(len(columns), np.bool_),
  )
  few = size_lib.check_prompts(config, run.workdir, columns, dev, how=how)
  more = draws.overshoot(dev, count=config.pool.dev_examples)
  more = f"config.pool.dev_examples: {more}" if more else ""
  return dev, [one for one in (again, few, more) if one]


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
