"""Shares of the splits: a machine reads its own before, or beside, others."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator

from etils import epath

from ila_jax import config as config_lib
from ila_jax.models.folders import hub
from ila_jax.pool import base_tokenizer, reading, revisions
from ila_jax.pool import examples as examples_lib
from ila_jax.pool.contamination import findings
from ila_jax.pool.sources import sources
from ila_jax.pool.splits import job as job_lib
from ila_jax.pool.splits import splits as splits_lib
from ila_jax.pool.splits import task, workers
from ila_jax.run import progress, stage_record, stages, tables
from ila_jax.run.disk import run_folder


def splits_of(
  config: config_lib.Config,
  announce: Callable[[str], object] = lambda message: None,
) -> list[splits_lib.Split]:
  """The splits of the pool's sources; checks the rules first.

  Raises:
    errors.InputError: a source that is not there, or an unknown field.
  """
  examples_lib.check_rules(
    config.pool.sources, reading.pool_rules(config), announce
  )
  return splits_lib.of(
    config.pool.sources, most_bytes=config.pool.split_bytes, announce=announce
  )


def job_of(
  config: config_lib.Config, workdir: epath.Path | None, tokenizer: str
) -> job_lib.Job:
  """What the tasks of the pool are told.

  Args:
    config: the run.
    workdir: keeps the hashes of large files; None: nobody does.
    tokenizer: folder of the base's tokenizer.
  """
  evaluations = config.pool.evaluations
  return job_lib.Job(
    rules=dataclasses.asdict(reading.pool_rules(config)),
    max_tokens=config.tokens.max_tokens,
    overflow=config.tokens.overflow,
    limit=config.pool.limit,
    evaluations=evaluations,
    evaluation_overrides=config.pool.overrides,
    ngram=config.pool.contamination_ngram,
    removes=config.pool.contaminated == findings.REMOVE,
    tokenizer=tokenizer,
    made_from=[
      # Every host asks for itself, so that all have one answer.
      revisions.of_path(tokenizer, patterns=hub.TOKENIZER, workdir=workdir)
      or hub.find(tokenizer, with_weights=False).name,
      [sources.signature(one, workdir=workdir) for one in evaluations],
    ],
  )


@contextlib.contextmanager
def opened(
  config: config_lib.Config, workdir: epath.PathLike
) -> Iterator[tuple[job_lib.Job, list[splits_lib.Split]]]:
  """Yields the job of a pool and its splits, for a machine of its own.

  Makes the folder, if it is not there. A tokenizer from scratch is trained
  here, where no run has trained it: the same one, on every machine.

  Args:
    config: the run.
    workdir: of the run.

  Raises:
    errors.InputError: the folder is something else's, or a source, a
      tokenizer or an evaluation set cannot be read.
  """
  workdir = epath.Path(workdir)
  run_folder.prepare(workdir, stages.RECORDED)
  with contextlib.ExitStack() as stack:
    place = workdir
    made = tables.TOKENIZER.path(workdir).exists()
    if config.model.path == config_lib.SCRATCH and not made:
      own = stack.enter_context(tempfile.TemporaryDirectory())
      place = epath.Path(own)
    folder = stack.enter_context(base_tokenizer.folder(config, place))
    splits = splits_of(
      config, announce=lambda message: progress.say(f"  {message}")
    )
    yield job_of(config, None, folder), splits


def run(config: config_lib.Config, workdir: epath.PathLike, tasks: str) -> str:
  """Reads share i of N of a pool; the run finds it read.

  Args:
    config: of the run.
    workdir: of the run, which all machines see.
    tasks: "i/N", of `splits.share`.

  Returns:
    What was done, in a sentence.

  Raises:
    errors.InputError: no such share, or as `opened` and `workers.finished`.
  """
  number, count = splits_lib.share(tasks)
  workdir = epath.Path(workdir)
  if stage_record.read_record(workdir / "pool").get("done"):
    return (
      f"task {number} of {count}: stage pool of {workdir} is done, so nothing "
      "is read. To read the pool again, run ila with --redo=pool, or give "
      "another --workdir."
    )
  with opened(config, workdir) as (job, splits):
    own = splits[number::count]
    passing = workers.finished(job, own, workdir, asked=config.pool.workers)
    done = sum(1 for _ in passing)
  return (
    f"task {number} of {count}: its {done:,} of {len(splits):,} splits are "
    f"read, in {task.folder(workdir)}. Once all tasks have ended, "
    "run ila with the same --config and --workdir, and without --tasks: it "
    "merges them and goes on."
  )
