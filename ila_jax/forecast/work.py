"""A run that has not begun: what its passes and its training will cost.

A trial runs the run's own code on a part of the work. Of a model that is too
large for one, a share of the measured matrix rate is assumed.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from ila_jax import config as config_lib
from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import costs, pool_sample, trials
from ila_jax.forecast import memory as memory_lib
from ila_jax.forecast import sizes as sizes_lib
from ila_jax.models import architecture, encoder
from ila_jax.models import lora as lora_lib
from ila_jax.passes import forward, layouts, token_set, windows
from ila_jax.training import batches
from ila_jax.training import recipe as recipe_lib
from ila_jax.training import trial as trial_lib

# Shares of the matrix rate that are assumed of models that are too large for a
# trial. docs/results.md has 0.66 and 0.33 for one of ten million weights.
FORWARD_SHARE = 0.5
TRAINING_SHARE = 0.35
# A trial takes about so long, and is not begun where it would take far longer.
_TRIAL_SECONDS = 1.0
_MOST_SECONDS = 30.0
# Weights, gradients and moments, and what lies between, in sizes of a model.
_HELD_IN_TRAINING = 8
_PLANNED = 20_000  # Examples whose rows are packed; more are like them.


class Pass(NamedTuple):
  """A forward pass over a sample of examples.

  Attributes:
    model: its sizes.
    lengths: tokens of each example [s].
    flops: of them all.
    layout: of examples of these lengths.
    device_bytes: memory on each device, under a layout.
    trial: returns the function that `trials.passes` times.
  """

  model: architecture.DecoderConfig | encoder.EncoderConfig
  lengths: np.ndarray
  flops: float | int
  layout: Callable[[np.ndarray], layouts.Layout]
  device_bytes: Callable[[layouts.Layout], int]
  trial: Callable[[], Callable]


@dataclasses.dataclass
class PlannedRun:
  """A run that has not begun: what forward passes and training will take.

  Attributes:
    config: of the run.
    mesh: the devices.
    sample: of its pool.
    decoder: sizes of the base.
  """

  config: config_lib.Config
  mesh: Mesh
  sample: pool_sample.Sample
  decoder: architecture.DecoderConfig

  def __post_init__(self) -> None:
    # By what is trained: the whole base, which is None, or an adapter.
    self._trainings: dict[
      lora_lib.LoraConfig | None, tuple[trials.Training | None, int]
    ] = {}

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
    )

  def rate(self, dtype: str) -> float:
    """FLOP/s of all devices."""
    return hardware.matrix_rate(self.mesh, dtype)

  def passes(self, each: Pass, *, examples: int, models: int = 1) -> costs.Cost:
    """Cost of forward passes over some examples, under stacked models."""
    per_token = each.flops / max(each.lengths.sum(), 1)
    total = each.flops * examples / len(each.lengths)
    # A dev set is smaller than the sample, and has widths of its own.
    some = np.random.default_rng(0).permutation(len(each.lengths))[:examples]
    lengths = each.lengths[some]
    layout = each.layout(np.resize(lengths, max(examples, 1)).astype(np.int32))
    rate = self.rate(each.model.dtype) * FORWARD_SHARE
    batch = layout.batch_tokens * mesh_lib.batch_multiple(self.mesh)
    part = max(_TRIAL_SECONDS * rate / per_token, batch)
    if not self._affords(2 * part * per_token / rate):
      memory = each.device_bytes(layout)
      return costs.Cost(total / rate, 0.0, total, memory, tried=False)
    work = each.trial()
    trial = trials.passes(
      lambda layout, rows: work(layout, some[rows].tolist()),
      lengths,
      layout=layout,
      mesh=self.mesh,
      examples=examples,
      shard_examples=self.config.pool.shard_examples,
      tokens=part / models,
    )
    whole = trial.seconds + trial.compile_seconds
    # Compiled by now, and found again.
    memory = each.device_bytes(layout)
    return costs.Cost(whole, trial.compile_seconds, total, memory)

  def scoring(
    self, data: token_set.TokenSet, *, examples: int, models: int = 1
  ) -> costs.Cost:
    """Passes of the base, or of stacked adapters, over examples like these."""
    lora = trial_lib.lora(self.config) if models > 1 else None
    data, several = self._windows(data)
    examples, lengths = round(examples * several), data.lengths
    each = Pass(
      self.decoder,
      lengths,
      models * self._pass_flops(data, len(data)),
      layout=lambda lengths: forward.layout(
        self.decoder, lengths, self.config.score, models=models
      ),
      device_bytes=lambda layout: memory_lib.scoring_bytes(
        self.decoder, layout, self.mesh, lora=lora, models=models
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
  ) -> costs.Cost:
    """Cost of several training runs, each on examples like these."""
    data, several = self._windows(data)
    examples *= several
    flops = trial_lib.passes(recipe.lora) * self._pass_flops(
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
    assumed = flops / (self.rate(self.decoder.dtype) * TRAINING_SHARE)
    first = recipe.lora not in self._trainings
    if first:
      trial = None
      if self._affords(8 * assumed / (runs * steps)):
        trial = trials.training(self.decoder, data, recipe, mesh=self.mesh)
      self._trainings[recipe.lora] = trial, self._training_bytes(recipe)
    trial, memory = self._trainings[recipe.lora]
    if trial is None:
      return costs.Cost(assumed, 0.0, flops, memory, tried=False)
    compiling = trial.compile_seconds if first else 0.0
    seconds = compiling + runs * (trial.start + steps * trial.step)
    return costs.Cost(seconds, compiling, flops, memory)

  def tuning(
    self, *, examples: float | int, runs: int, evaluations: int
  ) -> costs.Cost:
    """Cost of tuning the base on subsets of the pool, and of dev losses."""
    tuned = self.training(
      self.sample.data,
      trial_lib.tuning(self.config),
      examples=examples,
      runs=runs,
    )
    dev = self.scoring(self.sample.data, examples=self.config.pool.dev_examples)
    return dev.times(evaluations).and_also(tuned)

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

  def _affords(self, seconds: float) -> bool:
    """Whether a trial may be begun: in time, and training within memory."""
    held = _HELD_IN_TRAINING * memory_lib.weight_bytes(self.decoder, self.mesh)
    return bool(seconds < _MOST_SECONDS and held < hardware.device_bytes())

  def _training_bytes(self, recipe: recipe_lib.Recipe) -> int:
    """Bytes of a step; a whole model is trained beside the kept base."""
    needed = memory_lib.training_bytes(self.decoder, recipe, self.mesh)
    if recipe.lora is None:
      needed += memory_lib.weight_bytes(self.decoder, self.mesh)
    return needed
