"""Examples that judge the laboratory's arms, where a config names them.

`DIR/beside/dev` holds their folder `pool`, as the run has it of its own pool.
They are never candidates: they do not stand in the pool.
"""

import dataclasses
from typing import Any

import numpy as np
from etils import epath

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import costs, sizes, work
from ila_jax.pool import base_tokenizer, index, reading
from ila_jax.run import context, interrupts, progress, stage_record, tables
from ila_jax.run.disk import folders

NAME = "dev"
FIELD = "config.laboratory.dev"


def folder(workdir: epath.PathLike) -> epath.Path:
  """Where a run keeps them: as a pool's folder of its own.

  >>> folder("runs/first").as_posix()
  'runs/first/beside/dev'
  """
  return tables.BESIDE.path(workdir, name=NAME)


def run(run: context.Run) -> None:
  """Reads config.laboratory.dev; what is done is kept.

  Raises:
    errors.InputError: sources that cannot be read, too many rejects, a prompt
      that stands in the pool, too, or a folder that was made from other inputs.
  """
  stage = stage_record.Stage(
    run.workdir / folders.BESIDE, NAME, _made_from(run)
  )
  if stage.begin():
    return
  own = reading.beside(run.config, run.config.laboratory.dev_sources)
  if mesh_lib.is_writer():
    tokenizer = base_tokenizer.tokenizer(run.config, run.workdir)
    with interrupts.alone():
      reading.write_target(own, tokenizer, stage.folder, field=FIELD)
  mesh_lib.barrier("dev set read")
  counts = reading.counts(stage.folder)
  mesh_lib.first_host_does(_check_apart, run, stage.folder)
  progress.say(
    f"  dev: read {counts['read']:,}, used {counts['used']:,}, rejected "
    f"{counts['rejected']:,}"
  )
  stage.finish(examples=counts["used"], rejected=counts["rejected"])


def _check_apart(run: context.Run, own: epath.Path) -> None:
  """Refuses examples whose prompts the pool has, too."""
  prompts = index.column(own, "prompt_id")
  shared = np.isin(prompts, index.column(run.workdir, "prompt_id"))
  if shared.any():
    raise errors.InputError(
      f"{FIELD}: {int(shared.sum()):,} of {len(prompts):,} prompts stand in "
      "the pool, too; allowed: none, for what was tuned on cannot judge. Set "
      "config.pool.decontaminate to the same sources, and make the "
      "pool anew (--redo=pool), or leave these examples out."
    )


def _made_from(run: context.Run) -> dict[str, Any]:
  config, workdir = run.config, run.workdir
  specs = config.laboratory.dev_sources
  signed = {}
  if mesh_lib.is_writer():  # The others may not see the first host's files.
    made = stage_record.Stage(workdir / folders.BESIDE, NAME, {})
    before = made.recorded_inputs().get("sources", {})
    with interrupts.alone():
      signed = {
        source: reading.signature(source, workdir, before) for source in specs
      }
  own = reading.beside(config, specs)
  return {
    "sources": signed,
    "config": config.section("tokens"),
    "rules": dataclasses.asdict(reading.rules(own)),
    "shard_examples": config.pool.shard_examples,
    "tokenizer": base_tokenizer.made_from(config, workdir),
    "pool": stage_record.output(workdir, "pool"),
  }


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of reading them: less than is worth a trial."""
  del run
  return costs.Cost(0.0)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of their records, taken to be as long as those of the pool."""
  return costs.Need(4 * known.judged * known.record + 4 * costs.TABLE)
