"""What a run will cost, before anything of it runs: --dry-run.

The pool is read and some of it tokenized; each stage's own code is tried on a
small part of the work, and programs are compiled for the mesh. No weights are
read and nothing is written.
"""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence

import jax
from etils import epath

from ila_jax import config as config_lib
from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.dry_run import disk
from ila_jax.dry_run import plans as plans_lib
from ila_jax.embed import encoders
from ila_jax.forecast import costs, pool_sample, work
from ila_jax.landscape import join
from ila_jax.models import decoder as decoder_lib
from ila_jax.pool import index
from ila_jax.run import progress, units
from ila_jax.run import stages as stages_lib
from ila_jax.selection import needs as needs_lib
from ila_jax.training import base


def run(
  config: config_lib.Config,
  workdir: epath.PathLike,
  *,
  stages: Sequence[str] = stages_lib.NAMES,
) -> dict[str, costs.Cost]:
  """Prints time, FLOPs, memory and disk of each stage.

  Args:
    config: from `config_parsing.parse`.
    workdir: folder of the run; its pool is used where it is there.
    stages: names of the stages to run.

  Returns:
    What each takes, by its folder in the workdir.

  Raises:
    errors.InputError: stages, sources, models or a map that a run would refuse
      too.
  """
  stages_lib.check(stages)
  workdir = epath.Path(workdir)
  progress.say(f"{hardware.describe()}; folder {workdir}")
  hardware.check_devices()
  index.check_version(workdir)
  encoders.check(config, stages)
  if "landscape" in stages:
    join.check(config, workdir)
  needs_lib.check_beside(config, workdir, stages)
  mesh = mesh_lib.make(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
  sample = pool_sample.draw(config, workdir)
  decoder = base.sizes(config)
  if config.model.path == config_lib.SCRATCH:
    # A small pool bears fewer entries than it was asked for.
    decoder = dataclasses.replace(decoder, vocab=len(sample.tokenizer))
  progress.say(
    f"  {sample.examples:,} examples, {sample.total:,.0f} tokens "
    f"({sample.source}); a decoder of "
    f"{decoder_lib.count_parameters(decoder):,} weights"
  )
  progress.say("  trying each stage on a part of its work")
  begun = work.PlannedRun(config, mesh, sample, decoder)
  # Of a pool that is there nothing is left to do.
  is_read = sample.seconds is None
  todo = [name for name in stages if not (is_read and name == "pool")]
  plans = plans_lib.in_order(config, todo)
  # What a trial has compiled is not compiled again to learn its memory.
  with tempfile.TemporaryDirectory() as folder, hardware.keep_compiled(folder):
    estimates = {name: plan.cost(begun) for name, plan in plans.items()}
  needs = {name: plan.need(begun.sizes) for name, plan in plans.items()}
  _print(begun, estimates, needs)
  said = disk.shortage(workdir, disk.most(needs.values()))
  if said is not None:
    progress.say(f"warning: {said}")
  return estimates


def _print(
  begun: work.PlannedRun,
  estimates: Mapping[str, costs.Cost],
  needs: Mapping[str, costs.Need],
) -> None:
  width = max([10, *(len(name) + 1 for name in estimates)])
  progress.answer(
    f"\n{'stage':{width}}{'compute':>12}{'time':>14}{'to compile':>14}"
    f"{'memory a device':>18}{'disk':>10}"
  )
  for name, cost in estimates.items():
    flops = units.si(cost.flops, "FLOP") if cost.flops else ""
    memory = units.si(cost.device_bytes, "B") if cost.device_bytes else ""
    mark = "" if cost.tried else " *"
    progress.answer(
      f"{name:{width}}{flops:>12}{units.duration(cost.seconds):>14}"
      f"{units.duration(cost.compile_seconds):>14}{memory:>18}"
      f"{units.si(needs[name].kept, 'B'):>10}{mark}"
    )
  total = sum(cost.seconds for cost in estimates.values())
  compiling = sum(cost.compile_seconds for cost in estimates.values())
  progress.answer(
    f"{'all':{width}}{'':12}{units.duration(total):>14}"
    f"{units.duration(compiling):>14}{'':18}"
    f"{units.si(disk.most(needs.values()), 'B'):>10}\n\n"
    "Times are of trials on a part of the pool; a folder compiles once. Some "
    "seconds are assumed for near-duplicates, the selection and the report. "
    "The disk of all has room for checkpoints, which go when their model is "
    "whole."
  )
  if not all(cost.tried for cost in estimates.values()):
    rate = begun.rate(begun.config.model.dtype)
    progress.answer(
      f"* too large for a trial here: {work.FORWARD_SHARE:.0%} of the "
      f"measured {units.si(rate, 'FLOP/s')} of {begun.mesh.size} × "
      f"{jax.devices()[0].device_kind} in passes and "
      f"{work.TRAINING_SHARE:.0%} in training; compiling comes on top."
    )
  for name, cost in estimates.items():
    if cost.left_out:
      progress.answer(f"On top of {name}: {', '.join(cost.left_out)}.")
