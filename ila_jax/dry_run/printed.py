"""What a dry run prints: tables of stages and meshes, and what they rest on."""

from collections.abc import Mapping, Sequence

import jax

from ila_jax.dry_run import disk, meshes
from ila_jax.forecast import costs, roofline, work
from ila_jax.run import progress, units

_NO_MESH = (
  "Lower --config.train.micro_batch_tokens, --config.score.batch_tokens or "
  "--config.encoder.batch_tokens, set --config.train.remat=True or "
  "--config.train.method=lora, or take more or larger chips."
)


def here(
  begun: work.PlannedRun,
  estimates: Mapping[str, costs.Cost],
  needs: Mapping[str, costs.Need],
) -> None:
  """Prints what stages take on the devices that are here."""
  width = _width(estimates)
  progress.answer(
    f"\n{'stage':{width}}{'compute':>12}{'time':>14}{'to compile':>14}"
    f"{'memory a device':>18}{'disk':>10}"
  )
  for name, cost in estimates.items():
    mark = "" if cost.tried else " *"
    progress.answer(
      f"{name:{width}}{_si(cost.flops, 'FLOP'):>12}"
      f"{units.duration(cost.seconds):>14}"
      f"{units.duration(cost.compile_seconds):>14}"
      f"{_si(cost.device_bytes, 'B'):>18}"
      f"{units.si(needs[name].kept, 'B'):>10}{mark}"
    )
  total = sum(cost.seconds for cost in estimates.values())
  compiling = sum(cost.compile_seconds for cost in estimates.values())
  progress.answer(
    f"{'all':{width}}{'':12}{units.duration(total):>14}"
    f"{units.duration(compiling):>14}{'':18}"
    f"{units.si(disk.most(needs.values()), 'B'):>10}"
  )
  _parts(estimates)
  progress.answer(
    "\nTimes are of trials on a part of the pool; a folder compiles once. Some "
    "seconds are assumed for near-duplicates, the selection and the report. "
    "The disk of all has room for checkpoints, which go when their model is "
    "whole."
  )
  if not all(cost.tried for cost in estimates.values()):
    rate = begun.machine.rate(begun.config.model.dtype)
    progress.answer(
      f"* too large for a trial here: {roofline.FORWARD_SHARE:.0%} of the "
      f"measured {units.si(rate, 'FLOP/s')} of {begun.mesh.size} × "
      f"{jax.devices()[0].device_kind} in passes and "
      f"{roofline.TRAINING_SHARE:.0%} in training; compiling comes on top."
    )
  _left_out(estimates)
  _memory(begun, estimates)


def elsewhere(
  begun: work.PlannedRun,
  found: Sequence[meshes.Tried],
  estimates: Mapping[str, costs.Cost],
  needs: Mapping[str, costs.Need],
) -> None:
  """Prints what stages take on chips that are not here.

  Args:
    begun: the run.
    found: meshes; the estimates are of the first.
    estimates: by stage.
    needs: by stage.
  """
  width, machine = _width(estimates), found[0].machine
  count, topology = machine.axes.count, machine.topology
  progress.answer(
    f"\n{topology}, {count} chips; what models do, in each mesh:\n"
  )
  for line in meshes.lines(found, units.duration):
    progress.answer(line)
  progress.answer(
    f"\n{'as ' + str(machine.axes):{width}}{'compute':>12}{'time':>14}"
    f"{'limited by':>12}{'HBM traffic':>13}{'network':>10}"
    f"{'memory a device':>17}{'chip-hours':>12}{'disk':>10}"
  )
  for name, cost in estimates.items():
    load = cost.load
    limits = roofline.limits(load, machine.chip)
    # Of a stage whose models take the lesser part, the rest is a host's.
    slowest = limits.slowest if limits.seconds > cost.seconds / 2 else "a host"
    progress.answer(
      f"{name:{width}}{_si(cost.flops, 'FLOP'):>12}"
      f"{units.duration(cost.seconds):>14}{slowest:>12}"
      f"{_si(load.hbm, 'B'):>13}{_si(load.network + load.sums, 'B'):>10}"
      f"{_si(cost.device_bytes, 'B'):>17}"
      f"{cost.seconds * count / 3600:>12,.2f}"
      f"{units.si(needs[name].kept, 'B'):>10}"
    )
  total = sum(cost.seconds for cost in estimates.values())
  disk_bytes = units.si(disk.most(needs.values()), "B")
  for what, seconds, more in (
    ("models", found[0].seconds, ""),
    ("all", total, disk_bytes),
  ):
    progress.answer(
      f"{what:{width}}{'':12}{units.duration(seconds):>14}{'':52}"
      f"{seconds * count / 3600:>12,.2f}{more:>10}"
    )
  _parts(estimates)
  progress.answer("\n" + _basis(found[0], estimates))
  _left_out(estimates)
  advice(found)


def _basis(best: meshes.Tried, estimates: Mapping[str, costs.Cost]) -> str:
  """What the numbers of chips that are not here rest on."""
  machine = best.machine
  chip, count = machine.chip, machine.axes.count
  on_host = sum(
    cost.seconds for cost in estimates.values() if cost.load == roofline.NOTHING
  )
  return (
    "Nothing was tried on such a chip. Time is the longest of products (at "
    f"{roofline.FORWARD_SHARE:.0%} of {units.si(chip.bfloat16, 'FLOP/s')} in "
    f"bfloat16 or {units.si(chip.float32, 'FLOP/s')} in float32, in training "
    f"{roofline.TRAINING_SHARE:.0%}), traffic of the memory "
    f"({roofline.HBM_SHARE:.0%} of {units.si(chip.hbm_rate, 'B/s')}) and of "
    f"the network ({roofline.LINK_SHARE:.0%} of "
    f"{units.si(chip.link_rate, 'B/s')}); peaks by {chip.source}. Compiling, "
    "loading and checkpoints come on top. Stages of a host are as this machine "
    f"does them by trials, or assumed; while they run the chips wait: "
    f"{on_host * count / 3600:,.2f} of the chip-hours. By shapes means by "
    "arithmetic on weights, optimizer and activations, within a factor of "
    f"{meshes.FACTOR:g}."
  )


def advice(found: Sequence[meshes.Tried]) -> None:
  """Prints the flags of the mesh that fits, or that there is none."""
  best = found[0]
  machine = best.machine
  there = units.si(machine.device_bytes, "B")
  needed = f"{units.si(best.memory, 'B')} a device of {there}"
  if best.fits:
    progress.answer(f"Fits with {machine.axes.flags} ({needed})")
    return
  progress.answer(
    f"warning: {machine.axes} needs {needed} on {machine.name}: "
    f"{best.verdict}. {_NO_MESH}"
  )


def _memory(
  begun: work.PlannedRun, estimates: Mapping[str, costs.Cost]
) -> None:
  """Warns of stages that need more memory than the devices have."""
  machine = begun.machine
  there, axes = machine.device_bytes, machine.axes
  most = max(estimates, key=lambda name: estimates[name].device_bytes)
  needed = estimates[most].device_bytes
  if needed <= there:
    return
  remedy = _NO_MESH
  for fsdp in range(axes.fsdp + 1, axes.shards + 1):
    divides = axes.shards % fsdp == 0
    # What is split are mostly weights.
    if divides and needed * axes.fsdp / fsdp <= there:
      remedy = f"Try --config.mesh.fsdp={fsdp}. Or: {_NO_MESH}"
      break
  progress.answer(
    f"warning: {most} needs {units.si(needed, 'B')} a device, and "
    f"{machine.name} has {units.si(there, 'B')}: it does not fit. {remedy}"
  )


def _parts(estimates: Mapping[str, costs.Cost]) -> None:
  """Prints what each method of a stage takes of it, the longest first."""
  for stage, cost in estimates.items():
    parts = sorted(cost.parts, key=lambda part: -part.seconds)
    if len(parts) < 2:
      continue
    width = max(len(part.name) for part in parts) + 3
    width = max(width, len(stage) + 12)
    progress.answer(
      f"\n{f'methods of {stage}':{width}}{'compute':>12}{'memory read':>14}"
      f"{'time':>14}"
    )
    for part in parts:
      progress.answer(
        f"  {part.name:{width - 2}}{_si(part.flops, 'FLOP'):>12}"
        f"{_si(part.read, 'B'):>14}{units.duration(part.seconds):>14}"
      )


def _left_out(estimates: Mapping[str, costs.Cost]) -> None:
  for name, cost in estimates.items():
    if cost.left_out:
      progress.answer(f"On top of {name}: {', '.join(cost.left_out)}.")


def _width(estimates: Mapping[str, costs.Cost]) -> int:
  return max([16, *(len(name) + 1 for name in estimates)])


def _si(value: float | int, unit: str) -> str:
  return units.si(value, unit) if value else ""
