"""What a run will cost, before anything of it runs: --dry-run.

The pool is read and some of it tokenized. On this machine each stage's own
code is tried on a small part of the work, and programs are compiled for the
mesh. For chips that are not here (--topology), time is by a roofline, and
memory by their compiler or by shapes. No weights are read, and nothing is
written but what that compiler said, in the user's cache.
"""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence

import jax
from etils import epath

from ila_jax import config as config_lib
from ila_jax.compute import chips, hardware, topologies
from ila_jax.compute import mesh as mesh_lib
from ila_jax.dry_run import disk, meshes, printed
from ila_jax.dry_run import plans as plans_lib
from ila_jax.embed import encoders
from ila_jax.forecast import costs, elsewhere, here, pool_sample, roofline, work
from ila_jax.landscape import join
from ila_jax.models import decoder as decoder_lib
from ila_jax.pool import index
from ila_jax.run import progress
from ila_jax.run import stages as stages_lib
from ila_jax.selection import budget
from ila_jax.selection import needs as needs_lib
from ila_jax.training import base


def run(
  config: config_lib.Config,
  workdir: epath.PathLike,
  *,
  stages: Sequence[str] = stages_lib.NAMES,
  topology: str | None = None,
  by_shapes: bool = False,
) -> dict[str, costs.Cost]:
  """Prints time, FLOPs, memory and disk of each stage.

  Args:
    config: from `config_parsing.parse`.
    workdir: folder of the run; its pool is used where it is there.
    stages: names of the stages to run.
    topology: chips that need not be here, such as "v5e:4x4" or "h100:8"; None:
      the devices of this machine.
    by_shapes: of TPUs too, memory is by shapes, and no compiler is needed.

  Returns:
    What each takes, by its folder in the workdir.

  Raises:
    errors.InputError: stages, sources, models or a map that a run would refuse
      too; a topology that does not exist, or has no compiler here.
  """
  stages_lib.check(stages)
  workdir = epath.Path(workdir)
  progress.say(f"{hardware.describe()}; folder {workdir}")
  machine, mesh = _machine(config, topology, by_shapes)
  index.check_version(workdir)
  with machine.target():
    encoders.check(config, stages, with_weights=False)
  if "landscape" in stages:
    join.check(config, workdir)
  needs_lib.check_beside(config, workdir, stages)
  begun = _begun(config, workdir, mesh, machine)
  if "select" in stages:
    for said in budget.check_shares(config.select, begun.sizes.candidates):
      progress.say(f"  warning: {said}")
  # Of a pool that is there nothing is left to do.
  is_read = begun.sample.seconds is None
  todo = [name for name in stages if not (is_read and name == "pool")]
  plans = plans_lib.in_order(config, todo)
  with machine.target():
    needs = {name: plan.need(begun.sizes) for name, plan in plans.items()}
  if topology is not None:  # The run will have another disk.
    is_tpu = machine.chip.platform == "tpu"
    compiles = is_tpu and not by_shapes
    return _elsewhere(begun, plans, needs, compiles=compiles)
  estimates = _tried(begun, plans)
  printed.here(begun, estimates, needs)
  said = disk.shortage(workdir, disk.most(needs.values()))
  if said is not None:
    progress.say(f"warning: {said}")
  return estimates


def _machine(
  config: config_lib.Config, topology: str | None, by_shapes: bool
) -> tuple[work.Machine, jax.sharding.Mesh]:
  """Where the run will go, and the devices here on which things are tried."""
  if topology is None:
    hardware.check_devices()
    axes = config.mesh.data, config.mesh.fsdp, config.mesh.tensor
    mesh = mesh_lib.make(*axes)
    return here.Here(mesh), mesh
  chip, count = chips.of(topology)
  if chip.platform == "tpu" and not by_shapes:
    topologies.devices(topology)  # Its compiler is there.
  axes = meshes.axes_of(config, count) or meshes.along_fsdp(count)
  machine = elsewhere.Elsewhere(topology, axes, compiles=False)
  return machine, mesh_lib.make()


def _begun(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: jax.sharding.Mesh,
  machine: work.Machine,
) -> work.PlannedRun:
  """The run, with a sample of its pool and the sizes of its base."""
  sample = pool_sample.draw(config, workdir)
  with machine.target():
    decoder = base.sizes(config)
  if config.model.path == config_lib.SCRATCH:
    # A small pool bears fewer entries than it was asked for.
    decoder = dataclasses.replace(decoder, vocab=len(sample.tokenizer))
  progress.say(
    f"  {sample.examples:,} examples, {sample.total:,.0f} tokens "
    f"({sample.source}); a decoder of "
    f"{decoder_lib.count_parameters(decoder):,} weights"
  )
  return work.PlannedRun(config, mesh, sample, decoder, machine)


def _tried(
  begun: work.PlannedRun, plans: Mapping[str, plans_lib.Plan]
) -> dict[str, costs.Cost]:
  """What each stage takes on the devices that are here."""
  progress.say("  trying each stage on a part of its work")
  # What a trial has compiled is not compiled again to learn its memory.
  with tempfile.TemporaryDirectory() as folder, hardware.keep_compiled(folder):
    return {
      name: plans[name].cost(begun)
      for name in progress.progress([*plans], desc="trials", unit="stages")
    }


def _elsewhere(
  begun: work.PlannedRun,
  plans: Mapping[str, plans_lib.Plan],
  needs: Mapping[str, costs.Need],
  *,
  compiles: bool,
) -> dict[str, costs.Cost]:
  """What each stage takes in the fastest mesh that fits, or in that given."""
  progress.say(
    f"  for {begun.machine.topology}: models by a roofline, the rest as this "
    "machine does it"
  )
  estimates = {name: plan.cost(begun) for name, plan in plans.items()}
  of_models = {
    name: plans[name]
    for name, cost in estimates.items()
    if cost.load != roofline.NOTHING
  }
  given = meshes.axes_of(begun.config, begun.machine.axes.count)
  others = list(meshes.candidates(begun.machine.axes.count, begun.decoder))
  tries = [given] if given else others
  found = meshes.search(begun, of_models, tries, compiles=compiles)
  best = found[0]
  estimates |= best.costs
  printed.elsewhere(begun, found, estimates, needs)
  if given and not best.fits:
    progress.say(f"  {given} does not fit: trying other meshes")
    rest = [axes for axes in others if axes != given]
    if rest:
      printed.advice(meshes.search(begun, of_models, rest, compiles=compiles))
  return estimates
