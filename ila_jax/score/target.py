"""The target set: examples of what the model shall be good at.

`DIR/beside/target` holds its folders `pool`, `embed` and `score`, as the run
has them of its own pool: read by the same rules, embedded by the same encoder,
scored under the same base and tuned models. It is never trained on.
"""

import dataclasses
from typing import Any

import numpy as np
from etils import epath

from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.embed import inputs, rows, texts
from ila_jax.embed import work as embed_work
from ila_jax.forecast import costs, sizes, work
from ila_jax.pool import base_tokenizer, index, reading, shards
from ila_jax.run import (
  context,
  interrupts,
  progress,
  stage_record,
  tables,
)
from ila_jax.run.disk import folders
from ila_jax.score import losses
from ila_jax.training import base, trial

NAME = "target"
# Bytes of an example in the index, the losses and the notes of its embedding.
_NOTES = 100


def folder(workdir: epath.PathLike) -> epath.Path:
  """Where a run keeps its target set: as a pool's folder of its own.

  >>> folder("runs/first").as_posix()
  'runs/first/beside/target'
  """
  return tables.BESIDE.path(workdir, name=NAME)


def run(run: context.Run) -> None:
  """Reads, embeds and scores `config.select.target`; what is done is kept.

  Raises:
    errors.InputError: sources that cannot be read, too many rejects, prompts
      of which the encoder reads nothing, or a folder that was made from other
      inputs.
  """
  stage = stage_record.Stage(
    run.workdir / folders.BESIDE, NAME, _made_from(run)
  )
  if stage.begin():
    return
  own = context.Run(reading.as_target(run.config), stage.folder, run.mesh)
  counts = _read(run, own)
  ids = index.column(own.workdir, "id")
  in_pool = int(np.isin(ids, index.column(run.workdir, "id")).sum())
  progress.say(
    f"  target: read {counts['read']:,}, used {counts['used']:,}, rejected "
    f"{counts['rejected']:,}; {in_pool:,} stand in the pool, too"
  )
  _embed(run, own, stage)
  is_read = rows.inputs(own.workdir, "tokens") > 0
  said = inputs.check_read(is_read, field="config.select.target")
  if said:
    progress.say(f"  warning: {said}")
  lost = _score(run, own, stage)
  stage.finish(
    matrix_rate=hardware.matrix_rate(run.mesh, run.config.model.dtype),
    examples=counts["used"] - lost,
    rejected=counts["rejected"],
    not_finite=lost,
    unread=int((~is_read).sum()),
    in_pool=in_pool,
  )


def check(run: context.Run) -> None:
  """Reads the records, unless that was done: faults are told early.

  Raises:
    errors.InputError: sources that cannot be read, or too many rejects.
  """
  if not folder(run.workdir).exists():
    reading.check_target(
      reading.as_target(run.config),
      base_tokenizer.tokenizer(run.config, run.workdir),
    )


def _made_from(run: context.Run) -> dict[str, Any]:
  config, workdir = run.config, run.workdir
  own = reading.as_target(config)
  signed = {}
  if mesh_lib.is_writer():  # The others may not see the first host's files.
    made = stage_record.Stage(workdir / folders.BESIDE, NAME, {})
    before = made.recorded_inputs().get("sources", {})
    with interrupts.alone(), reading.names_target():
      signed = {
        source: reading.signature(source, workdir, before)
        for source in config.select.targets
      }
  return {
    "sources": signed,
    "config": config.section("tokens"),
    "rules": dataclasses.asdict(reading.rules(own)),
    "shard_examples": config.pool.shard_examples,
    "tokenizer": base_tokenizer.made_from(config, workdir),
    **{
      stage: stage_record.output(workdir, stage)
      for stage in ("pool", "embed", "score")
    },
  }


def _read(run: context.Run, own: context.Run) -> dict[str, Any]:
  """Reads the records, or finds them read; returns how many there are."""
  written = [a.path(own.workdir) for a in (tables.INDEX, tables.COUNTS)]
  if not all(shards.done(written)) and mesh_lib.is_writer():
    tokenizer = base_tokenizer.tokenizer(run.config, run.workdir)
    with interrupts.alone():
      reading.write_target(own.config, tokenizer, own.workdir)
  mesh_lib.barrier("target read")
  return reading.counts(own.workdir)


def _embed(
  run: context.Run, own: context.Run, stage: stage_record.Stage
) -> None:
  total = shards.count(own.workdir)
  targets = [tables.EMBEDDINGS.path(own.workdir, shard=s) for s in range(total)]
  todo = [s for s, there in enumerate(shards.done(targets)) if not there]
  if not todo:
    return
  embed = texts.embedder(run, stage.account)
  for shard in progress.progress(todo, desc="target embedded", unit="shards"):
    table = shards.read_records(own.workdir, shard, ["turns"])
    rows.write(own.workdir, shard, *embed(texts.prompts(own, table)))
    stage.save_progress()
    interrupts.point()
  mesh_lib.barrier("target embedded")


def _score(
  run: context.Run, own: context.Run, stage: stage_record.Stage
) -> int:
  """Losses under the run's own models; returns how many are not finite."""
  decoder = base.load(run, stage.account)
  tuned = (
    trial.load(
      tables.TUNED.path(run.workdir, seed=seed),
      config=run.config,
      mesh=run.mesh,
      base=decoder,
    )
    for seed in run.config.score.reference_seeds
  )
  nll_base, nll_sft = losses.score(own, stage, decoder, tuned)
  names = ("id", "n_response_tokens")
  columns = {name: index.column(own.workdir, name) for name in names}
  columns["row"] = np.arange(len(columns["id"]))
  return losses.write(own, columns, nll_base, nll_sft)


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of embedding the target set, and of its passes under all models.

  Its examples are counted, and taken to be as long as those of the pool.
  """
  some = dataclasses.replace(run.sample, examples=count(run.config))
  own = dataclasses.replace(run, sample=some)
  names, models = losses.passes(run.config)
  one = own.scoring(some.data, examples=some.examples, models=models)
  embedding = embed_work.cost(own, fitted=run.sample.examples)
  return embedding.and_also(one.times(len(names)))


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of its records, embeddings and losses."""
  each = 2 * known.record + 4 * embed_work.width(known) + _NOTES
  return costs.Need(count(known.config) * each + 10 * costs.TABLE)


def count(config: Any) -> int:
  """The records of the target set, at least 1; they are read to be counted."""
  with reading.names_target():
    return max(sum(1 for _ in reading.examples(reading.as_target(config))), 1)
