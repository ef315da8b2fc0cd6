"""Plain gradients of the target set, which `less` compares the pool with."""

import numpy as np
from etils import epath
from jaxtyping import Float

from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import costs, sizes, work
from ila_jax.passes import token_set
from ila_jax.pool import index, reading, shards
from ila_jax.run import context, progress, stage_record, tables
from ila_jax.run.disk import files, folders
from ila_jax.score import target
from ila_jax.score.gradients import features, warmup
from ila_jax.training import base

NAME = "target_gradients"


def run(run: context.Run) -> None:
  """Writes gradients of all examples of the target set, by shard of it.

  Another target set has them anew; those of the pool stay as they are.

  Raises:
    errors.InputError: target set or warm-up have not been made.
  """
  workdir = run.workdir
  beside = workdir / folders.BESIDE
  inputs = {
    "made_from": warmup.made_from(run),
    "width": warmup.settings(run.config).width,
    "target": stage_record.output(beside, target.NAME),
    "pool": stage_record.output(workdir, "pool"),
  }
  stage = stage_record.Stage(beside, NAME, inputs)
  if stage.begin(replace="all"):
    return
  own = context.Run(
    reading.as_target(run.config), target.folder(workdir), run.mesh
  )
  epochs = warmup.settings(run.config).epochs
  total = epochs * len(index.lengths(own.workdir))
  with progress.counter(total, desc=NAME, unit="examples") as advance:
    of = features.reader(
      run,
      own,
      base.load(run, stage.account),
      stage.account,
      is_adam=False,
      on_batch=lambda batch: advance(len(batch.examples)),
    )
    found = [
      of(token_set.tokens_of(table))
      for table in shards.iterate(own.workdir, ["tokens", "is_response"])
    ]
  path = tables.TARGET_GRADIENTS.path(workdir)
  files.write_array(path, np.concatenate(found))
  mesh_lib.barrier("gradients of the target written")
  stage.finish(
    matrix_rate=hardware.matrix_rate(run.mesh, run.config.model.dtype)
  )


def read(workdir: epath.Path, rows: np.ndarray) -> Float[np.ndarray, "m w"]:
  """Gradients of some rows of the target set, each epoch by its weight.

  Returns:
    float32: unit vectors of each epoch times the epoch's weight, side by side.

  Raises:
    errors.InputError: they have not been made.
  """
  stage_record.output(workdir / folders.BESIDE, NAME)
  values = files.read_array(tables.TARGET_GRADIENTS.path(workdir))[rows]
  weights = warmup.weights(workdir)
  each = values.reshape(len(rows), len(weights), -1).astype(np.float32)
  weighed = each * weights[None, :, None].astype(np.float32)
  return weighed.reshape(len(rows), -1)


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of their gradients, as a share of what those of the pool take.

  They are taken to be as long as the pool's. One trial serves both.
  """
  share = target.count(run.config) / max(run.sample.examples, 1)
  return features.cost(run).times(share)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the gradients."""
  width = features.width(known.config)
  return costs.Need(2 * width * target.count(known.config) + 2 * costs.TABLE)
