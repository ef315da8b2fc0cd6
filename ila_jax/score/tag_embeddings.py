"""Embeddings of the pool's tags: which of them mean nearly the same.

`DIR/beside/tag_embeddings` holds a folder `embed` as the run's own: the names
of the signal `tags` in their order, embedded as the prompts are.
"""

import dataclasses

import numpy as np
from etils import epath
from jaxtyping import Float

from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.embed import rows, texts
from ila_jax.embed import work as embed_work
from ila_jax.forecast import costs, sizes, work
from ila_jax.pool import shards
from ila_jax.run import context, interrupts, progress, stage_record, tables
from ila_jax.run.disk import folders
from ila_jax.score.signals import tags

NAME = "tag_embeddings"
# Names that are embedded at once, a file each.
_PART = 8192
# Different tags that a plan takes a pool to have, which nobody has read yet;
# InsTag counts 6,398 in 306,044 records.
_SOME = 10_000
# Words of a tag, about.
_WORDS = 3
# Bytes of a tag in the notes of its embedding.
_NOTES = 24


def run(run: context.Run) -> None:
  """Writes the embedding of every tag; what is done is kept.

  It is made anew whenever tags or encoder have changed: no more than some
  thousand short texts are read.

  Raises:
    errors.InputError: tags or embeddings of the pool have not been made, or
      the encoder cannot be loaded.
  """
  workdir = run.workdir
  inputs = {
    "embed": stage_record.output(workdir, "embed"),
    "tags": stage_record.output(workdir / folders.SIGNALS, tags.NAME),
  }
  stage = stage_record.Stage(workdir / folders.BESIDE, NAME, inputs)
  if stage.begin(replace="all"):
    return
  names = tags.names(workdir)
  starts = range(0, len(names), _PART)
  there = shards.done(
    [
      tables.EMBEDDINGS.path(stage.folder, shard=shard)
      for shard in range(len(starts))
    ]
  )
  embed = texts.embedder(run, stage.account)
  with progress.counter(len(names), desc=NAME, unit="tags") as advance:
    for shard, start in enumerate(starts):
      part = names[start : start + _PART]
      if not there[shard]:
        rows.write(stage.folder, shard, *embed(part))
        stage.save_progress()
      advance(len(part))
      interrupts.point()
  mesh_lib.barrier("tags embedded")
  unread = int((rows.inputs(stage.folder, "tokens") == 0).sum())
  if unread:
    progress.say(
      f"  warning: the encoder (config.encoder.path) reads nothing of "
      f"{unread:,} of {len(names):,} tags: these are like no other"
    )
  stage.finish(
    matrix_rate=hardware.matrix_rate(run.mesh, run.config.encoder.dtype),
    tags=len(names),
    unread=unread,
  )


def read(workdir: epath.PathLike) -> Float[np.ndarray, "t d"]:
  """Unit vectors of all tags, by their numbers; 0 where nothing was read.

  Raises:
    errors.InputError: they have not been made.
  """
  stage_record.output(epath.Path(workdir) / folders.BESIDE, NAME)
  own = tables.BESIDE.path(workdir, name=NAME)
  is_read = rows.inputs(own, "tokens") > 0
  vectors = rows.load(own, np.arange(len(is_read)))
  return np.where(is_read[:, None], vectors, np.float32(0))


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of embedding some thousand tags, which are like heads of prompts."""
  sample = dataclasses.replace(
    run.sample,
    examples=min(_SOME, run.sample.examples),
    prompts=[" ".join(p.split()[:_WORDS]) for p in run.sample.prompts],
  )
  return embed_work.cost(
    dataclasses.replace(run, sample=sample), fitted=run.sample.examples
  )


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of their embeddings."""
  each = 4 * embed_work.width(known) + _NOTES
  return costs.Need(min(_SOME, known.examples) * each + costs.TABLE)
