"""The pool of a run: its sources, read as its config says.

A target set is read in the same way, into a folder of its own.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.pool import examples as examples_lib
from ila_jax.pool import index, records, shards, unread
from ila_jax.pool import rejects as rejects_lib
from ila_jax.pool.contamination import evaluation
from ila_jax.pool.scores import names as names_lib
from ila_jax.pool.sources import sources
from ila_jax.pool.tokens import encode
from ila_jax.pool.tokens import overflow as overflow_lib
from ila_jax.pool.tokens import tally as tally_lib
from ila_jax.run import progress, tables
from ila_jax.run.disk import files

# Examples that are tokenized in one call, by all threads.
_TOKENIZE_EXAMPLES = 1024


def examples(
  config: config_lib.Config,
  *,
  rejects: Callable[[rejects_lib.Rejected], object] = lambda rejected: None,
  announce: Callable[[str], object] = lambda message: None,
  reading: unread.Reading | None = None,
) -> Iterator[examples_lib.Example]:
  """Streams the usable examples of `config.pool`, each only once.

  Args:
    config: the run.
    rejects: gets every record that is not used.
    announce: gets a line for what a source shows first.
    reading: counts the same over the examples.

  Raises:
    errors.InputError: as `examples.read` does.
  """
  return examples_lib.read(
    config.pool.sources,
    rejects=rejects,
    rules=pool_rules(config),
    limit=config.pool.limit,
    announce=announce,
    reading=begun(config) if reading is None else reading,
  )


def begun(config: config_lib.Config) -> unread.Reading:
  """A count of what is read, in which fields of scores are not unread."""
  paths = names_lib.parse(config.pool.fields.scores)
  return unread.Reading(names_lib.roots(paths))


def rules(config: config_lib.Config) -> examples_lib.Rules:
  """How `config.pool` has records read, those of its sources and others."""
  fields = dataclasses.asdict(config.pool.fields)
  del fields["scores"]  # A signal; nothing that is said in an example.
  return examples_lib.Rules(
    fields=fields,
    overrides=config.pool.overrides,
    answers=config.pool.answers,
  )


def pool_rules(config: config_lib.Config) -> examples_lib.Rules:
  """The rules by which the pool's own sources are read."""
  return dataclasses.replace(rules(config), overrides=_overrides(config))


def labels_field(config: config_lib.Config, source: str) -> str:
  """Where the records of one of the pool's sources have labels; "": nowhere."""
  built_in = [
    spec
    for spec in config.pool.sources
    if sources.known_fields(spec) and source in sources.names(spec)
  ]
  own = built_in[0] if built_in else ""
  return examples_lib.source_fields(own, source, pool_rules(config)).labels


def _overrides(config: config_lib.Config) -> dict[str, dict[str, str]]:
  """Those of single sources, but for what names sets beside the pool alone."""
  overrides = config.pool.overrides
  beside = (
    *(*config.pool.evaluations, *config.pool.score_files),
    *config.select.targets,
    *config.laboratory.dev_sources,
  )
  own = sources.matched(overrides, config.pool.sources)
  gone = sources.matched(overrides, beside) - own
  return {k: value for k, value in overrides.items() if k not in gone}


def _encoded(
  config: config_lib.Config,
  tokenizer: Any,
  rejects: rejects_lib.RejectCounter,
  tally: tally_lib.Tally,
) -> Iterator[list[tuple[examples_lib.Example, encode.Encoded]]]:
  """Streams usable examples of a target set with tokens, a shard at a time.

  Args:
    config: of `as_target`.
    tokenizer: of the base.
    rejects: gets every record that is not used.
    tally: counts what is kept, cut and rejected for its length.
  """
  found = examples(
    config,
    rejects=rejects,
    announce=lambda message: progress.say(f"  {message}"),
  )
  streamed = progress.progress(found, desc="target", unit="examples")
  pending: list[tuple[examples_lib.Example, encode.Encoded]] = []
  size = config.pool.shard_examples
  while batch := tuple(itertools.islice(streamed, _TOKENIZE_EXAMPLES)):
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


def counted_rejects(
  config: config_lib.Config, workdir: epath.Path, stack: contextlib.ExitStack
) -> rejects_lib.RejectCounter:
  """Counts the rejects, and writes each to `pool/rejects.jsonl`.

  Args:
    config: the run.
    workdir: where they are written.
    stack: closes the file.
  """
  file = stack.enter_context(files.create(tables.REJECTS.path(workdir)))
  return rejects_lib.RejectCounter(
    lambda reject: file.write(files.json_line(reject.written()).encode()),
    max_reject_fraction=config.pool.max_reject_fraction,
  )


def signature(
  source: str, workdir: epath.Path, before: dict[str, Any]
) -> dict[str, Any] | str | None:
  """What a source is now; as it was before, where it cannot be compared.

  Args:
    source: as in config.pool.source.
    workdir: of the run, which keeps the hashes of large files.
    before: what sources were when they were read.

  Raises:
    errors.InputError: it is gone, and was not read before.
  """
  try:
    signed = sources.signature(source, workdir=workdir)
  except errors.InputError:
    if source not in before:
      raise
    signed = None
  if source in before and None in (signed, before[source]):
    progress.say(f"  {source} cannot be compared: taken to be what it was")
    return before[source]
  return signed


TARGET = "config.select.target"


def as_target(config: config_lib.Config) -> config_lib.Config:
  """A config whose pool is the target set, read as the run's own pool is."""
  return beside(config, config.select.targets)


def beside(
  config: config_lib.Config, specs: tuple[str, ...]
) -> config_lib.Config:
  """A config whose pool are other sources, read as the run's own pool is.

  But for labels: nothing asks how many, or which, their examples have.
  """
  overrides = config.pool.overrides
  own = sources.matched(overrides, specs)
  pool = dataclasses.replace(
    config.pool,
    source=specs,
    fields=dataclasses.replace(config.pool.fields, labels=""),
    overrides={k: value for k, value in overrides.items() if k in own},
    limit=None,
    decontaminate=(),
    scores=(),
  )
  return dataclasses.replace(config, pool=pool)


def names_target() -> contextlib.AbstractContextManager[None]:
  """Errors about a source name the field of the target set."""
  return evaluation.names_field(TARGET)


def counts(folder: epath.PathLike) -> dict[str, Any]:
  """What `write_target` has counted in a folder."""
  return files.read_json(tables.COUNTS.path(folder))


def check_target(
  config: config_lib.Config, tokenizer: Any, *, field: str = TARGET
) -> None:
  """Reads a target set as `write_target` does, and writes nothing.

  Args:
    config: of `as_target`, or `beside`.
    tokenizer: of the run's base.
    field: that names the sources.

  Raises:
    errors.InputError: a source that cannot be read, or too many rejects.
  """
  rejects = rejects_lib.RejectCounter(
    lambda reject: None, max_reject_fraction=config.pool.max_reject_fraction
  )
  tally = tally_lib.Tally(max_tokens=config.tokens.max_tokens)
  with evaluation.names_field(field):
    passing = _encoded(config, tokenizer, rejects, tally)
    _check_rejects(rejects, used=sum(map(len, passing)), field=field)


def _check_rejects(
  rejects: rejects_lib.RejectCounter, *, used: int, field: str
) -> None:
  """Refuses a set with too many rejects; says what it needs."""
  try:
    rejects.check(n_used=used)
  except errors.InputError as error:
    raise errors.InputError(
      f"{field}: {error}\nThese examples need a prompt and an answer. "
      "config.pool.fields names fields of the pool, too. Name those of this "
      "set alone with --config.pool.overrides=\"{'NAME': {'prompt': "
      "'FIELD', 'response': 'FIELD'}}\", where NAME is that of its file "
      "without suffixes."
    ) from error


def write_target(
  config: config_lib.Config,
  tokenizer: Any,
  folder: epath.Path,
  *,
  field: str = TARGET,
) -> None:
  """Writes a target set as stage `pool` writes the pool, without a dev split.

  Args:
    config: of `as_target`, or `beside`.
    tokenizer: of the run's base.
    field: that names the sources.
    folder: gets the folder `pool`; its counts are written last.

  Raises:
    errors.InputError: a source that cannot be read, or too many rejects.
  """
  columns = index.Columns()
  tally = tally_lib.Tally(max_tokens=config.tokens.max_tokens)
  with contextlib.ExitStack() as stack, evaluation.names_field(field):
    rejects = counted_rejects(config, folder, stack)
    passing = _encoded(config, tokenizer, rejects, tally)
    for shard, kept in enumerate(passing):
      table = shards.table_of(len(columns), kept)
      shards.write_records(folder, shard, table)
      columns.add(kept)
    used, rejected = len(columns), rejects.reasons.total()
    _check_rejects(rejects, used=used, field=field)
  columns.write(
    folder, np.zeros(used, np.bool_), shard_rows=config.pool.shard_examples
  )
  tokens = columns["n_prompt_tokens"].sum() + columns["n_response_tokens"].sum()
  found = {
    "read": used + rejected,
    "used": used,
    "rejected": rejected,
    "reasons": dict(rejects.reasons.most_common()),
    "tokens": int(tokens),
    **tally.told(),
  }
  files.write_json(tables.COUNTS.path(folder), found)
