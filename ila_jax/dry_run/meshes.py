"""Which mesh of chips that are not here suits a run: tried, and compared.

Time and memory of every mesh follow from shapes. Where there is a compiler, it
then says the memory of the fastest, until one fits.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.dry_run import plans as plans_lib
from ila_jax.forecast import costs, elsewhere, roofline, shapes, work
from ila_jax.models import architecture
from ila_jax.run import units
from ila_jax.sections import models

# Memory by shapes is within this factor of what a compiler says
# (tests/forecast/shapes_test.py).
FACTOR = 1.3
# A layer that is split further sends more than it computes.
_MOST_TENSOR = 8


class Tried(NamedTuple):
  """What a run takes in a mesh.

  Attributes:
    machine: the chips in that mesh.
    costs: of what models do, by its folder in the workdir.
  """

  machine: elsewhere.Elsewhere
  costs: dict[str, costs.Cost]

  @property
  def memory(self) -> int:
    """Memory of a device, at the fullest moment of all stages."""
    return max((cost.device_bytes for cost in self.costs.values()), default=0)

  @property
  def seconds(self) -> float:
    """Time of all models, by the roofline; without what a host does."""
    chip, loads = self.machine.chip, (c.load for c in self.costs.values())
    return sum(roofline.limits(load, chip).seconds for load in loads)

  @property
  def limits(self) -> roofline.Limits:
    """Seconds of all products, of memory and of the network."""
    load = roofline.NOTHING
    for cost in self.costs.values():
      load = load.and_also(cost.load)
    return roofline.limits(load, self.machine.chip)

  @property
  def fits(self) -> bool:
    """Whether the memory of a device suffices; by shapes, with room."""
    room = 1.0 if self.machine.is_compiled else FACTOR
    return self.memory * room <= self.machine.device_bytes

  @property
  def verdict(self) -> str:
    """Whether it fits, in words; "" where it does."""
    if self.fits:
      return ""
    is_sure = self.machine.is_compiled or not _might_fit(self)
    return "does not fit" if is_sure else "may not fit"


def axes_of(config: config_lib.Config, count: int) -> shapes.Axes | None:
  """The axes that a config asks for; None where it leaves them open.

  Raises:
    errors.InputError: they do not multiply to the number of chips.
  """
  if config.mesh == models.Mesh():
    return None
  tensor, fsdp, data = config.mesh.tensor, config.mesh.fsdp, config.mesh.data
  axes = shapes.Axes(data or max(count // (fsdp * tensor), 1), fsdp, tensor)
  if axes.count != count:
    raise errors.InputError(
      f"config.mesh asks for {axes} = {axes.count} devices, and --topology has "
      f"{count}. Choose axes whose product is {count}, or leave config.mesh "
      "as it is: the dry run then finds the fastest mesh that fits."
    )
  return axes


def along_fsdp(count: int) -> shapes.Axes:
  """All chips along one axis: where a search begins."""
  return shapes.Axes(1, count, 1)


def candidates(
  count: int, decoder: architecture.DecoderConfig
) -> Iterator[shapes.Axes]:
  """Meshes of a number of chips whose axes divide what they split.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> one = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> [str(axes) for axes in candidates(4, one)]
  ['4 × 1 × 1', '2 × 2 × 1', '1 × 4 × 1']
  """
  divisors = [n for n in range(1, count + 1) if count % n == 0]
  for tensor, fsdp in itertools.product(divisors, divisors):
    split = decoder.kv_heads, decoder.heads, decoder.mlp_width
    suits = tensor <= _MOST_TENSOR and not any(n % tensor for n in split)
    suits = suits and decoder.width % fsdp == 0
    if suits and count % (tensor * fsdp) == 0:
      yield shapes.Axes(count // (tensor * fsdp), fsdp, tensor)


def search(
  run: work.PlannedRun,
  plans: dict[str, plans_lib.Plan],
  tries: Iterable[shapes.Axes],
  *,
  compiles: bool,
) -> list[Tried]:
  """Tries meshes for what models do; the fastest that fits comes first.

  After it come the others, the fastest first. Where there is a compiler, the
  memory of those that might fit is asked of it until one does.

  Args:
    run: of which the machine is exchanged for others of its chips.
    plans: of the stages that use models.
    tries: at least one.
    compiles: the compiler of TPUs is asked.
  """

  def tried(axes: shapes.Axes, *, compiles: bool) -> Tried:
    machine = run.machine.with_axes(axes, compiles=compiles)
    own = dataclasses.replace(run, machine=machine)
    return Tried(machine, {n: plan.cost(own) for n, plan in plans.items()})

  found = sorted((tried(axes, compiles=False) for axes in tries), key=_order)
  looked = []
  for place, one in enumerate(found):
    if compiles and plans and _might_fit(one):
      one = tried(one.machine.axes, compiles=True)
    looked.append(one)
    if one.fits and one.machine.is_compiled == (compiles and bool(plans)):
      return [one, *looked[:-1], *found[place + 1 :]]
  return sorted(looked, key=lambda one: one.memory)


def _order(one: Tried) -> tuple[float, ...]:
  """Puts the fastest first; of equals, what holds less, and sends less."""
  sent = one.limits.network + one.limits.sums
  return (float(f"{one.seconds:.3g}"), float(one.memory), sent)


def _might_fit(one: Tried) -> bool:
  """Whether by shapes it is not too large anyway."""
  return one.memory <= FACTOR * one.machine.device_bytes


def lines(found: list[Tried], said: Callable[[float], str]) -> Iterator[str]:
  """A table of the meshes that were tried.

  Args:
    found: what `search` has found.
    said: writes seconds.
  """
  yield (
    f"{'data × fsdp × tensor':22}{'time':>14}{'products':>14}"
    f"{'memory':>14}{'network':>14}{'sums':>14}   memory a device"
  )
  for one in found:
    limits, machine = one.limits, one.machine
    by = "by its compiler" if machine.is_compiled else "by shapes"
    fits = one.verdict and f", {one.verdict}"
    columns = "".join(f"{said(seconds):>14}" for seconds in limits)
    yield (
      f"{machine.axes!s:22}{said(one.seconds):>14}{columns}"
      f"   {units.si(one.memory, 'B')} {by}{fits}"
    )
