"""The machine that a dry run runs on: its time is tried, or follows from rates.

A trial runs the run's own code on a part of the work. Of a model that is too
large for one, a share of the measured matrix rate is assumed.
"""

import contextlib

from jax.sharding import Mesh

from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import costs, roofline, shapes, trials
from ila_jax.forecast import memory as memory_lib
from ila_jax.models import architecture
from ila_jax.models import lora as lora_lib
from ila_jax.training import recipe as recipe_lib

# A trial takes about so long, and is not begun where it would take far longer.
_TRIAL_SECONDS = 1.0
_MOST_SECONDS = 30.0
# Weights, gradients and moments, and what lies between, in sizes of a model.
_HELD_IN_TRAINING = 8
_NONE = costs.Cost(0.0)


class Here:
  """The devices of this process.

  Attributes:
    mesh: all of them.
    axes: of that mesh.
    name: of a device, in words.
  """

  def __init__(self, mesh: Mesh) -> None:
    """Plans for a mesh of devices that are here."""
    self.mesh = mesh
    self.axes = shapes.Axes(*(mesh.shape[axis] for axis in mesh_lib.AXES))
    self.name = mesh.devices.flat[0].device_kind
    # By what is trained, the whole base, which is None, or an adapter; and by
    # the runs side by side.
    self._trainings: dict[
      tuple[lora_lib.LoraConfig | None, int],
      tuple[trials.Training | None, int],
    ] = {}

  @property
  def device_bytes(self) -> int:
    """Memory of a device that programs may take."""
    return hardware.device_bytes()

  def target(self) -> contextlib.AbstractContextManager:
    """Layouts and kernels are those of JAX's default platform."""
    return contextlib.nullcontext()

  def rate(self, dtype: str) -> float:
    """FLOP/s of all devices, as measured."""
    return hardware.matrix_rate(self.mesh, dtype)

  def passes(self, work: costs.Passes) -> costs.Cost:
    """Cost of forward passes, by a trial where the machine bears one."""
    each, layout, models = work.each, work.layout, work.models
    per_token = each.flops / max(each.lengths.sum(), 1)
    rate = self.rate(each.model.dtype) * roofline.FORWARD_SHARE
    batch = layout.batch_tokens * mesh_lib.batch_multiple(self.mesh)
    part = max(_TRIAL_SECONDS * rate / per_token, batch)
    if not self._affords(each.model, 2 * part * per_token / rate):
      memory = each.device_bytes(layout, self.mesh)
      return costs.Cost(work.flops / rate, 0.0, work.flops, memory, tried=False)
    run = each.trial()
    trial = trials.passes(
      lambda layout, rows: run(layout, work.rows[rows].tolist()),
      each.lengths[work.rows],
      layout=layout,
      mesh=self.mesh,
      examples=work.examples,
      shard_examples=work.shard_examples,
      tokens=part / models,
    )
    whole = trial.seconds + trial.compile_seconds
    # Compiled by now, and found again.
    memory = each.device_bytes(layout, self.mesh)
    return costs.Cost(whole, trial.compile_seconds, work.flops, memory)

  def training(self, work: costs.Training) -> costs.Cost:
    """Cost of training runs, by a trial where the machine bears one."""
    recipe, flops = work.recipe, work.flops
    decoder, runs, beside = work.decoder, work.runs, work.beside
    rate = self.rate(decoder.dtype) * roofline.TRAINING_SHARE
    assumed = flops / rate
    at_once = beside * self.mesh.size or 1
    key = recipe.lora, beside
    first = key not in self._trainings
    if first:
      trial = None
      seconds = 8 * at_once * assumed / (runs * work.steps)
      if self._affords(decoder, seconds, beside):
        trial = trials.training(
          decoder, work.data, recipe, mesh=self.mesh, beside=beside
        )
      memory = self._training_bytes(decoder, recipe, beside)
      self._trainings[key] = trial, memory
    trial, memory = self._trainings[key]
    memory += memory_lib.best_bytes(decoder, recipe, self.mesh)
    steps, groups = runs * work.steps, runs
    if work.turns:
      steps, groups = sum(n for _, n in work.turns), len(work.turns)
    if trial is None:  # All wait for the longest of a group, here too.
      assumed *= at_once * steps / (runs * work.steps)
      return costs.Cost(assumed, 0.0, flops, memory, tried=False)
    compiling = trial.compile_seconds if first else 0.0
    seconds = compiling + groups * trial.start + steps * trial.step
    return costs.Cost(seconds, compiling, flops, memory)

  def products(self, flops: float, dtype: str) -> costs.Cost:
    """Cost of matrix products that no model makes."""
    seconds = flops / (self.rate(dtype) * roofline.FORWARD_SHARE)
    return costs.Cost(seconds, 0.0, flops)

  def reading(self, size: float) -> costs.Cost:
    """Cost of bytes that all devices read, each row multiplied once."""
    return costs.Cost(size / hardware.row_rate(self.mesh)) if size else _NONE

  def _affords(
    self, model: costs.Model, seconds: float, beside: int = 0
  ) -> bool:
    """Whether a trial may be begun: in time, and training within memory."""
    held = memory_lib.weight_bytes(model, self.mesh)
    if beside:  # Whole models.
      held *= beside * self.axes.fsdp * self.axes.tensor
    held *= _HELD_IN_TRAINING
    return bool(seconds < _MOST_SECONDS and held < self.device_bytes)

  def _training_bytes(
    self,
    decoder: architecture.DecoderConfig,
    recipe: recipe_lib.Recipe,
    beside: int,
  ) -> int:
    """Bytes of a step; a whole model is trained beside the kept base."""
    if not beside:
      needed = memory_lib.training_bytes(decoder, recipe, self.mesh)
    else:
      needed = memory_lib.together_bytes(
        decoder, recipe, self.mesh, beside=beside
      )
    # Side by side, each device has a base of its own for adapters.
    if recipe.lora is None or beside:
      needed += memory_lib.weight_bytes(decoder, self.mesh)
    return needed
