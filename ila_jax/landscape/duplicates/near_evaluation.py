"""Cosines of all examples to the prompts of evaluation sets.

What repeats an evaluation set in other words has no word in a row in common
with it, and stands near it among the embeddings. `DIR/beside/evaluation` tells
how near every example is; `config.select` says which of them go.
"""

import dataclasses

import numpy as np

from ila_jax.compute import hardware
from ila_jax.embed import inputs, rows, texts
from ila_jax.embed import work as embed_work
from ila_jax.forecast import costs, sizes, work
from ila_jax.landscape.duplicates import near_reference, pairs
from ila_jax.pool import index
from ila_jax.pool.contamination import evaluation, screen
from ila_jax.pool.conversations import conversation
from ila_jax.run import context, hosts, interrupts, progress, stage_record
from ila_jax.run.disk import folders
from ila_jax.sections import data

NAME = "evaluation"
# Prompts that are embedded at once.
_EMBED_ROWS = 8192
# Bytes of an example in the table of cosines, of thousands.
_EACH = 24


def run(run: context.Run) -> None:
  """Writes the nearest evaluation prompt of every example, and its cosine.

  Prompts are those of `config.pool.decontaminate`, embedded as the pool is; of
  a record with several questions, each of them as well. A prompt of which the
  encoder reads nothing is compared with none.

  Raises:
    errors.InputError: sets that cannot be read, of which the encoder reads
      nothing, or the folder was made from other inputs.
  """
  config, workdir = run.config, run.workdir
  # The pool's own inputs have the evaluation sets.
  parents = {
    name: stage_record.output(workdir, name) for name in ("pool", "embed")
  }
  stage = stage_record.Stage(workdir / folders.BESIDE, NAME, parents)
  if stage.begin():
    return
  records = [
    part
    for one in evaluation.read(
      config.pool.evaluations,
      overrides=config.pool.overrides,
      announce=lambda message: progress.say(f"  {message}"),
    )
    for part in _parts(one)
  ]
  seen = stage_record.fingerprint([[one.line, one.said] for one in records])
  hosts.check_same({"config.pool.decontaminate": seen})
  vectors, is_read = _embedded(run, stage, records)
  said = inputs.check_read(is_read, field="config.pool.decontaminate")
  if said:
    progress.say(f"  warning: {said}")
  nearest, cosine = _closest(run, vectors[is_read])
  near_reference.write_evaluation(
    workdir,
    [one for one, there in zip(records, is_read, strict=True) if there],
    nearest,
    cosine,
  )
  stage.finish(
    matrix_rate=hardware.matrix_rate(run.mesh, config.encoder.dtype),
    prompts=len(records),
    unread=int((~is_read).sum()),
  )


def _parts(one: evaluation.Record) -> list[evaluation.Record]:
  """A record, and each of its questions that says enough by itself."""
  return [one, *filter(screen.counts_alone, evaluation.questions(one))]


def _embedded(
  run: context.Run,
  stage: stage_record.Stage,
  records: list[evaluation.Record],
) -> tuple[np.ndarray, np.ndarray]:
  """Embeddings of what is asked [m, d], and whether anything was read [m]."""
  system = run.config.encoder.system
  prompts = [conversation.request(one.turns, system=system) for one in records]
  embed = texts.embedder(run, stage.account)
  vectors, is_read = [], []
  with progress.counter(
    len(prompts), desc="evaluation sets", unit="prompts"
  ) as advance:
    for start in range(0, len(prompts), _EMBED_ROWS):
      part = prompts[start : start + _EMBED_ROWS]
      embedded, read = embed(part)
      vectors.append(embedded)
      is_read.append(read.tokens > 0)
      advance(len(part))
      interrupts.point()
  return np.concatenate(vectors), np.concatenate(is_read)


def _closest(
  run: context.Run, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The nearest point of every row of the pool, and the cosine to it [n]."""
  total = len(index.lengths(run.workdir))
  everything = np.arange(total)
  with progress.counter(
    total, desc="near evaluation sets", unit="examples"
  ) as advance:
    nearest, cosine = pairs.closest(
      rows.Rows(run.workdir, everything),
      [points],
      rows=total,
      mesh=run.mesh,
      on_rows=advance,
    )
  # LSA puts all prompts without a known word in one place.
  unread = rows.inputs(run.workdir, "tokens") == 0
  return nearest[0], np.where(unread, np.float32(-1), cosine[0])


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of embedding what evaluation sets ask, and of the search.

  Their records are counted, and taken to be as long as the pool's prompts.
  """
  count, examples = _count(run.config.pool), run.sample.examples
  own = dataclasses.replace(
    run, sample=dataclasses.replace(run.sample, examples=count)
  )
  products = 2.0 * examples * count * embed_work.width(run.sizes)
  embedding = embed_work.cost(own, fitted=examples)
  return embedding.and_also(run.machine.products(products, "float32"))


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the table of cosines."""
  return costs.Need(known.examples * _EACH + costs.TABLE)


def _count(settings: data.Pool) -> int:
  sets = evaluation.read(settings.evaluations, overrides=settings.overrides)
  return sum(len(_parts(one)) for one in sets)
