"""Chips that are not here: time by a roofline, memory by a compiler or shapes.

No trial runs. Of TPUs their own compiler says the memory of each program; of
GPUs, and of a mesh that is only looked over, it follows from shapes.
"""

import collections
import contextlib
from collections.abc import Callable, Hashable

import jax
import numpy as np
from jax.sharding import AbstractDevice, AbstractMesh

from ila_jax.compute import chips, topologies
from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import costs, roofline, shapes
from ila_jax.forecast import memory as memory_lib
from ila_jax.passes import layouts
from ila_jax.run import progress


class Elsewhere:
  """The chips of a topology, in a mesh.

  Attributes:
    topology: as `chips.of` reads it.
    axes: of the mesh.
    name: of a chip.
    chip: by its published numbers.
  """

  def __init__(
    self, topology: str, axes: shapes.Axes, *, compiles: bool
  ) -> None:
    """Plans for a mesh of chips.

    Args:
      topology: such as "v5e:4x4" or "h100:8".
      axes: of the mesh; their product is the number of chips.
      compiles: memory is what the compiler of TPUs says, of a TPU.

    Raises:
      errors.InputError: no such topology, or no compiler for it here.
    """
    self.topology, self.axes = topology, axes
    self.name = topology.partition(":")[0]
    self.chip, _ = chips.of(topology)
    self._mesh = None
    if self.chip.platform == "tpu":
      sizes = axes._asdict()
      self._mesh = topologies.mesh(topology, **sizes) if compiles else None
    self._bytes: dict[Hashable, float | int] = {}

  def with_axes(self, axes: shapes.Axes, *, compiles: bool) -> "Elsewhere":
    """The same chips in another mesh."""
    return Elsewhere(self.topology, axes, compiles=compiles)

  @property
  def device_bytes(self) -> int:
    """Memory of a chip that programs may take."""
    return self.chip.hbm_bytes

  @property
  def is_compiled(self) -> bool:
    """Whether memory is what a compiler says."""
    return self._mesh is not None

  def target(self) -> contextlib.AbstractContextManager:
    """Layouts and kernels are those of the chips' platform."""
    device = AbstractDevice(self.name, None, self.chip.platform)
    mesh = AbstractMesh(tuple(self.axes), mesh_lib.AXES, abstract_device=device)
    return jax.sharding.use_abstract_mesh(mesh)

  def rate(self, dtype: str) -> float:
    """Peak FLOP/s of products, of all chips."""
    return self.axes.count * self.chip.flops(dtype)

  def passes(self, work: costs.Passes) -> costs.Cost:
    """Cost of forward passes over batches as they will be laid out."""
    each, layout = work.each, work.layout
    lengths = each.lengths[work.rows]
    shard = np.resize(lengths, min(work.examples, work.shard_examples))
    plan = layouts.plan(shard, layout, multiple=self.axes.shards)
    found = shapes.of(each.model)
    per_cell = each.flops / max(int(each.lengths.sum()), 1)
    rate = self.rate(each.model.dtype) * roofline.FORWARD_SHARE
    seconds, load = 0.0, roofline.NOTHING
    heights = collections.Counter(batch.cells for batch in plan)
    for cells, count in heights.items():
      tokens = work.models * cells // self.axes.shards
      batch = roofline.forward(found, self.axes, tokens=tokens)
      batch = batch._replace(compute=per_cell * cells / rate)
      count *= work.examples / max(len(shard), 1)
      seconds += count * roofline.limits(batch, self.chip).seconds
      load = load.and_also(batch.times(count))
    memory = self._pass_bytes(work, found)
    return costs.Cost(
      *(seconds, 0.0, work.flops, memory), tried=False, load=load
    )

  def training(self, work: costs.Training) -> costs.Cost:
    """Cost of steps of training."""
    recipe, decoder, beside = work.recipe, work.decoder, work.beside
    found = shapes.of(decoder)
    # Side by side, each chip has whole runs of its own.
    axes = shapes.Axes(1, 1, 1) if beside else self.axes
    parts, rows = recipe.micro_batches(axes.shards)
    at_once = rows // axes.shards * recipe.width
    tokens, adapter = parts * at_once, recipe.lora is not None
    step = roofline.training(found, axes, tokens=at_once, adapter=adapter)
    step = step.times(parts)  # Weights are read again for each.
    flops = work.flops / work.tokens * tokens * axes.shards
    rate = axes.count * self.chip.flops(decoder.dtype)
    step = step._replace(compute=flops / (rate * roofline.TRAINING_SHARE))
    count = work.runs * work.steps
    if work.turns:
      count = sum(runs * steps for runs, steps in work.turns)
    seconds = count * roofline.limits(step, self.chip).seconds

    def by_shapes() -> float | int:
      needed = shapes.training_bytes(
        found, axes, tokens=at_once, adapter=adapter
      )
      if beside:
        # Runs of adapters share one base on a chip.
        base = found.itemsize * found.total if adapter else 0
        own = needed - base + shapes.adapter_bytes(decoder, recipe.lora)
        return beside * own + base + self._weights(found)
      if parts > 1 and not adapter:  # The sum of gradients, in float32.
        needed += 4 * found.total / (self.axes.fsdp * self.axes.tensor)
      # A whole model is trained beside the base, which is kept.
      return needed + (0 if adapter else self._weights(found))

    def compiled() -> float | int:
      self._say("a step of training")
      if beside:
        return self._weights(found) + memory_lib.together_bytes(
          decoder, recipe, self._mesh, beside=beside
        )
      needed = memory_lib.training_bytes(decoder, recipe, self._mesh)
      return needed + (0 if adapter else self._weights(found))

    key = decoder, recipe.lora, beside, parts, rows, recipe.width
    memory = self._kept(key, by_shapes, compiled)
    if recipe.early_stop is not None and not adapter:  # Its best weights.
      memory += round(4 * found.total / (self.axes.fsdp * self.axes.tensor))
    return costs.Cost(
      *(seconds, 0.0, work.flops, memory),
      tried=False,
      load=step.times(count),
    )

  def products(self, flops: float, dtype: str) -> costs.Cost:
    """Cost of matrix products that no model makes."""
    seconds = flops / (self.rate(dtype) * roofline.FORWARD_SHARE)
    load = roofline.Load(compute=seconds)
    return costs.Cost(seconds, 0.0, flops, tried=False, load=load)

  def reading(self, size: float) -> costs.Cost:
    """Cost of bytes that all devices read, each row multiplied once."""
    load = roofline.Load(hbm=size / self.axes.count)
    seconds = roofline.limits(load, self.chip).seconds
    return costs.Cost(seconds, tried=False, load=load)

  def _weights(self, found: shapes.Shapes) -> float:
    """Bytes of a device's part of the weights."""
    parts = self.axes.fsdp * self.axes.tensor
    return found.itemsize * found.total / parts

  def _pass_bytes(self, work: costs.Passes, found: shapes.Shapes) -> int:
    """Bytes of a device in the largest of the batches."""
    layout, models = work.layout, work.models
    width = layout.widths[-1]
    tokens = models * max(layout.batch_tokens // width, 1) * width

    each = work.each

    def by_shapes() -> float:
      if each.by_shapes is not None:
        return each.by_shapes(found, self.axes, layout)
      return shapes.pass_bytes(found, self.axes, tokens=tokens)

    def compiled() -> float | int:
      self._say(f"a pass that {each.does}")
      return each.device_bytes(layout, self._mesh)

    # Another room for examples in a row is another program of like memory.
    key = each.does, each.model, models, width, layout.batch_tokens
    return self._kept(key, by_shapes, compiled)

  def _kept(
    self,
    key: Hashable,
    by_shapes: Callable[[], float | int],
    compiled: Callable[[], float | int],
  ) -> int:
    """Bytes that were found before, or are found now."""
    if key not in self._bytes:
      find = compiled if self.is_compiled else by_shapes
      self._bytes[key] = find()
    return round(self._bytes[key])

  def _say(self, program: str) -> None:
    progress.say(f"  compiling {program} for {self.topology} as {self.axes}")
