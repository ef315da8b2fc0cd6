"""A run that has not begun: what its passes and its training will cost.

A stage's plan says how much there is to do; the machine that the run will go
to says what that takes there.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jax.sharding import Mesh

from ila_jax import config as config_lib
from ila_jax.forecast import costs, pool_sample, shapes, trials
from ila_jax.forecast import memory as memory_lib
from ila_jax.forecast import sizes as sizes_lib
from ila_jax.models import architecture
from ila_jax.passes import forward, token_set, windows
from ila_jax.training import batches
from ila_jax.training import recipe as recipe_lib
from ila_jax.training import trial as trial_lib

_PLANNED = 20_000  # Examples whose rows are packed; more are like them.


@runtime_checkable
class Machine(Protocol):
  """Where a run will go: `here.Here`, or chips that are not here.

  Attributes:
    axes: of its mesh.
    name: of a device, in words.
  """

  axes: shapes.Axes
  name: str

  @property
  def device_bytes(self) -> int:
    """Memory of a device that programs may take."""

  def target(self) -> contextlib.AbstractContextManager:
    """Within, layouts and kernels are chosen for its platform."""

  def rate(self, dtype: str) -> float:
    """FLOP/s of matrix products, of all devices."""

  def passes(self, work: costs.Passes) -> costs.Cost:
    """Cost of forward passes."""

  def training(self, work: costs.Training) -> costs.Cost:
    """Cost of training runs."""

  def products(self, flops: float, dtype: str) -> costs.Cost:
    """Cost of matrix products that no model makes."""

  def reading(self, size: float) -> costs.Cost:
    """Cost of bytes that all devices read, each row multiplied once."""


@dataclasses.dataclass
class PlannedRun:
  """A run that has not begun: what forward passes and training will take.

  Attributes:
    config: of the run.
    mesh: devices that are here, for what is tried wherever the run will go.
    sample: of its pool.
    decoder: sizes of the base.
    machine: where it will go, which says what models take there.
  """

  config: config_lib.Config
  mesh: Mesh
  sample: pool_sample.Sample
  decoder: architecture.DecoderConfig
  machine: Machine
  _known: dict[tuple[str, Machine], costs.Cost] = dataclasses.field(
    default_factory=dict
  )

  def once(self, name: str, cost: Callable[[], costs.Cost]) -> costs.Cost:
    """A cost that several plans ask for, and whose trial is made once."""
    key = name, self.machine
    if key not in self._known:
      self._known[key] = cost()
    return self._known[key]

  @property
  def sizes(self) -> sizes_lib.Sizes:
    """What the bytes that the run writes follow from."""
    return sizes_lib.Sizes(
      self.config,
      self.decoder,
      examples=self.sample.examples,
      stored=self.sample.stored,
      record=self.sample.record,
      response=float(self.sample.response.mean()),
      judges=self.sample.judges,
    )

  def passes(
    self, each: costs.Pass, *, examples: int, models: int = 1
  ) -> costs.Cost:
    """Cost of forward passes over some examples, under stacked models."""
    # A dev set is smaller than the sample, and has widths of its own.
    rows = np.random.default_rng(0).permutation(len(each.lengths))[:examples]
    lengths = np.resize(each.lengths[rows], max(examples, 1)).astype(np.int32)
    with self.machine.target():
      layout = each.layout(lengths)
    return self.machine.passes(
      costs.Passes(
        each,
        rows,
        layout,
        examples=examples,
        shard_examples=self.config.pool.shard_examples,
        models=models,
        flops=each.flops * examples / len(each.lengths),
      )
    )

  def scoring(
    self, data: token_set.TokenSet, *, examples: int, models: int = 1
  ) -> costs.Cost:
    """Passes of the base, or of stacked adapters, over examples like these."""
    lora = trial_lib.lora(self.config) if models > 1 else None
    data, several = self._windows(data)
    examples, lengths = round(examples * several), data.lengths
    each = costs.Pass(
      "scores",
      self.decoder,
      lengths,
      models * self._pass_flops(data, len(data)),
      layout=lambda lengths: forward.layout(
        self.decoder, lengths, self.config.score, models=models
      ),
      device_bytes=lambda layout, mesh: memory_lib.scoring_bytes(
        self.decoder, layout, mesh, lora=lora, models=models
      ),
      trial=lambda: trials.scoring_pass(
        self.decoder, data, mesh=self.mesh, lora=lora, models=models
      ),
    )
    return self.passes(each, examples=examples, models=models)

  def training(
    self,
    data: token_set.TokenSet,
    recipe: recipe_lib.Recipe,
    *,
    examples: float | int,
    runs: int = 1,
    turns: Sequence[tuple[int, float]] = (),
  ) -> costs.Cost:
    """Cost of several training runs, each on examples like these.

    Args:
      data: the examples that are known.
      recipe: of each run.
      examples: that a run learns from, in the mean.
      runs: how many.
      turns: groups of runs that are trained side by side: how many there are on
        a device, and the examples of the longest, which all wait for. ():
        they are trained one after the other, each on all devices.
    """
    data, several = self._windows(data)
    examples *= several
    flops = recipe_lib.passes(recipe.lora) * self._pass_flops(
      data, runs * recipe.epochs * examples
    )
    some = max(round(min(examples, _PLANNED)), 1)
    steps = len(
      batches.plan(
        np.resize(data.lengths, some),
        width=recipe.width,
        rows=recipe.rows,
        seed=recipe.seed,
        epochs=recipe.epochs,
      )
    )
    steps *= max(examples / some, 1)
    if turns:
      each = steps / max(examples, 1)
      turns = [(count, longest * several * each) for count, longest in turns]
    return self.machine.training(
      costs.Training(
        self.decoder,
        data,
        recipe,
        runs=runs,
        turns=tuple(turns),
        steps=steps,
        tokens=runs * recipe.epochs * examples * float(data.lengths.mean()),
        flops=flops,
      )
    )

  def tuning(
    self,
    *,
    examples: float | int,
    runs: int,
    evaluations: int,
    judged: int | None = None,
    turns: Sequence[tuple[int, float]] = (),
  ) -> costs.Cost:
    """Cost of tuning the base on subsets of the pool, and of dev losses.

    Args:
      examples: that a run learns from.
      runs: how many.
      evaluations: passes over held-out examples.
      judged: of them in a pass; None: all that the pool holds out.
      turns: of runs side by side, as `training` has them.
    """
    if judged is None:
      judged = self.config.pool.dev_examples
    data, recipe = self.sample.data, trial_lib.tuning(self.config)
    stop = recipe.early_stop
    held_out = stop.share * examples if stop else 0.0
    trained = examples - held_out
    tuned = self.training(
      data, recipe, examples=trained, runs=runs, turns=turns
    )
    dev = self.scoring(data, examples=judged)
    cost = dev.times(evaluations).and_also(tuned)
    if stop is None:
      return cost
    # As if none ended early.
    tokens = recipe.epochs * trained * float(data.lengths.mean())
    looks = max(tokens / recipe.batch_tokens / stop.steps, 1.0)
    looked = self.scoring(data, examples=round(held_out))
    return cost.and_also(looked.times(runs * round(looks)))

  def _windows(
    self, data: token_set.TokenSet
  ) -> tuple[token_set.TokenSet, float]:
    """The windows in which examples are read, and how many an example has."""
    longest = self.config.tokens.max_tokens
    parts = windows.split(data, max_tokens=longest).data
    return parts, len(parts) / max(len(data), 1)

  def _pass_flops(
    self, data: token_set.TokenSet, examples: float | int
  ) -> float:
    """FLOPs of a forward pass over a number of examples like these."""
    flops = forward.flops(
      self.decoder, data.lengths, response_tokens=data.response_tokens
    )
    return flops * examples / len(data)
